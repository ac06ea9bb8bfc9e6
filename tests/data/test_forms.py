"""The form of a file is found alike in every command, by name, content or --format; every form has the same rules."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

import nlpkit
from nlpkit.base import contents, events
from nlpkit.base.config import read_toml
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.data import forms, labelled, readers
from nlpkit.data.corpus import documents
from nlpkit.data.texts import Texts
from nlpkit.stages.tokenizer_stream import encode

ROWS = [{"text": "the miller sells bread", "label": "man"}, {"text": "the fox hears the river", "label": "bird"}]
TEXTS = [row["text"] for row in ROWS]


def delimited(rows: list[dict[str, str]], separator: str) -> bytes:
    return "\n".join([separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]).encode() + b"\n"


def parquet(rows: list[dict[str, str]]) -> bytes:
    target = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), target)
    return target.getvalue()


FORMS: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "jsonl": lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows),
    "csv": lambda rows: delimited(rows, ","),
    "tsv": lambda rows: delimited(rows, "\t"),
    "parquet": parquet,
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


class Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def put(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts_of(path: Path, **options: Any) -> list[str]:
    return [document.text for document in documents([path], **options)]


# Every way to read, with a column of its own; what each gives must be the texts of the rows.
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["data", "data.json", "data.txt", "-", "named"])
def test_rows_are_found_by_content_however_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, packed: str, name: str
) -> None:
    content = PACKED[packed](FORMS[form](ROWS))
    path = Path("-") if name == "-" else put(tmp_path / (f"a.{form}{packed}" if name == "named" else name), content)
    said: list[str] = []

    def again() -> None:
        monkeypatch.setattr(sys, "stdin", Stdin(content))

    with events.listen(lambda record: said.append(str(record.get("text")))):
        again()
        assert texts_of(path) == TEXTS
        again()
        assert [row["text"] for row in labelled.stream(path)] == TEXTS
        again()
        assert labelled.read(path).labels == ["man", "bird"]
        again()
        assert len(list(encode(_letters(), path))) == 2
        if name != "-":  # stages put stdin in a file first
            assert (
                b"".join(text for text, _ in Texts([path], "text", "error").lines()).decode().split("\n")[:2] == TEXTS
            )
    found = f"{'stdin' if name == '-' else path}: read as {contents.NAMES[form]}"
    assert all(line == found for line in said) and bool(said) == (name != "named")


def _letters() -> Any:
    from making import tokenizer

    return tokenizer()


@pytest.mark.parametrize("form", FORMS)
def test_commands_read_stdin_by_its_content_and_say_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """Neither keys nor labels become corpus."""
    for command in (["tokenizer", "train"], ["vectors", "train", "--min-count", "1", "--dim", "8", "--epochs", "1"]):
        monkeypatch.setattr(sys, "stdin", Stdin(gzip.compress(FORMS[form](ROWS * 3))))
        kind = ["--kind", "word", "--min-count", "1"] if command[0] == "tokenizer" else []
        assert app.run([*command, "-", "-o", str(tmp_path / "t.safetensors"), "--force", *kind]) == 0
        assert f"stdin: read as {contents.NAMES[form]}" in capsys.readouterr().err
        monkeypatch.setattr(sys, "stdin", Stdin(FORMS[form](ROWS)))
        assert app.run([*command, "-", "-o", str(tmp_path / "u.safetensors"), "--field", "no", *kind]) == 2
        assert 'has no field "no"' in capsys.readouterr().err
    pieces = nlpkit.info(tmp_path / "t.safetensors")["config"].get("words", [])
    assert "label" not in pieces and "man" not in pieces


def test_format_overrides_and_columns_of_plain_text_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.json", FORMS["jsonl"](ROWS))
    assert texts_of(path, format="text")[0].startswith('{"text"')
    assert texts_of(put(tmp_path / "a.txt", b"text;x\n"), format="text") == ["text;x"]
    assert texts_of(put(tmp_path / "one.csv.txt", b"text\nonly\n"), format="csv") == ["only"]
    with pytest.raises(UserError, match='format "josnl" is unknown'):
        texts_of(path, format="josnl")
    plain = put(tmp_path / "b.txt", "one\n")
    for run in (
        lambda: texts_of(plain, field="body"),
        lambda: list(labelled.stream(plain, text="b", named=True)),
        lambda: list(encode(_letters(), plain, field="body")),
        lambda: list(Texts([plain], "body", "error").lines()),
    ):
        with pytest.raises(UserError, match='which has no column "'):
            run()
    assert [
        text
        for path in (plain, put(tmp_path / "c.jsonl", '{"body": "two"}'))
        for text in texts_of(path, field="body" if path != plain else "text")
    ] == ["one", "two"]


@pytest.mark.parametrize(
    "text",
    [
        "Red, white and text\nis no header\n",
        "{\\bf text}\n",
        "{x, y}\n",
        "[1] A note\n",
        '["Hello" she said]\n',
        "a,b\n",
        "text, label\n",
        "One;two\n",
        "text\n",
        "(a) b\n",
        "PARIS\n",
        "\x28b\n",
    ],
)
def test_text_stays_text(tmp_path: Path, text: str) -> None:
    assert forms.form_of(put(tmp_path / "a", text)) == "text"


REFUSED = {
    "UTF-16": ("the quick\n".encode("utf-16"), "is UTF-16 text", "iconv -f UTF-16 -t UTF-8"),
    "UTF-16 without a mark": ("the quick brown\n".encode("utf-16-le"), "is UTF-16LE text", "iconv -f UTF-16LE"),
    "big-endian": ("the quick brown\n".encode("utf-16-be"), "is UTF-16BE text", "iconv -f UTF-16BE"),
    "UTF-32": ("the quick\n".encode("utf-32"), "is UTF-32 text", "iconv -f UTF-32 -t UTF-8"),
    "Latin-1": ("un café à la forêt\n".encode("latin-1"), "is not UTF-8", "iconv -f ISO-8859-1 -t UTF-8"),
    "Windows": ("un café “là”\n".encode("cp1252"), "is not UTF-8", "iconv -f WINDOWS-1252 -t UTF-8"),
    "array": (json.dumps(ROWS).encode(), "is a JSON document", "jq -c '.[]'"),
    "pretty array": (json.dumps(ROWS, indent=1).encode(), "is a JSON document", "jq -c '.[]'"),
    "pretty object": (json.dumps(ROWS[0], indent=1).encode(), "is a JSON document", "jq -c"),
    "semicolons": (delimited(ROWS, ";"), "has semicolons between its columns", "delimiter=';'"),
    "zip": (b"PK\x03\x04rest", "is a zip archive", "unpack"),
    "tensors": (b"\x10\0\0\0\0\0\0\0{}", "is a safetensors file", "nlpkit info"),
}


def test_a_name_does_not_say_the_separator(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", delimited(ROWS, ";"))
    with pytest.raises(UserError, match="has semicolons between its columns") as caught:
        list(documents([path]))
    assert "delimiter=';'" in str(caught.value.hint)
    one = put(tmp_path / "b.csv", b"text\nto be; or not to be\n")  # they are in the text here
    assert [document.sentences for document in documents([one])]


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", ["a", "a.txt", "-"])
def test_what_is_no_text_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, name: str
) -> None:
    content, what, hint = REFUSED[case]
    path = Path("-") if name == "-" else put(tmp_path / name, content)
    for read in (texts_of, lambda path: list(labelled.stream(path)), lambda path: list(encode(_letters(), path))):
        monkeypatch.setattr(sys, "stdin", Stdin(content))
        with pytest.raises(UserError) as caught:
            read(path)
        assert what in caught.value.what, case
        if not (name == "-" and "iconv" in hint):
            assert caught.value.hint and hint in caught.value.hint, caught.value.hint


# One rule each, in every form of table: the row or the file that breaks it -> what is said, where.
def table(form: str, names: list[str], rows: list[list[str]]) -> bytes:
    if form == "jsonl":
        return "".join(
            "{"
            + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in zip(names, row, strict=False))
            + "}\n"
            for row in rows
        ).encode()
    if form == "parquet":
        target = io.BytesIO()
        columns = [pyarrow.array(list(column)) for column in zip(*rows, strict=True)]
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, names=names), target)
        return target.getvalue()
    separator = {"csv": ",", "tsv": "\t"}[form]
    return "".join(separator.join(row) + "\n" for row in [names, *rows]).encode()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("form", FORMS)
def test_every_table_has_the_same_rules(tmp_path: Path, form: str, mark: bytes) -> None:
    mark = b"" if form == "parquet" else mark  # binary: a mark means nothing there
    path = tmp_path / f"a.{form}"

    def read(names: list[str], rows: list[list[str]], **options: Any) -> Any:
        return labelled.read(put(path, mark + table(form, names, rows)), **options)

    with pytest.raises(UserError, match='names the column "text" twice'):
        read(["text", "label", "text"], [["a", "x", "b"]])
    found = read(["", "text", "", "label"], [["0", "a", "9", "x"], ["1", "b", "9", "y"]])  # a column without a name
    assert (found.texts, found.labels) == (["a", "b"], ["x", "y"])
    with pytest.raises(UserError, match="holds a NUL") as caught:
        read(["text", "label"], [["a", "x"], ["b\0", "y"]])
    assert str(caught.value.where).startswith(f"{path}:")
    for empty in ("", " "):
        with pytest.raises(UserError, match='its label, field "label", is empty'):
            read(["text", "label"], [["a", "x"], ["b", empty]])
    assert read(["text", "label"], [["a", "x"], ["b", ""]], on_error="skip").labels == ["x"]
    said: list[str] = []
    with events.listen(lambda record: said.append(record["text"])):
        assert read(["text", "label"], [["a", " x"], ["b", "x"]]).labels == ["x", "x"]
    assert said == [f"{path}: 1 labels have white space around them, which is removed; the first is ' x'"]
    if form != "parquet":
        with pytest.raises(UserError, match=r"has 1 columns|has no field"):
            read(["text", "label"], [["a", "x"], ["b"]])


def test_a_row_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that unpacks to more is refused, and so is text without line ends, with bounded memory."""
    monkeypatch.setattr(readers, "MAX_LINE", 1000)
    long = "x" * 1001
    cases = {
        "a.jsonl.gz": gzip.compress(json.dumps({"text": long}).encode()),
        "a.txt": long.encode(),
        "a.csv": f"text,b\n{long},1\n".encode(),
        "open.csv": b'text,b\n"' + b"x\n" * 600,
        "a.tsv": f"text\tb\n{long}\t1".encode(),
        "a.parquet": parquet([{"text": long}]),
    }
    for name, content in cases.items():
        with pytest.raises(UserError, match="is larger than 1,000 bytes, the limit") as caught:
            texts_of(put(tmp_path / name, content))
        assert caught.value.hint
    monkeypatch.setattr(readers, "MAX_LINE", 1 << 22)
    for read in (lambda: list(encode(_letters(), "/dev/zero")), lambda: list(labelled.stream(Path("/dev/zero")))):
        with pytest.raises(UserError, match="is larger than 4,194,304 bytes"):
            read()


