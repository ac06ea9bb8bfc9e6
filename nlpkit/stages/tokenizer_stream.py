"""Text to ids and back, line by line or row by row, as they arrive.

`encode` and `decode` read a file, stdin ("-") or any iterable and yield as they go. A pipe is read in the
parts that have arrived: a slow producer's line is encoded at once, a fast one's lines in large batches.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from nlpkit.base import contents
from nlpkit.base.errors import UserError
from nlpkit.data import forms, labelled, readers
from nlpkit.exchange.tokenizer_opening import load_tokenizer
from nlpkit.stages.arriving import as_they_come
from nlpkit.tokenizers.base import Tokenizer

T = TypeVar("T")
Source = Path | str | Iterable[Any]
STDIN = Path("-")
_CHUNK = 1 << 20  # bytes; a fraction of a second of work
_ROWS = 512  # rows that are encoded together, at most
_NUMBER = re.compile(rb"[0-9]{1,12}")


def encode(
    tokenizer: Path | Tokenizer,
    file: Source = STDIN,
    *,
    field: str = "text",
    format: str | None = None,
    pieces: bool = False,
) -> Iterator[list[Any]]:
    """The ids (or ``pieces``) of each line of a text, without framing tokens and its end (\\n or \\r\\n), or of the
    column ``field`` of each row.

    ``tokenizer`` is a tokenizer or a file or folder that holds one; ``file`` a path, "-" or an iterable of texts.
    Errors: UserError with file and line for bad UTF-8, after the lines before it.
    """
    return chain.from_iterable(encode_batches(tokenizer, file, field=field, format=format, pieces=pieces))


def decode(tokenizer: Path | Tokenizer, file: Source = STDIN) -> Iterator[str]:
    """The text of each line of ids, special pieces left out. ``file`` may be an iterable of sequences of ids.

    Errors: UserError with file and line for what is not a number or not an id of the tokenizer.
    """
    return chain.from_iterable(decode_batches(tokenizer, file))


def encode_batches(
    tokenizer: Path | Tokenizer,
    file: Source,
    *,
    field: str = "text",
    format: str | None = None,
    pieces: bool = False,
) -> Iterator[list[list[Any]]]:
    """`encode`, as many lines at a time as have arrived."""
    loaded = _open(tokenizer)
    for texts in _texts(file, field, format):
        ids = (item.tolist() for item in loaded.encode_batch(texts))
        yield [[loaded.pieces[number] for number in line] for line in ids] if pieces else list(ids)


def decode_batches(tokenizer: Path | Tokenizer, file: Source) -> Iterator[list[str]]:
    """`decode`, as many lines at a time as have arrived."""
    loaded = _open(tokenizer)
    for lines in _batches(file, lambda line: _ids(line, loaded.vocab_size)):
        yield [loaded.decode(ids) for ids in lines]


def read_lines(file: Source, *, field: str = "text", format: str | None = None) -> Iterator[str]:
    """The lines of a text, without their ends, or the texts of rows. Errors: UserError with file and line for bad
    UTF-8."""
    return chain.from_iterable(_texts(file, field, format))


def _texts(source: Source, field: str, format: str | None) -> Iterator[list[str]]:
    """Lines or the texts of rows, as many at a time as have arrived."""
    if not isinstance(source, (Path, str)):
        yield from _batches(source, _text)
        return
    faults = forms.faults_of(source, "error")
    with forms.reading(source, faults, format=format, columns=(field,)) as (form, file):
        if form == forms.TEXT:
            if field != "text":
                forms.refuse_column(field, faults.path)
            yield from _parsed(str(faults.path), _unmarked(file, str(faults.path)), _text)
        else:
            rows = labelled.texts_of(readers.ROWS[form](file, faults), field, faults)
            yield from as_they_come(rows, _ROWS)


def _text(line: Any) -> str:
    return line if isinstance(line, str) else line.decode().rstrip("\r")


def _open(tokenizer: Path | str | Tokenizer) -> Tokenizer:
    return tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)


def _batches(source: Source, parse: Callable[[Any], T]) -> Iterator[list[T]]:
    """Lines, parsed, in batches. Where ``parse`` raises ValueError, the lines before are yielded first."""
    if isinstance(source, (Path, str)):
        faults = forms.faults_of(source, "error")
        with forms.reading(source, faults, format=forms.TEXT) as (_, file):
            yield from _parsed(str(faults.path), _unmarked(file, str(faults.path)), parse)
    else:
        yield from _parsed("line", ([item] for item in source), parse)


def _parsed(where: str, parts: Iterable[Sequence[Any]], parse: Callable[[Any], T]) -> Iterator[list[T]]:
    number = 0
    for lines in parts:
        done: list[T] = []
        error: UserError | None = None
        for line in lines:
            number += 1
            try:
                done.append(parse(line))
            except ValueError as reason:
                error = UserError(_words(reason), where=f"{where}:{number}", hint=_hint(reason, where))
                break
        yield done
        if error is not None:
            raise error


def _unmarked(file: BinaryIO, where: str) -> Iterator[Sequence[bytes]]:
    """The lines of a file, without their ends and without a byte order mark, as they become available."""
    mark = codecs.BOM_UTF8
    for first, *rest in _split(file, where):
        yield [first.removeprefix(mark), *rest]
        mark = b""


def _split(file: BinaryIO, where: str) -> Iterator[Sequence[bytes]]:
    begun: list[bytes] = []  # parts of a line whose end has not arrived yet
    size = 0
    while part := file.read1(_CHUNK):  # type: ignore[attr-defined]
        first, newline, rest = part.partition(b"\n")
        begun.append(first)
        size += len(first)
        if size > readers.MAX_LINE:
            raise readers.too_long(where)
        if newline:
            *lines, last = rest.split(b"\n")
            yield [b"".join(begun), *lines]
            begun, size = [last], len(last)
    if any(begun):
        yield [b"".join(begun)]


def _ids(line: Any, vocab_size: int) -> Sequence[int]:
    """The ids of one line. Errors: ValueError with a message."""
    if isinstance(line, bytes):
        words = line.split()
        for word in words:
            if not _NUMBER.fullmatch(word):
                raise ValueError(f'expected ids separated by spaces, came "{word[:40].decode(errors="replace")}"')
        line = map(int, words)
    ids = list(line)
    for number in ids:
        if not 0 <= number < vocab_size:
            raise ValueError(f"id {number} is not in this tokenizer, which has 0 to {vocab_size - 1}")
    return ids


def _words(reason: ValueError) -> str:
    if isinstance(reason, UnicodeDecodeError):
        return f"is not UTF-8 text: byte 0x{reason.object[reason.start]:02x} at column {reason.start + 1}"
    return str(reason)


def _hint(reason: ValueError, where: str) -> str | None:
    """The command that converts text in another encoding to UTF-8."""
    latin = contents.single_bytes(reason.object) if isinstance(reason, UnicodeDecodeError) else None
    return f"it looks like {latin}: {contents.iconv(latin, where)}" if latin else None
