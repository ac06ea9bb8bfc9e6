"""The safetensors format: canonical bytes out, checked and memory-mapped bytes in.

A file is 8 bytes of header length (little-endian), a JSON header, and the tensors' bytes. The published
library writes several metadata keys in random order and needs every tensor in memory; this writer has one order
and can copy a tensor from a file, so that token files may be larger than memory. The library reads what we write,
and a test says so.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nlpkit.base import missing
from nlpkit.base.errors import RunError, UserError

MAX_HEADER = 100_000_000  # bytes; the published library's own limit
MAX_SIZE = 1 << 62  # of a dimension, an offset, a tensor in bytes: no disk is larger, and numpy can still count it
MAX_DIMENSIONS = 32  # of a tensor; numpy 1.26's own limit
_CHUNK = 1 << 22

DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8",
        "I64": "<i8",
        "U64": "<u8",
        "F32": "<f4",
        "I32": "<i4",
        "U32": "<u4",
        "F16": "<f2",
        "BF16": "<u2",
        "I16": "<i2",
        "U16": "<u2",
        "I8": "i1",
        "U8": "u1",
        "BOOL": "?",
        "F8_E4M3": "u1",
        "F8_E5M2": "u1",
    }.items()
}
_BITS = ("BF16", "F8_E4M3", "F8_E5M2")  # numpy has no such types: they are read as their bits, and not written
_NAMES = {dtype.str: name for name, dtype in DTYPES.items() if name not in _BITS}


@dataclass(frozen=True)
class FileTensor:
    """A tensor whose bytes lie in an open file of their own: written without ever being in memory."""

    file: BinaryIO
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorInfo:
    """What the header says of one tensor; ``begin`` and ``end`` count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


Source = NDArray[Any] | FileTensor
State = tuple[int, int, int, int]  # of a file (`state`)


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The format's name for a numpy type."""
    return _NAMES[dtype.newbyteorder("<").str]


def chunks(source: Source) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor, little-endian and in C order, in pieces."""
    if isinstance(source, FileTensor):
        source.file.seek(0)
        while piece := source.file.read(_CHUNK):
            yield piece
        return
    dtype = source.dtype.newbyteorder("<")
    rows = len(source) if source.ndim and not source.flags.c_contiguous else 0
    each = max(1, _CHUNK * rows // max(1, source.nbytes))  # a view of other memory is never copied whole
    for part in (source[first : first + each] for first in range(0, rows, each)) if rows else (source,):
        array = np.ascontiguousarray(part, dtype=dtype)
        view = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")
        for start in range(0, len(view), _CHUNK):
            yield view[start : start + _CHUNK]


def digest(source: Source) -> str:
    """sha256 of a tensor's bytes."""
    sha = hashlib.sha256()
    for piece in chunks(source):
        sha.update(piece)
    return sha.hexdigest()


