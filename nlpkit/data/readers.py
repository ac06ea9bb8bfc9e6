"""Text line by line and rows of JSONL, CSV, TSV and Parquet, in bounded memory.

Everything from outside is checked here: bad UTF-8, binary content, malformed rows and missing columns are errors that
name file and line, or are skipped and counted. Every form has the same rules: a line or a row has at most `MAX_LINE`
bytes; a column is named once, and one without a name is ignored; a text contains no NUL; a byte order mark at the
beginning of a file is dropped; a row has all the columns that the header names.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from nlpkit.base import contents, events
from nlpkit.base.errors import UserError, choose, nearest

MAX_LINE = 1 << 26  # bytes of a line or a row, 64 MB; a longer one is a file of another kind
BLOCK = 1 << 19  # bytes of lines that are decoded together
_PIECE = 1 << 14  # bytes of them that are checked together
Row = dict[str, Any]


@dataclass
class Faults:
    """What is wrong in one file: the first fault is an error, or (``on_error="skip"``) all are counted in one note."""

    path: Path
    on_error: str
    count: int = 0
    first: str = ""
    header: int | None = None  # the number of the line that names the columns

    def __post_init__(self) -> None:
        choose({"error": 0, "skip": 1}, self.on_error, field="on-error")

    def at(self, line: int, what: str, hint: str | None = None, *, lines: int = 1) -> None:
        """Enter a fault that costs ``lines`` lines."""
        if self.on_error == "error":
            raise UserError(what, where=f"{self.path}:{line}", hint=hint or "--on-error skip leaves such lines out")
        self.count += lines
        self.first = self.first or f"the first at line {line:,}: {what}"

    def say(self) -> None:
        """After the last line."""
        if self.count:
            events.note(f"{self.path}: skipped {self.count:,} {'line' if self.count == 1 else 'lines'}, {self.first}")


def decoded(file: BinaryIO, faults: Faults, number: int = 0) -> Iterator[tuple[int, str]]:
    """(number, text with its line end) of each line that is UTF-8 text; the first has the number after ``number``."""
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        if len(raw) > MAX_LINE:
            raise too_long(f"{faults.path}:{number}")
        if b"\0" in raw:
            faults.at(number, "holds a NUL byte: binary, or not UTF-8")
            continue
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            latin = contents.single_bytes(raw)
            hint = f"it looks like {latin}: {contents.iconv(latin, faults.path)}" if latin else None
            faults.at(number, f"is not UTF-8 (byte 0x{raw[error.start]:02x} at column {error.start + 1})", hint)
            continue
        yield number, text.removeprefix("\ufeff") if number == 1 else text


def too_long(where: str) -> UserError:
    """The error for a line or a row larger than `MAX_LINE`."""
    return UserError(
        f"is larger than {MAX_LINE:,} bytes, the limit of a line or a row: is this text?",
        where=where,
        hint="text has line ends; put the parts of a larger document in several rows",
    )


def lines(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its line end) of each line that is UTF-8 text, as soon as each is there."""
    for number, text in decoded(file, faults):
        yield number, text.rstrip("\r\n")


def blocks(file: BinaryIO, faults: Faults) -> Iterator[list[str]]:
    """The lines of a file, a list for each block of bytes; `lines` gives the same slowly. Each has its white space at
    both ends, but for the line feed."""
    for raw in raw_blocks(file, faults):
        yield raw.decode("utf-8").removesuffix("\n").split("\n")


def raw_blocks(file: BinaryIO, faults: Faults) -> Iterator[bytes]:
    """The lines of a file as blocks of UTF-8, each line with a line feed."""
    number = 0
    while raw := file.read(BLOCK):
        raw += file.readline(MAX_LINE + 1)
        count = raw.count(b"\n")
        if number == 0 or len(raw) > 2 * BLOCK or not _is_text(raw):  # then each line has to be checked
            good = [line for _, line in decoded(io.BytesIO(raw), faults, number)]
            raw = "".join(good).encode()
            if good and not raw:  # a byte order mark alone
                raw = b"\n"
        number += count
        if raw:
            yield raw if raw.endswith(b"\n") else raw + b"\n"


