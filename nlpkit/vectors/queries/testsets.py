"""Published test sets of word vectors: pairs of words with human scores or a relation, and analogies.

Pairs: a line ``word word score``, by tabs, commas or spaces; further columns are allowed (SimLex-999: the score is the
first number after the words), so is one line of column names. If that line calls a column ``relation`` (antonym,
hyponym, past tense, ...) or ``POS``, pairs are grouped by it; pairs with a relation need no score. Analogies:
``a b c d`` (a is to b as c is to d), in sections that begin with ``: name``. Lines that begin with ``#`` are comments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nlpkit.base.errors import UserError
from nlpkit.base.stdin import stdin

RELATION_COLUMNS = ("relation", "pos")  # names of the column that groups pairs, in upper or lower case


@dataclass(frozen=True)
class Pairs:
    """Pairs of words with human ``scores`` (None: the set has none), and the ``relation`` of each (None: no column)."""

    name: str
    pairs: list[tuple[str, str]]
    scores: list[float] | None
    relation: list[str] | None = None


@dataclass(frozen=True)
class Analogies:
    """Questions of four words, each with the index of its section in ``sections``."""

    name: str
    questions: list[tuple[str, str, str, str]]
    section: list[int]
    sections: list[str]


def read(path: Path) -> Pairs | Analogies:
    """Read a test set, whose first line decides the kind. ``-`` is stdin.

    Errors: a UserError with file and line for a line that fits neither, and for a set with nothing in it.
    """
    lines = _lines(path)
    if not lines:
        raise UserError("holds no pairs and no analogies", where=path)
    name = "stdin" if str(path) == "-" else path.stem
    four = all(
        len(fields) == 4 and not any(map(_number, fields)) for fields in (_fields(line) for _, line in lines[:2])
    )
    if lines[0][1].startswith(":") or (four and _relation_column(lines[0][1]) is None):
        return _analogies(name, path, lines)
    return _pairs(name, path, lines)


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are neither empty nor comments, with their numbers."""
    try:
        raw = stdin().read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    numbered = []
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise UserError("is not UTF-8 text", where=f"{path}:{number}") from None
        if text and not text.startswith("#"):
            numbered.append((number, text))
    return numbered


def _fields(line: str) -> list[str]:
    for separator in ("\t", ","):
        if separator in line:
            return [field.strip() for field in line.split(separator)]
    return line.split()


def _number(field: str) -> bool:
    try:
        return abs(float(field)) < float("inf")
    except ValueError:
        return False


def _relation_column(line: str) -> int | None:
    """The index of the column that a line of names calls the relation of the pair."""
    names = [field.lower() for field in _fields(line)]
    return next((names.index(name) for name in RELATION_COLUMNS if name in names[2:]), None)


def _pairs(name: str, path: Path, lines: list[tuple[int, str]]) -> Pairs:
    pairs: list[tuple[str, str]] = []
    scores: list[float] = []
    relation: list[str] = []
    column = _relation_column(lines[0][1])
    for number, line in lines:
        fields = _fields(line)
        score = next((field for field in fields[2:] if _number(field)), None)
        if score is None and number == lines[0][0] and len(fields) >= 3:
            continue  # the names of the columns
        where = f"{path}:{number}"
        if column is None and score is None:
            raise UserError(
                f'"{line[:60]}" is not two words and a number',
                where=where,
                hint="a test set has lines 'word word score' or, for analogies, ': name'",
            )
        if column is not None and (len(fields) <= column or not all(fields[:2]) or not fields[column]):
            raise UserError(f'"{line[:60]}" has no relation, which is column {column + 1}', where=where)
        if pairs and (score is None) != (not scores):
            raise UserError("some pairs have a score and some have none; the first difference is here", where=where)
        pairs.append((fields[0], fields[1]))
        scores += [] if score is None else [float(score)]
        relation += [] if column is None else [fields[column]]
    if not pairs:
        raise UserError("holds no pairs", where=path)
    return Pairs(name, pairs, scores or None, relation or None)


def _analogies(name: str, path: Path, lines: list[tuple[int, str]]) -> Analogies:
    questions: list[tuple[str, str, str, str]] = []
    section: list[int] = []
    sections: list[str] = []
    for number, line in lines:
        if line.startswith(":"):
            sections.append(line[1:].strip())
            continue
        fields = _fields(line)
        if len(fields) != 4:
            raise UserError(f'"{line[:60]}" has {len(fields)} words, an analogy has 4', where=f"{path}:{number}")
        if not sections:
            sections.append("all")
        questions.append((fields[0], fields[1], fields[2], fields[3]))
        section.append(len(sections) - 1)
    if not questions:
        raise UserError("holds no analogies", where=path)
    return Analogies(name, questions, section, sections)