def table(tensors: Mapping[str, Source]) -> dict[str, dict[str, Any]]:
    """The header's entries, widest type first and then by name, so that every tensor lies aligned."""
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    entries: dict[str, dict[str, Any]] = {}
    offset = 0
    for name in order:
        source = tensors[name]
        size = int(np.prod(source.shape, dtype=np.int64)) * source.dtype.itemsize
        entries[name] = {
            "dtype": dtype_name(source.dtype),
            "shape": list(source.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    return entries


def write(file: BinaryIO, tensors: Mapping[str, Source], metadata: Mapping[str, str]) -> None:
    """Write one file: metadata first with sorted keys, then the entries, then the bytes."""
    entries = table(tensors)
    header = json.dumps(
        {"__metadata__": dict(sorted(metadata.items())), **entries}, separators=(",", ":"), ensure_ascii=False
    ).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER:
        raise UserError(f"the header would have {len(header):,} bytes; the format allows {MAX_HEADER:,}")
    file.write(struct.pack("<Q", len(header)) + header)
    for name in entries:
        for piece in chunks(tensors[name]):
            file.write(piece)


class Reader:
    """A file whose header was read and checked: ``tensors`` by name, and ``metadata``. All tensors share one memory
    map, created when the first is read, so that a file needs one open file however many tensors it has."""

    def __init__(self, path: Path, tensors: dict[str, TensorInfo], metadata: dict[str, str], state: State) -> None:
        self.path, self.tensors, self.metadata, self._state = path, tensors, metadata, state
        self._map: NDArray[np.uint8] | None = None

    def array(self, name: str) -> NDArray[Any]:
        """A read-only, memory-mapped view of one tensor. Errors: a file that is gone, is not the one whose header was
        read, or is shorter than it was (reading a page that is missing would kill the process)."""
        info = self.tensors[name]
        if info.end == info.begin:
            return np.zeros(info.shape, DTYPES[info.dtype])
        if self._map is None:
            self._map = self._mapped()
        check_whole(self._map, self.path)
        return self._map[info.begin : info.end].view(DTYPES[info.dtype]).reshape(info.shape)

    def _mapped(self) -> NDArray[np.uint8]:
        try:
            with open(self.path, "rb") as file:
                if state(os.fstat(file.fileno())) != self._state:
                    raise UserError("has changed since it was opened", where=self.path, hint="run the command again")
                return np.memmap(file, np.uint8, "r")
        except OSError as error:  # too many open files, no address space, gone
            raise RunError(f"cannot map it in memory: {error.strerror}", where=self.path) from None


def check_whole(array: NDArray[Any], path: Path | str) -> None:
    """Errors: the file behind a mapped array is shorter than when it was mapped; some of its pages are gone, and to
    touch one of them would end the process by SIGBUS."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and mapped.size() < len(mapped):
        raise RunError(
            f"was cut to {mapped.size():,} bytes while it was read, from {len(mapped):,}",
            where=path,
            hint="make the file again, then run the command again",
        )


def state(status: os.stat_result) -> State:
    """What changes when a file is replaced or written: device, inode, size, time of the last change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def read(path: Path) -> Reader:
    """The tensors and the metadata of a file; every field is checked before it is believed.

    Errors: a UserError that names the file and what is wrong with it (missing, too short, not JSON, overlapping or
    missing bytes, sizes that do not agree with shapes).
    """

    def bad(what: str) -> UserError:
        hint = "the file is damaged, incomplete or of another format; make or fetch it again"
        return UserError(f"not a valid safetensors file: {what}", where=path, hint=hint)

    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            size = status.st_size
            start = file.read(8)
            if len(start) < 8:
                raise bad(f"{len(start)} bytes, shorter than any header")
            (length,) = struct.unpack("<Q", start)
            if length > MAX_HEADER or 8 + length > size:
                raise bad(f"its header claims {length:,} bytes of {size:,}")
            raw = file.read(length)
    except OSError as error:
        hint = missing.hint(Path(path), model=True)
        raise UserError(f"cannot read: {error.strerror}", where=path, hint=hint) from None
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise bad(f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise bad("its header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise bad("its metadata is not a map of texts")
    tensors = {name: _entry(name, entry, 8 + length, bad) for name, entry in header.items()}
    expected = 8 + length
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if info.begin != expected:
            raise bad(f"tensor {_shown(name)} begins at byte {info.begin:,}, expected {expected:,}")
        expected = info.end
    if expected != size:
        raise bad(f"{size:,} bytes, expected {expected:,}")
    return Reader(path, tensors, metadata, state(status))


def _entry(name: str, entry: Any, start: int, bad: Any) -> TensorInfo:
    """One checked entry of the header."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise bad(f"tensor {_shown(name)} needs dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise bad(f"tensor {_shown(name)} has the unknown type {_shown(str(dtype))}")
    lists = isinstance(shape, list) and isinstance(offsets, list)
    if not lists or len(shape) > MAX_DIMENSIONS or len(offsets) != 2 or not all(map(_is_size, [*shape, *offsets])):
        raise bad(f"tensor {_shown(name)} has no valid shape and offsets")
    # Python integers do not overflow; numpy counts the elements of an empty tensor without its zeros.
    if not _is_size(math.prod(number for number in shape if number) * DTYPES[dtype].itemsize):
        raise bad(f"tensor {_shown(name)} has a shape that needs more bytes than any file has")
    size = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != size:
        raise bad(f"tensor {_shown(name)} has {offsets[1] - offsets[0]:,} bytes, its shape needs {size:,}")
    return TensorInfo(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _shown(name: str) -> str:
    """A name that nobody has checked, short and on one line."""
    return json.dumps(name[:60], ensure_ascii=False)


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number <= MAX_SIZE


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen = dict(pairs)
    if len(seen) != len(pairs):
        raise ValueError("a key stands twice")
    return seen
