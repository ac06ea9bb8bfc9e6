"""Labelled examples for a task: columns of a JSONL, CSV, TSV or Parquet file (or packed ones)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nlpkit.base import contents, events
from nlpkit.base.errors import UserError
from nlpkit.data import forms
from nlpkit.data.readers import ROWS, Faults, Row, has_columns, lines, text_of, value_of


@dataclass(frozen=True)
class Examples:
    """n examples: texts, the second texts of pairs or None, labels as text or None, and the line each came from."""

    path: Path
    texts: Sequence[str]
    pairs: Sequence[str] | None
    labels: Sequence[str] | None
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, row: int) -> str:
        """``file:line`` of an example."""
        return f"{self.path}:{self.lines[row]}"

    @property
    def words(self) -> Sequence[str]:
        """The texts, each pair joined to one."""
        if self.pairs is None:
            return self.texts
        return [f"{text} {pair}" for text, pair in zip(self.texts, self.pairs, strict=True)]


def read(
    path: Path,
    *,
    text: str = "text",
    pair: str | None = None,
    label: str | None = "label",
    on_error: str = "error",
    format: str | None = None,
) -> Examples:
    """All examples of a file. ``pair`` and ``label`` None are not read.

    Errors: UserError with file and line for a malformed row, a missing column (the nearest is named), a text that is
    not text, a label that is neither text, integer nor boolean, or empty; a file without examples. Empty texts are
    examples; a note counts them. White space around labels is removed; a note counts these too.
    """
    faults = forms.faults_of(path, on_error)
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[str] = []
    numbers: list[int] = []
    stripped: list[str] = []
    columns = [name for name in (text, pair, label) if name]
    with forms.reading(path, faults, format=format, columns=columns) as (form, file):
        if form not in ROWS:
            raise _needs_rows(faults.path, columns)
        for line, row in ROWS[form](file, faults):
            if not has_columns(row, {"--text": text, "--pair": pair, "--label": label}, line, faults):
                continue
            first = text_of(row, text, line, faults)
            second = text_of(row, pair, line, faults) if first is not None and pair is not None else ""
            named = _label(row, label, line, faults) if second is not None and first is not None and label else ""
            if first is None or second is None or named is None:
                continue
            texts.append(first)
            pairs.append(second)
            labels.append(named.strip())
            numbers.append(line)
            stripped += [named] if named != labels[-1] else []
    faults.say()
    if not texts:
        raise UserError("holds no examples", where=faults.path, hint="give a file with at least one row")
    if empty := sum(not item.strip() for item in texts):
        events.note(f"{faults.path}: {empty:,} of {len(texts):,} texts are empty")
    if stripped:
        events.note(
            f"{faults.path}: {len(stripped):,} labels have white space around them, which is removed; "
            f"the first is {stripped[0]!r}"
        )
    return Examples(faults.path, texts, pairs if pair is not None else None, labels if label else None, numbers)


def texts_of(rows: Iterable[tuple[int, Row]], field: str, faults: Faults) -> Iterator[str]:
    """One column of rows."""
    return (
        text
        for line, row in rows
        if has_columns(row, {"--field": field}, line, faults)
        and (text := text_of(row, field, line, faults)) is not None
    )


def _needs_rows(path: Path, columns: Sequence[str]) -> UserError:
    hint = f"{', '.join(ROWS)} with the columns {', '.join(columns)}; --format names another form"
    return UserError("is plain text, expected rows", where=path, hint=hint)


def has_column(path: Path, name: str, format: str | None = None) -> bool:
    """Whether the first row of a file of rows has a column; False for other files and for streams. Writes no note."""
    if str(path) == "-" or not path.is_file() or contents.holds_tensors(path):
        return False
    form, faults = forms.form_of(path, format, [name]), forms.faults_of(path, "skip")
    if form not in ROWS:
        return False
    with forms.reading(path, faults, format=form, columns=[name]) as (_, file):
        return any(name in row for _, row in islice(ROWS[form](file, faults), 1))


def _label(row: Row, field: str, line: int, faults: Faults) -> str | None:
    value = value_of(row, field, line, faults)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        if value.strip() and "\0" not in value:
            return value
        faults.at(line, f'its label, field "{field}", {"holds a NUL character" if value.strip() else "is empty"}')
    elif value is not None:
        faults.at(line, f'field "{field}" is a {type(value).__name__}, expected text, an integer or a boolean')
    return None


def stream(
    path: Path,
    *,
    text: str = "text",
    pair: str | None = None,
    on_error: str = "error",
    format: str | None = None,
    named: bool = False,
) -> Iterator[Row]:
    """Rows as they come, for prediction: each has ``text`` (and ``pair``), and ``id`` where the input has one.

    ``-`` is stdin. Plain text has a row for each line, an empty one too. Errors, on plain text: a ``pair``, or a column
    ``text`` that was requested by name (``named``).
    """
    faults = forms.faults_of(path, on_error)
    columns = [name for name in (text, pair) if name]
    with forms.reading(path, faults, format=format, columns=columns) as (form, file):
        if form not in ROWS:
            if pair is not None:
                raise _needs_rows(faults.path, columns)
            if named:
                forms.refuse_column(text, faults.path)
            yield from ({"text": line} for _, line in lines(file, faults))
        else:
            for line, row in ROWS[form](file, faults):
                if not has_columns(row, {"--text": text, "--pair": pair}, line, faults):
                    continue
                first = text_of(row, text, line, faults)
                second = text_of(row, pair, line, faults) if pair is not None and first is not None else None
                if first is None or (pair is not None and second is None):
                    continue
                yield {
                    "text": first,
                    **({} if pair is None else {"pair": second}),
                    **({"id": row["id"]} if "id" in row else {}),
                }
    faults.say()
