"""Files as bytes, packed (.gz, .zst) or not, unpacked as they are read."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from nlpkit.base.errors import UserError

_READ = 1 << 12  # packed bytes at a time: zstd may unpack each to 30,000


def suffixes(path: Path) -> tuple[str, str]:
    """The format's suffix and the compression's, e.g. (".jsonl", ".gz")."""
    names = [suffix.lower() for suffix in path.suffixes]
    packed = names.pop() if names and names[-1] in (".gz", ".zst") else ""
    return (names[-1] if names else ""), packed


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked. Errors: unreadable, damaged or truncated files are a UserError."""
    packed = suffixes(path)[1]
    try:
        with open(path, "rb") as raw:
            if packed == ".gz":
                with gzip.GzipFile(fileobj=raw) as file:
                    yield cast(BinaryIO, io.BufferedReader(file, 1 << 20))  # type: ignore[type-var]
            elif packed == ".zst":
                yield cast(BinaryIO, io.BufferedReader(_Zstd(raw, path), 1 << 20))
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path, f"is not valid {packed[1:]}, or ends too early: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror or error}", where=path) from None


def _damaged(path: Path, what: str) -> UserError:
    return UserError(what, where=path, hint="make or fetch the file again")


class _Zstd(io.RawIOBase):
    """Frames of zstd, one behind the other. The library's own reader takes the end of a truncated file for the end of
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