def _is_text(raw: bytes) -> bool:
    """Whether this is UTF-8 without a NUL byte. It is decoded in small pieces: strings of megabytes, up to
    four bytes a character, would fragment the memory of the process."""
    if raw.isascii():
        return b"\0" not in raw
    view, start = memoryview(raw), 0
    try:
        while start < len(raw):
            piece = view[start : start + _PIECE]
            start += codecs.utf_8_decode(piece, "strict", start + len(piece) == len(raw))[1]
    except UnicodeDecodeError:
        return False
    return b"\0" not in raw


def json_row(number: int, text: str, faults: Faults) -> Row | None:
    """The object on a line; None, entered as a fault, when there is none."""
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if "\\ud" in text.lower():  # an escape may be half of a pair, which is no character and has no bytes
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        faults.at(number, f"is not JSON: {error.msg}")
    except _NamedTwice as error:
        faults.at(number, _twice(str(error)))
    except UnicodeEncodeError as error:
        faults.at(number, f"holds {error.object[error.start]!a}, half of a surrogate pair, which is no character")
    except ValueError:  # Python's limit to the digits of a number
        faults.at(number, "is not JSON: a number has too many digits")
    except RecursionError:
        faults.at(number, "is not JSON: nested too deeply")
    else:
        if isinstance(value, dict):
            value.pop("", None)
            return value
        faults.at(number, f"is a JSON {type(value).__name__}, expected an object")
    return None


class _NamedTwice(ValueError):
    """A name that an object has twice."""


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs) and (name := _repeated([name for name, _ in pairs])):
        raise _NamedTwice(name)
    return row


def _repeated(names: Sequence[str]) -> str | None:
    """The first name that occurs twice; empty names do not count."""
    return next((name for number, name in enumerate(names) if name and name in names[:number]), None)


def _twice(name: str) -> str:
    return f'names the column "{name}" twice'


def jsonl_rows(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, Row]]:
    """(line, object) of each line of a JSONL file; empty lines are ignored."""
    for number, text in lines(file, faults):
        if text.strip() and (row := json_row(number, text, faults)) is not None:
            yield number, row


def _delimited(file: BinaryIO, faults: Faults, delimiter: str, quoting: Any) -> Iterator[tuple[int, Row]]:
    """Rows by the names in the first line. TSV has no quotes; in CSV a quoted field may hold line ends."""
    csv.field_size_limit(MAX_LINE)
    taken: list[int] = []  # numbers of the lines that the row being read is made of
    size = 0
    begin = ""  # the first of these lines

    def source() -> Iterator[str]:
        nonlocal size, begin
        for number, text in decoded(file, faults):
            begin = begin if taken else text
            taken.append(number)
            size += len(text)
            if size > MAX_LINE:  # of a quoted field that goes on and on
                raise too_long(f"{faults.path}:{taken[0]}")
            yield text

    reader = csv.reader(source(), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    while True:
        taken.clear()
        size = 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = _CSV_ERRORS.get(str(error).partition(" - ")[0], str(error))
            if header is None:  # without it no row can be read
                hint = _other_separator(begin, delimiter, faults.path) or HEADER
                raise UserError(f"is malformed: {what}", where=f"{faults.path}:{taken[0]}", hint=hint) from None
            faults.at(taken[0], f"is malformed: {what}", lines=len(taken))
            continue
        if not row:
            continue
        if header is None:
            header = row
            faults.header = taken[0]
            if name := _repeated(header):
                raise UserError(_twice(name), where=f"{faults.path}:{taken[0]}", hint="name each column once")
        elif len(row) != len(header):
            columns = f"has {len(row)} columns, the first line names {len(header)}"
            separator = _other_separator(header[0], delimiter, faults.path) if len(header) == 1 else None
            faults.at(taken[0], columns, separator, lines=len(taken))
        else:
            yield taken[0], {name: value for name, value in zip(header, row, strict=True) if name}


HEADER = "is its first line a header? expected column names such as text,label"


def _other_separator(line: str, delimiter: str, path: Path) -> str | None:
    """The hint for a CSV file whose first line has semicolons or tabs and no commas between its columns."""
    if delimiter != "," or not (";" in line or "\t" in line):
        return None
    if ";" in line:
        return f"are there semicolons between its columns? {contents.commas(path)}"
    return "are there tabs between its columns? --format tsv"


# What Python's csv module says -> what it means to a person.
_CSV_ERRORS = {
    "new-line character seen in unquoted field": "a carriage return in a field without quotes",
    "unexpected end of data": "a quote is never closed",
}


def csv_rows(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, Row]]:
    return _delimited(file, faults, ",", csv.QUOTE_MINIMAL)


