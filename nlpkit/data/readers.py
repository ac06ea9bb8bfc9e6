"""Files of text, line by line and row by row, in bounded memory.

Everything from outside is checked here: bad UTF-8, binary content, malformed rows and missing columns are errors that
name file and line, or are skipped, counted and said.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from nlpkit import events
from nlpkit.errors import UserError, choose, nearest

MAX_LINE = 1 << 28  # bytes; a longer line is a file of another kind
Row = dict[str, Any]


@dataclass
class Faults:
    """What is wrong in one file: the first fault stops, or (``on_error="skip"``) all are counted and said once."""

    path: Path
    on_error: str
    count: int = 0
    first: str = ""

    def __post_init__(self) -> None:
        choose({"error": 0, "skip": 1}, self.on_error, field="on-error")

    def at(self, line: int, what: str, hint: str | None = None) -> None:
        """Enter a fault."""
        if self.on_error == "error":
            raise UserError(what, where=f"{self.path}:{line}", hint=hint or "--on-error skip leaves such lines out")
        self.count += 1
        self.first = self.first or f"the first at line {line:,}: {what}"

    def say(self) -> None:
        """After the last line."""
        if self.count:
            events.note(f"{self.path}: skipped {self.count:,} lines, {self.first}")


def suffixes(path: Path) -> tuple[str, str]:
    """The format's suffix and the compression's, e.g. (".jsonl", ".gz")."""
    names = [suffix.lower() for suffix in path.suffixes]
    packed = names.pop() if names and names[-1] in (".gz", ".zst") else ""
    return (names[-1] if names else ""), packed


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked. Errors: unreadable or damaged files are a UserError."""
    packed = suffixes(path)[1]
    try:
        with open(path, "rb") as raw:
            if packed == ".gz":
                with gzip.GzipFile(fileobj=raw) as file:
                    yield cast(BinaryIO, io.BufferedReader(file, 1 << 20))  # type: ignore[type-var]
            elif packed == ".zst":
                import zstandard

                try:
                    with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
                        yield cast(BinaryIO, io.BufferedReader(stream, 1 << 20))
                except zstandard.ZstdError as error:
                    raise UserError(f"is not valid zstd: {error}", where=path) from None
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"is not valid gzip, or ends too early: {error}", where=path) from None
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror or error}", where=path) from None


def lines(path: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its line end) of each line that is UTF-8 text."""
    with opened(path) as file:
        number = 0
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE:
                raise UserError(f"a line of more than {MAX_LINE:,} bytes: is this text?", where=f"{path}:{number}")
            if b"\0" in raw:
                faults.at(number, "holds a NUL byte: binary, or not UTF-8")
                continue
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                faults.at(number, f"is not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})")
                continue
            if number == 1:
                text = text.removeprefix("\ufeff")
            yield number, text.rstrip("\r\n")


def jsonl_rows(path: Path, faults: Faults) -> Iterator[tuple[int, Row]]:
    """(line, object) of each line of a JSONL file; empty lines are passed over."""
    for number, text in lines(path, faults):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            faults.at(number, f"is not JSON: {getattr(error, 'msg', 'nested too deeply')}")
            continue
        if not isinstance(value, dict):
            faults.at(number, f"is a JSON {type(value).__name__}, expected an object")
            continue
        yield number, value


def _delimited(path: Path, faults: Faults, delimiter: str, quoting: Any) -> Iterator[tuple[int, Row]]:
    """Rows by the names in the first line. TSV has no quotes; in CSV a quoted field may hold line ends."""
    csv.field_size_limit(MAX_LINE)
    source = lines(path, faults)
    reader = csv.reader((text + "\n" for _, text in source), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    while True:
        begins = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            faults.at(begins, f"is malformed: {error}")
            continue
        if not row:
            continue
        if header is None:
            header = row
            if len(set(header)) != len(header):
                raise UserError("names a column twice in its first line", where=f"{path}:1")
        elif len(row) != len(header):
            faults.at(begins, f"has {len(row)} columns, the first line names {len(header)}")
        else:
            yield begins, dict(zip(header, row, strict=True))


def csv_rows(path: Path, faults: Faults) -> Iterator[tuple[int, Row]]:
    return _delimited(path, faults, ",", csv.QUOTE_MINIMAL)


def tsv_rows(path: Path, faults: Faults) -> Iterator[tuple[int, Row]]:
    return _delimited(path, faults, "\t", csv.QUOTE_NONE)


def parquet_rows(path: Path, faults: Faults) -> Iterator[tuple[int, Row]]:
    """(row from 1, its fields), a batch in memory at a time."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("needs pyarrow to be read", where=path, hint="pip install 'nlpkit[parquet]'") from None
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"is not valid Parquet: {error}", where=path) from None


Rows = Callable[[Path, Faults], Iterator[tuple[int, Row]]]
ROWS: dict[str, Rows] = {
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".csv": csv_rows,
    ".tsv": tsv_rows,
    ".parquet": parquet_rows,
}


def value_of(row: Row, field: str, line: int, faults: Faults) -> Any | None:
    """A field of a row; None, entered as a fault, when it is not there. The error names the nearest field."""
    if field in row and row[field] is not None:
        return row[field]
    guess = nearest(field, row)
    meant = f'; did you mean "{guess}"?' if guess else ""
    names = ", ".join(map(str, row))
    faults.at(line, f'has no field "{field}"{meant}', hint=f"its fields: {names}"[:300])
    return None


def text_of(row: Row, field: str, line: int, faults: Faults) -> str | None:
    """A field that must be text."""
    value = value_of(row, field, line, faults)
    if value is None or isinstance(value, str):
        return value
    faults.at(line, f'field "{field}" is a {type(value).__name__}, expected text')
    return None
