"""What a file holds, detected from its first bytes: the format of its text or rows, its compression, its encoding, or
another type of file, so that an error can name a wrong file's type.

The rules read the first non-empty line, and nothing that more of the file or a slower pipe could change.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from pathlib import Path

LOOK = 1 << 16  # bytes that are inspected
MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst", b"PAR1": "parquet"}
TENSORS = "a safetensors file"
WORD = "a Word document"
_OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"%PDF": "a PDF",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"\x7fELF": "a program",
}
_MARKS = {  # byte order marks; the longer first
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_BOM = b"\xef\xbb\xbf"
# A header has one of the wanted names or of these, so that no sentence with commas is taken for a header.
USUAL_COLUMNS = frozenset(
    {
        "text",
        "label",
        "labels",
        "id",
        "sentence",
        "sentence1",
        "sentence2",
        "title",
        "body",
        "content",
        "prompt",
        "completion",
        "question",
        "answer",
        "category",
        "class",
        "sentiment",
        "score",
        "source",
        "target",
    }
)
_NAME = re.compile(r"\w[\w.:/()# -]{0,63}")
_SEPARATORS = {",": "csv", "\t": "tsv", ";": "semicolons"}
NAMES = {
    "jsonl": "JSONL",
    "json": "a JSON document",
    "csv": "CSV",
    "tsv": "TSV",
    "semicolons": "CSV with semicolons",
    "parquet": "Parquet",
    "text": "plain text",
    "gz": "packed by gzip",
    "zst": "packed by zstd",
}


def first_line(head: bytes) -> bytes | None:
    """The first non-empty line, stripped; None while its end is missing."""
    begun = head.removeprefix(_BOM).lstrip()
    line, end, _ = begun.partition(b"\n")
    return line.rstrip() if end else None


def form(head: bytes, columns: Collection[str] = ()) -> str:
    """The format of a file by its beginning: a key of `NAMES`. ``columns`` are names that a header may have."""
    for magic, name in MAGIC.items():
        if head.startswith(magic):
            return name
    line = first_line(head + b"\n") or b""
    if re.match(rb'\{\s*["}]', line):
        return "jsonl"
    begun = head.removeprefix(_BOM).lstrip()
    if (
        re.match(rb'\{\s*"', begun)
        or re.match(rb'\[\s*\{\s*["}]', begun)
        or (line == b"[" and begun[1:].strip()[:1] in b'{"[')
    ):
        return "json"
    text = line.decode("utf-8", "replace")
    for separator, name in _SEPARATORS.items():
        if separator in text and _is_header(text, separator, columns):
            return name
    return "text"


def _is_header(line: str, separator: str, columns: Collection[str]) -> bool:
    try:
        names = [name for name in next(csv.reader([line], delimiter=separator, strict=True)) if name]
    except (csv.Error, StopIteration):
        return False
    if not all(_NAME.fullmatch(name) and name == name.strip() for name in names):
        return False
    return len(names) > 1 and any(name in columns or name.lower() in USUAL_COLUMNS for name in names)


def encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by its byte order mark, or by the offsets of its NUL bytes; None for anything else."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    pairs = len(head) // 2
    if pairs >= 4:
        even, odd = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
        if max(even, odd) > 0.6 * pairs and min(even, odd) < 0.1 * pairs:
            return "UTF-16LE" if odd > even else "UTF-16BE"
    return None


def single_bytes(line: bytes) -> str | None:
    """ISO-8859-1 or WINDOWS-1252 when the bytes of a line that is not UTF-8 are letters and signs there."""
    high = [byte for byte in line if byte >= 0x80]
    if not high or b"\0" in line or any(byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) for byte in high):
        return None
    letters = sum(byte >= 0xC0 for byte in high)
    if letters + sum(byte in b"\x91\x92\x93\x94\x96\x97\x85\xa0\xab\xbb\xbf\xa1" for byte in high) < 0.8 * len(high):
        return None
    return "WINDOWS-1252" if any(byte < 0xA0 for byte in high) else "ISO-8859-1"


def iconv(name: str, path: Path | str) -> str:
    """The command that converts a file to UTF-8."""
    if str(path) in ("-", "stdin"):
        return f"put iconv -f {name} -t UTF-8 in front of it in the pipe"
    return f"iconv -f {name} -t UTF-8 {path} > {Path(path).stem}.utf8{Path(path).suffix}"


def commas(path: Path) -> str:
    """The command that puts commas in the place of the semicolons between columns."""
    script = "import csv,sys; csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, delimiter=';'))"
    return f'python3 -c "{script}" < {path} > {path.stem}.comma.csv'


def other(head: bytes) -> str | None:
    """The type of a file that holds neither text nor rows: tensors, an archive, a picture."""
    if head[5:8] == b"\0\0\0" and head[8:9] == b"{":
        return TENSORS
    if head.startswith(b"PK\x03\x04") and b"word/" in head:
        return WORD
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)


def holds_tensors(path: Path) -> bool:
    """Whether a file is a safetensors file, by its name or by its first bytes."""
    if path.suffix == ".safetensors" or not path.is_file():
        return path.suffix == ".safetensors"
    try:
        with open(path, "rb") as file:
            return other(file.read(16)) == TENSORS
    except OSError:
        return False


def describe(path: Path) -> str:
    """What a file or folder is, in words. What cannot be read is "nothing that can be read"."""
    if path.is_dir():
        return "a directory"
    try:
        with open(path, "rb") as file:
            head = file.read(LOOK)
    except OSError:
        return "nothing that can be read"
    if not head:
        return "an empty file"
    kind = other(head) or (f"{name} text" if (name := encoding(head)) else None)
    if kind is None and form(head) == "text":
        cut = head if len(head) < LOOK else head[:-4]  # a character may continue after what was read
        try:
            cut.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start < len(cut) - 4 or len(head) < LOOK:
                return f"{name} text" if (name := single_bytes(cut)) else "a binary file"
        return "a binary file" if b"\0" in head else NAMES["text"]
    return kind or NAMES[form(head)]