def tsv_rows(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, Row]]:
    return _delimited(file, faults, "\t", csv.QUOTE_NONE)


def parquet_rows(file: BinaryIO, faults: Faults) -> Iterator[tuple[int, Row]]:
    """(row from 1, its fields), a batch in memory at a time. Parquet is read from its end, so a stream is copied to
    a temporary file first."""
    path = faults.path
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError("needs pyarrow to be read", where=path, hint="pip install 'nlpkit[parquet]'") from None
    number = 0
    with tempfile.TemporaryFile() as spool:
        if not file.seekable():
            shutil.copyfileobj(file, spool)
            file = cast(BinaryIO, spool)
        try:
            with pyarrow.parquet.ParquetFile(file) as parquet:
                if name := _repeated(parquet.schema_arrow.names):
                    raise UserError(_twice(name), where=path, hint="name each column once")
                for batch in parquet.iter_batches(batch_size=4096):
                    for row in batch.to_pylist():
                        number += 1
                        row.pop("", None)
                        yield number, row
        except (pyarrow.ArrowException, OSError) as error:
            raise UserError(f"is not valid Parquet: {error}", where=path) from None
        except UnicodeDecodeError:
            raise UserError(f"holds text that is not UTF-8 after row {number:,}", where=path) from None


Rows = Callable[[BinaryIO, Faults], Iterator[tuple[int, Row]]]
ROWS: dict[str, Rows] = {"jsonl": jsonl_rows, "csv": csv_rows, "tsv": tsv_rows, "parquet": parquet_rows}


def has_columns(row: Row, wanted: Mapping[str, str | None], line: int, faults: Faults) -> bool:
    """Whether a row has the columns ``wanted``, the option that names each -> its name (None: not read); those that it
    has not are a fault, with the nearest names. In CSV and TSV it is the header's."""
    missing = {flag: name for flag, name in wanted.items() if name is not None and name not in row}
    if not missing:
        return True
    guesses = {name: guess for name in missing.values() if (guess := nearest(name, row))}
    names = ", ".join(f'"{name}"' for name in missing.values())
    nearby = " and ".join(f'"{guess}"' for guess in guesses.values())
    meant = f"; did you mean {nearby}?" if nearby else ""
    hint = (
        f"its fields: {', '.join(map(str, row))}"[:240]
        + f"; name {'it' if len(missing) == 1 else 'them'} with {' and '.join(missing)}"
    )
    if faults.header is not None and not guesses and not any(name.lower() in contents.USUAL_COLUMNS for name in row):
        separator = _other_separator(next(iter(row), ""), ",", faults.path) if len(row) == 1 else None
        hint = f"{separator or HEADER}; {hint}"
    number = faults.header if faults.header is not None and faults.on_error == "error" else line
    faults.at(number, f"has no {'field' if len(missing) == 1 else 'fields'} {names}{meant}", hint)
    return False


def value_of(row: Row, field: str, line: int, faults: Faults) -> Any | None:
    """A field of a row that has it (`has_columns`); None, entered as a fault, when it is null."""
    if row[field] is None:
        faults.at(line, f'field "{field}" is null')
    return row[field]


def text_of(row: Row, field: str, line: int, faults: Faults) -> str | None:
    """A field that must be text."""
    value = value_of(row, field, line, faults)
    if isinstance(value, str):
        if len(value) > MAX_LINE:
            raise too_long(f"{faults.path}:{line}")
        if "\0" not in value:
            return value
        faults.at(line, f'field "{field}" holds a NUL character')
    elif value is not None:
        faults.at(line, f'field "{field}" is a {type(value).__name__}, expected text')
    return None