def test_a_device_without_end_is_no_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["tokenizer", "train", "/dev/zero", "-o", str(tmp_path / "t.safetensors")]) == 2
    assert "/dev/zero: is a device, expected a file" in capsys.readouterr().err


def test_a_toml_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert read_toml(put(tmp_path / "a.toml", b"\xef\xbb\xbfseed = 3\n")) == {"seed": 3}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"some text\n", "plain text"),
        (b'{"text": "a"}\n', "JSONL"),
        (b"text,label\na,b\n", "CSV"),
        (gzip.compress(b"a", mtime=0), "packed by gzip"),
        (b"", "an empty file"),
        ("été\n".encode("latin-1"), "ISO-8859-1 text"),
        ("text\n".encode("utf-16"), "UTF-16 text"),
        (b"PAR1...", "Parquet"),
        (b"\x80\x81\x82\0", "a binary file"),
        (b"\x10\0\0\0\0\0\0\0{}", "a safetensors file"),
    ],
)
def test_contents_have_names(tmp_path: Path, content: bytes, what: str) -> None:
    assert contents.describe(put(tmp_path / "a", content)) == what
    assert contents.describe(tmp_path) == "a directory"


@pytest.mark.parametrize(
    ("words", "expected", "maker"),
    [
        (["tokens", "CORPUS", "--tokenizer", "FILE", "-o", "OUT"], "a tokenizer file", "nlpkit tokenizer train"),
        (["tokenizer", "encode", "FILE", "CORPUS"], "a tokenizer file", "nlpkit tokenizer train"),
        (["pretrain", "FILE", "-o", "OUT"], "a tokens file", "nlpkit tokens"),
        (["predict", "FILE", "CORPUS"], "a model file", "nlpkit pretrain"),
        (["vectors", "nearest", "FILE", "word"], "a vectors file", "nlpkit vectors train"),
        (["info", "FILE"], "a file of nlpkit", "nlpkit info"),
    ],
)
@pytest.mark.parametrize(
    ("content", "what"),
    [(b"some text\n", "plain text"), (b'{"text": "a"}\n', "JSONL"), (gzip.compress(b"a", mtime=0), "packed by gzip")],
)
def test_a_file_in_the_wrong_place_is_called_by_its_name(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: str,
    maker: str,
    content: bytes,
    what: str,
) -> None:
    names = {
        "FILE": put(tmp_path / "wrong", content),
        "CORPUS": put(tmp_path / "a.txt", "text\n"),
        "OUT": tmp_path / "out.safetensors",
    }
    assert app.run([str(names.get(word, word)) for word in words]) == 2
    said = capsys.readouterr().err
    assert f"is {what}, expected {expected}" in said and maker in said, said


