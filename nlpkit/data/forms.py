"""Which form the text or the rows of a file have: by ``--format``, else by the name, else by the content.

Every command that reads text or rows opens it here, from files, pipes and stdin, so that all read the same input
the same way: plain text (a line each), JSONL, CSV, TSV, Parquet, packed (.gz, .zst) or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nlpkit.artifact.provenance import STDIN_AGAIN, STREAM_NAMES
from nlpkit.base import contents, events
from nlpkit.base.errors import UserError, choose
from nlpkit.data.packed import ahead, opened, suffixes
from nlpkit.data.readers import ROWS, Faults

TEXT = "text"
FORMATS = (TEXT, *ROWS)
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}


def check(format: str | None) -> None:
    """Errors: a ``--format`` that is none."""
    if format is not None:
        choose(dict.fromkeys(FORMATS), format, field="format")


def faults_of(path: Path | str, on_error: str) -> Faults:
    """The faults of a file, under the name that the user gave it."""
    path = Path(path)
    return Faults(Path("stdin") if str(path) == "-" else Path(STREAM_NAMES.get(path, path)), on_error)


@contextmanager
def reading(
    path: Path | str, faults: Faults, *, format: str | None = None, columns: Collection[str] = (), say: bool = True
) -> Iterator[tuple[str, BinaryIO]]:
    """The form of a file and its bytes, unpacked. A note names a form that the content decided, but for plain text.

    ``columns`` are the requested names, by which a header is recognised. Errors: what is neither text nor rows,
    text in another encoding, a JSON document that is not a row a line, columns between semicolons.
    """
    check(format)
    path = Path(path)
    with opened(path, name=faults.path) as file:
        head, file = ahead(file, _enough)
        by_name = None if path in STREAM_NAMES or path in STDIN_AGAIN else _SUFFIXES.get(suffixes(path)[0])
        form = format or by_name or contents.form(head, columns)
        if form == "csv" and format is None and contents.form(head, columns) == "semicolons":
            form = "semicolons"  # a name ending in .csv does not say which separator
        _refuse(head, form, faults.path)
        if form not in FORMATS:
            raise _other_form(form, faults.path)
        if say and form != TEXT and not (format or by_name):
            events.note(f"{faults.path}: read as {contents.NAMES[form]}")
        yield form, file


def form_of(path: Path | str, format: str | None = None, columns: Collection[str] = ()) -> str:
    """The form of a file that can be read twice; writes no note."""
    with reading(path, faults_of(path, "error"), format=format, columns=columns, say=False) as (form, _):
        return form


def has_rows(paths: Collection[Path], format: str | None, columns: Collection[str]) -> bool:
    """Whether one of the files may have columns; true for those that can be read only once, which are not opened."""
    return any(not Path(path).is_file() or form_of(path, format, columns) in ROWS for path in paths)


def refuse_column(column: str, path: Path | str) -> None:
    """Raise the error for a column of plain text."""
    raise UserError(
        f'is plain text, which has no column "{column}"',
        where=path,
        hint=f"leave it out, or name the form: --format {', '.join(ROWS)}",
    )


def _enough(head: bytes) -> bool:
    """Whether these bytes decide the form: a whole line, or as many as are looked at."""
    return contents.first_line(head) is not None or len(head) >= contents.LOOK


def _refuse(head: bytes, form: str, path: Path) -> None:
    """Errors: what is no text at all, or not in UTF-8."""
    if form == "parquet":
        return
    if name := contents.encoding(head):
        raise UserError(f"is {name} text, expected UTF-8", where=path, hint=contents.iconv(name, path))
    if what := contents.other(head):
        hint = "nlpkit info says what it is" if "safetensors" in what else "unpack or convert it first"
        hint = "save it as plain text" if what == contents.WORD else hint
        raise UserError(f"is {what}, expected text or rows ({', '.join(FORMATS)}; .gz and .zst)", where=path, hint=hint)
    if b"\n" not in head and head.rstrip(b"\r").count(b"\r") > 1:  # one line of text would be a whole file
        hint = f"tr '\\r' '\\n' < {path} > {path.stem}.lf{path.suffix}"
        raise UserError("ends its lines with a carriage return alone, expected a line feed", where=path, hint=hint)


def _other_form(form: str, path: Path) -> UserError:
    if form == "json":
        return UserError(
            "is a JSON document, expected JSONL: an object a line",
            where=path,
            hint=f"jq -c '.[]' {path} > {path.stem}.jsonl makes rows of an array",
        )
    return UserError(
        "has semicolons between its columns, expected commas (CSV) or tabs (TSV)",
        where=path,
        hint=contents.commas(path),
    )
