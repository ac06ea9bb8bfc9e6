"""Files, pipes and stdin as bytes; compressed ones (.gz, .zst) are decompressed as they are read."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, cast

from nlpkit.base import contents, missing
from nlpkit.base.errors import UserError
from nlpkit.base.stdin import stdin

_READ = 1 << 12  # packed bytes at a time: zstd may unpack each to 30,000


def suffixes(path: Path) -> tuple[str, str]:
    """The format's suffix and the compression's, e.g. (".jsonl", ".gz")."""
    names = [suffix.lower() for suffix in path.suffixes]
    packed = names.pop() if names and names[-1] in (".gz", ".zst") else ""
    return (names[-1] if names else ""), packed


@contextmanager
def opened(path: Path, *, name: Path | None = None) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked; ``-`` is stdin. Compression is recognised by the name or by the first bytes.

    ``name`` is what errors call it. Errors: unreadable, damaged, truncated and twice packed files are a UserError.
    """
    packed, name = suffixes(path)[1], path if name is None else name
    try:
        with nullcontext(stdin()) if str(path) == "-" else open(path, "rb") as raw:
            head, raw = ahead(raw, _packing_known)
            packed = packed or next((f".{kind}" for magic, kind in _PACKED.items() if head.startswith(magic)), "")
            if packed == ".gz":
                with gzip.GzipFile(fileobj=raw) as file:
                    unpacked = io.BufferedReader(file, 1 << 20)  # type: ignore[type-var]
                    _refuse_packed(unpacked.peek(4), name, "gzip")
                    yield cast(BinaryIO, unpacked)
            elif packed == ".zst":
                frames = io.BufferedReader(_Zstd(raw, name), 1 << 20)
                _refuse_packed(frames.peek(4), name, "zstd")
                yield cast(BinaryIO, frames)
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(name, f"is not valid {packed[1:]}, or ends too early: {error}") from None
    except OSError as error:
        folder = f"name its files: {name}/*" if Path(path).is_dir() else None
        hint = folder or (None if str(path) == "-" else missing.hint(Path(path)))
        raise UserError(f"cannot read: {error.strerror or error}", where=name, hint=hint) from None


_PACKED = {magic: kind for magic, kind in contents.MAGIC.items() if kind in ("gz", "zst")}


def _refuse_packed(head: bytes, name: Path, tool: str) -> None:
    """Errors: what was unpacked, of which this is the beginning, is packed again; ``tool`` unpacks it once."""
    inner = next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)
    if inner is not None:
        hint = f"{tool} -dc < {name} > {name.stem}" if name.suffix else f"{tool} -dc < {name} > {name}.once"
        hint = f"put {tool} -dc in front of it in the pipe" if str(name) == "stdin" else hint
        raise UserError(f"is compressed twice: what it unpacks to is {contents.NAMES[inner]}", where=name, hint=hint)


def _packing_known(head: bytes) -> bool:
    return not any(len(head) < len(magic) and magic.startswith(head) for magic in _PACKED)


def ahead(file: BinaryIO, enough: Callable[[bytes], bool]) -> tuple[bytes, BinaryIO]:
    """The first bytes of a file, as few as are ``enough`` (or all there are), and the file from its beginning. A pipe
    is never read further than that, so that its first line is answered before the second comes."""
    head = b""
    while not enough(head) and (more := file.read1(contents.LOOK)):  # type: ignore[attr-defined]
        head += more
    if isinstance(file, io.BufferedReader) and not isinstance(file.raw, _Begun) and _plain_file(file):
        file.seek(-len(head), io.SEEK_CUR)
        return head, file
    return head, cast(BinaryIO, io.BufferedReader(_Begun(head, file), 1 << 20))


def _plain_file(file: io.BufferedReader) -> bool:
    return isinstance(file.raw, io.FileIO) and file.seekable()


class _Begun(io.RawIOBase):
    """A stream of which some bytes were read."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self.head, self.rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.head:
            size = min(len(buffer), len(self.head))
            buffer[:size] = self.head[:size]
            self.head = self.head[size:]
            return size
        return int(self.rest.readinto1(buffer))  # type: ignore[attr-defined]


def _damaged(path: Path, what: str) -> UserError:
    return UserError(what, where=path, hint="make or fetch the file again")


class _Zstd(io.RawIOBase):
    """Consecutive frames of zstd. The library's own reader takes the end of a truncated file for the end of
    its text; this one does not."""

    def __init__(self, raw: BinaryIO, path: Path) -> None:
        self.raw, self.path = raw, path
        self.frame: Any = None  # the frame begun, None between frames
        self.packed = b""
        self.ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.ready:
            self.packed = self.packed or self.raw.read(_READ)
            if not self.packed:
                if self.frame is not None:
                    raise EOFError("the last frame is not whole")
                return 0
            self.ready = memoryview(self._unpack())
        size = min(len(buffer), len(self.ready))
        buffer[:size] = self.ready[:size]
        self.ready = self.ready[size:]
        return size

    def _unpack(self) -> bytes:
        import zstandard

        self.frame = self.frame or zstandard.ZstdDecompressor().decompressobj()
        try:
            text: bytes = self.frame.decompress(self.packed)
        except zstandard.ZstdError as error:
            raise _damaged(self.path, f"is not valid zst: {error}") from None
        self.packed = self.frame.unused_data if self.frame.eof else b""
        self.frame = None if self.frame.eof else self.frame
        return text