def test_lines_that_end_with_a_carriage_return_alone_are_no_one_line(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes(b"the miller\rsells bread\rto the fox\r")
    with pytest.raises(UserError, match="carriage return alone") as caught:
        list(documents([path]))
    assert "tr " in str(caught.value.hint)
    path.write_bytes(b"one line with a return\r")
    assert [document.sentences for document in documents([path])] == [["one line with a return"]]


@pytest.mark.parametrize("outer", ["gz", "zst"])
@pytest.mark.parametrize("inner", ["gz", "zst"])
@pytest.mark.parametrize("name", ["c.txt.gz", "c.jsonl", "packed"])
def test_what_is_compressed_twice_is_called_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outer: str,
    inner: str,
    name: str,
) -> None:
    if name.endswith(".gz") and outer == "zst":
        name = "c.txt.zst"
    packers: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}
    packed = packers[outer](packers[inner](b"the king\n" * 9))
    path = put(tmp_path / name, packed)
    says = f"is compressed twice: what it unpacks to is {contents.NAMES[inner]}"
    tool = {"gz": "gzip", "zst": "zstd"}[outer]
    words = ["tokenizer", "train", "--kind", "word", "-o", str(tmp_path / "t")]
    assert app.run([*words, str(path)]) == 2
    said = capsys.readouterr().err
    assert f"error: {path}: {says}\n" in said and f"{tool} -dc < {path} > " in said
    assert app.run(["import", str(path), "-o", str(tmp_path / "v"), "--format", "word2vec"]) == 2
    assert says in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", Stdin(packed))
    assert app.run([*words, "-"]) == 2
    said = capsys.readouterr().err
    assert f"error: stdin: {says}\n" in said and f"put {tool} -dc in front" in said
