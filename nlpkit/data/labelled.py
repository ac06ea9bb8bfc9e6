"""Labelled examples for a task: columns of a JSONL, CSV, TSV or Parquet file (or packed ones)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.data.packed import suffixes
from nlpkit.data.readers import ROWS, Faults, Row, json_row, lines, text_of, value_of


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


def read(
    path: Path, *, text: str = "text", pair: str | None = None, label: str | None = "label", on_error: str = "error"
) -> Examples:
    """All examples of a file. ``pair`` and ``label`` None are not read.

    Errors: UserError with file and line for a malformed row, a missing column (the nearest is named), a text that is
    not text, a label that is neither text, number nor truth value; a file without examples. An empty text is an
    example, counted and said.
    """
    path = Path(path)
    kind = suffixes(path)[0]
    if kind not in ROWS:
        raise UserError(f'suffix "{kind}" says no format', where=path, hint=f"labelled files: {', '.join(ROWS)}")
    faults = Faults(path, on_error)
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[str] = []
    numbers: list[int] = []
    for line, row in ROWS[kind](path, faults):
        first = text_of(row, text, line, faults)
        second = text_of(row, pair, line, faults) if first is not None and pair is not None else ""
        named = _label(row, label, line, faults) if second is not None and first is not None and label else ""
        if first is None or second is None or named is None:
            continue
        texts.append(first)
        pairs.append(second)
        labels.append(named)
        numbers.append(line)
    faults.say()
    if not texts:
        raise UserError("holds no examples", where=path, hint="give a file with at least one row")
    if empty := sum(not item.strip() for item in texts):
        events.note(f"{path}: {empty:,} of {len(texts):,} texts are empty")
    return Examples(path, texts, pairs if pair is not None else None, labels if label else None, numbers)


def _label(row: Row, field: str, line: int, faults: Faults) -> str | None:
    value = value_of(row, field, line, faults)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, int)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    faults.at(line, f'field "{field}" is a {type(value).__name__}, expected text, a whole number or a truth value')
    return None


def stream(path: Path, *, text: str = "text", pair: str | None = None, on_error: str = "error") -> Iterator[Row]:
    """Rows as they come, for prediction: each has ``text`` (and ``pair``), and ``id`` where the input has one.

    ``-`` is stdin. Lines that begin with ``{`` are JSON objects, other lines are the text itself, an empty line too, so
    that there is a row for each line; JSONL, CSV, TSV and Parquet files are read by their columns. Where pairs are
    asked for there are JSON objects only, and empty lines mean nothing, as in a JSONL file.
    """
    path = Path(path)
    faults = Faults(Path("stdin") if str(path) == "-" else path, on_error)
    kind = suffixes(path)[0]
    if str(path) != "-" and kind in ROWS:
        rows: Iterator[tuple[int, Row]] = ROWS[kind](path, faults)
    else:
        rows = _mixed(lines(path, faults), text, faults, empty=pair is None)
    for line, row in rows:
        first = text_of(row, text, line, faults)
        second = text_of(row, pair, line, faults) if pair is not None and first is not None else None
        if first is None or (pair is not None and second is None):
            continue
        kept: Row = {"text": first}
        if pair is not None:
            kept["pair"] = second
        if "id" in row:
            kept["id"] = row["id"]
        yield kept
    faults.say()


def _mixed(source: Iterator[tuple[int, str]], text: str, faults: Faults, *, empty: bool) -> Iterator[tuple[int, Row]]:
    for number, line in source:
        if not empty and not line.strip():
            continue
        if not line.lstrip().startswith("{"):
            yield number, {text: line}
        elif (row := json_row(number, line, faults)) is not None:
            yield number, row
