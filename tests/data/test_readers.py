"""Files of text and rows: what is written comes back; what is wrong is said with its place, or skipped and counted."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.data import corpus, forms, labelled, readers
from nlpkit.data.corpus import Document, documents
from nlpkit.data.readers import ROWS, Faults, lines

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readers")


def put(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def notes() -> Iterator[list[str]]:
    said: list[str] = []
    with events.listen(lambda record: said.append(record.get("text", ""))):
        yield said


def lines_of(path: Path, faults: Faults) -> list[tuple[int, str]]:
    with open(path, "rb") as file:
        return list(lines(file, faults))


def rows_of(path: Path) -> list[tuple[int, Any]]:
    faults = Faults(path, "error")
    with forms.reading(path, faults) as (form, file):
        return list(ROWS[form](file, faults))


def sentences(path: Path, **options: Any) -> list[list[str]]:
    return [document.sentences for document in documents([path], **options)]


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_an_empty_line_ends_a_document(tmp_path: Path, packed: str, end: str) -> None:
    text = "\ufeff\n one\r\n\ttwo \n\n \t\n\n三\n" + "last" + end
    path = put(tmp_path, f"a.txt{packed}", PACKED[packed](text.encode()))
    assert sentences(path) == [["one", "two"], ["三", "last"]]


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    odd = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh"
    assert sentences(put(tmp_path, "a.txt", f"{odd}\nb\n")) == [[odd, "b"]]
    assert sentences(put(tmp_path, "a.jsonl", json.dumps({"text": odd}, ensure_ascii=False) + "\n")) == [[odd]]
    assert [line for _, line in lines_of(put(tmp_path, "b.txt", "x\r\r\ny\r"), Faults(Path("b"), "error"))] == [
        "x",
        "y",
    ]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n\t\n"])
def test_what_holds_no_text_is_no_document(tmp_path: Path, content: bytes) -> None:
    assert sentences(put(tmp_path, "a.txt", content)) == []
    with pytest.raises(UserError, match="holds no text"):
        corpus.need_text(0, [tmp_path / "a.txt"])


@given(count=st.integers(0, 30), ends=st.booleans(), part=st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_a_long_document_comes_in_parts_that_are_the_whole(folder: Path, count: int, ends: bool, part: int) -> None:
    long = [f"s{number}" for number in range(count)]
    path = put(folder, "long.txt", "".join(f"{line}\n" for line in long) + ("\nnext\n" if ends else ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "PART", part)
        found = list(documents([path]))
    last = [Document(["next"])] if ends else []
    assert found[len(found) - len(last) :] == last
    parts = found[: len(found) - len(last)]
    assert [line for item in parts for line in item.sentences] == long
    assert [item.ends for item in parts] == [False] * (len(parts) - 1) + [True] * bool(count)
    assert all(item.sentences for item in parts)
    if count * 3 <= part:
        assert len(parts) <= 1


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
LINE = TEXT.map(lambda text: " ".join(text.split())).filter(bool)


@given(st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=4), st.sampled_from(sorted(PACKED)))
@settings(max_examples=100, deadline=None)
def test_documents_come_back(folder: Path, written: list[list[str]], packed: str) -> None:
    plain = "\n\n".join("\n".join(document) for document in written)
    if written and written[0][0].startswith("\ufeff"):
        plain = "\ufeff" + plain
    assert sentences(put(folder, f"a.txt{packed}", PACKED[packed](plain.encode()))) == written
    rows = "".join(json.dumps({"text": "\n".join(document)}) + "\n" for document in written)
    assert sentences(put(folder, f"a.jsonl{packed}", PACKED[packed](rows.encode()))) == written
    names = [f"a.txt{packed}", f"a.jsonl{packed}"]
    both = [document.sentences for document in documents([folder / name for name in names])]
    assert both == written * 2


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.sampled_from(["\r\n", "\n"]))
@settings(max_examples=150, deadline=None)
def test_csv_rows_come_back_with_every_character(folder: Path, rows: list[tuple[str, str]], end: str) -> None:
    target = io.StringIO(newline="")
    csv.writer(target, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    path = put(folder, "a.csv", target.getvalue())
    found = [(row["text"], row["label"]) for _, row in rows_of(path)]
    assert found == rows


@given(st.lists(st.tuples(LINE, LINE), min_size=1, max_size=5), st.sampled_from(["\r\n", "\n"]))
@settings(max_examples=50, deadline=None)
def test_tsv_has_no_quotes(folder: Path, rows: list[tuple[str, str]], end: str) -> None:
    path = put(folder, "a.tsv", "".join("\t".join(row) + end for row in [("text", "label"), *rows]))
    found = [(row["text"], row["label"]) for _, row in rows_of(path)]
    assert found == rows


@given(st.lists(TEXT, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_parquet_rows_come_back(folder: Path, texts: list[str]) -> None:
    path = folder / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "n": list(range(len(texts)))}), path)
    found = rows_of(path)
    assert found == [(number + 1, {"text": text, "n": number}) for number, text in enumerate(texts)]


SUFFIXES = [".txt", ".jsonl", ".csv", ".tsv", ".parquet", ".txt.gz", ".jsonl.zst", ".csv.gz", ".parquet.zst"]


@given(st.binary(max_size=200), st.sampled_from(SUFFIXES), st.sampled_from(["error", "skip"]), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_text_or_an_error(folder: Path, data: bytes, suffix: str, on_error: str, really: bool) -> None:
    packed = "." + suffix.rpartition(".")[2]
    path = put(folder, f"any{suffix}", PACKED[packed](data) if really and packed in PACKED else data)
    for read in (
        lambda: list(documents([path], on_error=on_error)),
        lambda: labelled.read(path, on_error=on_error),
        lambda: list(labelled.stream(path, on_error=on_error)),
    ):
        try:
            read()
        except UserError as error:
            assert error.where


@given(st.lists(st.sampled_from([b"good", b"\xff", b"a\0b", b'{"text": 1}', b'{"text": "\\ud83d"}']), max_size=12))
@settings(max_examples=60, deadline=None)
def test_skipped_lines_are_counted(folder: Path, given_lines: list[bytes]) -> None:
    rows = [b'{"text": "good"}' if line == b"good" else line for line in given_lines]
    path = put(folder, "faults.jsonl", b"\n".join(rows))
    said: list[str] = []
    with events.listen(lambda record: said.append(record["text"])):
        found = sentences(path, on_error="skip")
    bad = [number for number, line in enumerate(given_lines, 1) if line != b"good"]
    assert len(found) == given_lines.count(b"good")
    assert len(said) == bool(bad)
    if bad:
        assert f"skipped {len(bad)} line{'s' * (len(bad) > 1)}, the first at line {bad[0]}:" in said[0]
        with pytest.raises(UserError) as caught:
            sentences(path)
        assert caught.value.where == f"{path}:{bad[0]}"


PARTS = [
    b"a",
    "\u00e9\u4e2d\U0001f600".encode(),
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"\r",
    b" ",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\x85",
    b"\x0b",
]


@given(st.lists(st.sampled_from(PARTS), max_size=30), st.integers(1, 20), st.sampled_from(["error", "skip"]))
@settings(max_examples=300, deadline=None)
def test_lines_read_in_blocks_are_those_read_one_by_one(
    folder: Path, parts: list[bytes], block: int, on_error: str
) -> None:
    path, raw = folder / "blocks.txt", b"".join(parts)

    def outcome(read: Callable[[Faults], list[str]]) -> tuple[Any, ...]:
        faults = Faults(path, on_error)
        try:
            return [text.strip() for text in read(faults)], faults.count, faults.first
        except UserError as error:
            return str(error), error.where

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "BLOCK", block)
        found = outcome(lambda faults: [text for some in readers.blocks(io.BytesIO(raw), faults) for text in some])
    assert found == outcome(lambda faults: [text for _, text in lines(io.BytesIO(raw), faults)])


FAULTS = [
    ("a.txt", b"ok\n\nab\xffcd\nok\n", 3, "is not UTF-8 (byte 0xff at column 3)"),
    ("a.txt", b"ok\nx\0y\n", 2, "holds a NUL byte"),
    ("a.jsonl", b'{"text": "ok"}\n\n{"text": \n{"text": "ok"}\n', 3, "is not JSON: Expecting value"),
    ("a.jsonl", b'{"text": "ok"}\n[1]\n{"text": "ok"}\n', 2, "is a JSON list, expected an object"),
    ("a.jsonl", b'{"text": "ok"}\n' + b"[" * 100_000 + b"\n", 2, "nested too deeply"),
    ("a.jsonl", b'{"text": "ok"}\n{"text": ' + b"1" * 5000 + b"}\n", 2, "a number has too many digits"),
    ("a.jsonl", b'{"text": "ok"}\n{"text": "x", "y": ["\\uDE00"]}\n', 2, "half of a surrogate pair"),
    ("a.jsonl", b'{"text": "ok"}\n{"txt": "x"}\n', 2, 'has no field "text"; did you mean "txt"?'),
    ("a.jsonl", b'{"text": "ok"}\n{"text": null}\n', 2, 'field "text" is null'),
    ("a.jsonl", b'{"text": "ok"}\n{"text": ["x"]}\n', 2, 'field "text" is a list, expected text'),
    ("a.csv", b'text,b\nok,1\nx\n"ok",2\n', 3, "has 1 columns, the first line names 2"),
    ("a.csv", b'text,b\n"o\nk",1\nx\0,2\ny,3\n', 4, "holds a NUL byte"),
    ("a.csv", b'text,b\n"o\nk",1\nx\ny,3\n', 4, "has 1 columns"),
    ("a.csv", b'text,b\nok,1\n"x,2\n', 3, "is malformed: a quote is never closed"),
    ("a.csv", b'text,b\nok,1\n"x"y,2\n', 3, "is malformed: ',' expected after '\"'"),
    ("a.csv", b"text,b\nok,1\nx\ry,2\n", 3, "is malformed: a carriage return in a field without quotes"),
    ("a.tsv", b'text\tb\n"ok\t1\nx\ty\tz\n', 3, "has 3 columns, the first line names 2"),
]


@pytest.mark.parametrize(("name", "content", "line", "says"), FAULTS)
def test_faults_have_their_file_and_line(
    tmp_path: Path, notes: list[str], name: str, content: bytes, line: int, says: str
) -> None:
    path = put(tmp_path, name, content)
    with pytest.raises(UserError) as caught:
        sentences(path)
    assert caught.value.where == f"{path}:{line}" and says in caught.value.what and caught.value.hint
    assert sentences(path, on_error="skip")[0] in (["ok"], ["o", "k"], ['"ok'])
    assert len(notes) == 1 and f"skipped 1 line, the first at line {line}:" in notes[0] and says in notes[0]


def test_the_lines_behind_an_open_quote_are_counted(tmp_path: Path, notes: list[str]) -> None:
    path = put(tmp_path, "a.csv", 'text\nok\n"never\nclosed\nat all\n')
    assert sentences(path, on_error="skip") == [["ok"]]
    assert "skipped 3 lines, the first at line 3" in notes[0]


def test_a_column_named_twice_and_a_wrong_word_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='names the column "text" twice'):
        sentences(put(tmp_path, "a.csv", "text,text\na,b\n"))
    with pytest.raises(UserError, match='did you mean "skip"'):
        sentences(put(tmp_path, "a.txt", "a"), on_error="skp")


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_any_truncation_of_a_packed_file_is_found(tmp_path: Path, packed: str) -> None:
    whole = PACKED[packed](os.urandom(300).hex().encode() + b"\n")
    for length in range(1, len(whole)):
        with pytest.raises(UserError, match=r"is not valid|ends too early"):
            sentences(put(tmp_path, f"a.txt{packed}", whole[:length]))


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_files_may_have_several_parts(tmp_path: Path, packed: str) -> None:
    pack = PACKED[packed]
    path = put(tmp_path, f"a.txt{packed}", pack(b"one\ntw") + pack(b"") + pack(b"o\n" * 3000))
    assert sentences(path) == [["one", "two", *["o"] * 2999]]
    with pytest.raises(UserError, match="is not valid"):
        sentences(put(tmp_path, f"b.txt{packed}", pack(b"one\n") + b"garbage"))


def test_parquet_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["ok", None]}), path)
    with pytest.raises(UserError) as caught:
        sentences(path)
    assert (caught.value.where, caught.value.what) == (f"{path}:2", 'field "text" is null')
    buffers = [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")]
    bad = pyarrow.Array.from_buffers(pyarrow.string(), 1, buffers)
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), path)
    with pytest.raises(UserError, match="not UTF-8"):
        sentences(path)
    for content in (b"", b"PAR1", path.read_bytes()[:-3]):
        with pytest.raises(UserError, match="is not valid Parquet"):
            sentences(put(tmp_path, "b.parquet", content))


@pytest.mark.parametrize("name", ["no.txt", "no.csv.gz", "no.parquet", "no.jsonl.zst"])
def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="No such file"):
        sentences(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        sentences(tmp_path / name)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE", 10)
    assert sentences(put(tmp_path, "a.txt", "x" * 10)) == [["x" * 10]]
    with pytest.raises(UserError, match="is larger than 10 bytes"):
        sentences(put(tmp_path, "a.txt", "ok\n" + "x" * 11))


# Labelled examples.


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_examples_of_every_format_are_the_same(tmp_path: Path, suffix: str) -> None:
    rows = [{"a": "one", "b": "two", "label": "x"}, {"a": "", "b": "é", "label": "y"}]
    path = tmp_path / f"a{suffix}"
    if suffix == ".jsonl":
        put(tmp_path, path.name, "\n".join(map(json.dumps, rows)))
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        put(
            tmp_path,
            path.name,
            "\n".join(
                {".csv": ",", ".tsv": "\t"}[suffix].join(row)
                for row in [rows[0].keys(), *(row.values() for row in rows)]
            ),
        )
    found = labelled.read(path, text="a", pair="b")
    assert (found.texts, found.pairs, found.labels) == (["one", ""], ["two", "é"], ["x", "y"])
    first = {".jsonl": 1, ".parquet": 1}.get(suffix, 2)
    assert found.lines == [first, first + 1] and found.where(1) == f"{path}:{first + 1}" and len(found) == 2
    alone = labelled.read(path, text="a", label=None)
    assert (alone.pairs, alone.labels) == (None, None)


def test_labels_are_text_integers_or_booleans(tmp_path: Path, notes: list[str]) -> None:
    values = ["x", 3, True, False, 0, 2.5, None, ["x"]]
    path = put(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": "t", "label": value}) for value in values))
    with pytest.raises(UserError, match='field "label" is a float, expected text, an integer or a boolean'):
        labelled.read(path)
    found = labelled.read(path, on_error="skip")
    assert found.labels == ["x", "3", "true", "false", "0"]
    assert found.lines == [1, 2, 3, 4, 5]
    assert "skipped 3 lines, the first at line 6" in notes[0]


def test_empty_texts_are_examples_and_said(tmp_path: Path, notes: list[str]) -> None:
    path = put(tmp_path, "a.tsv", "text\tlabel\n\tx\nt\ty\n \tz\n")
    assert labelled.read(path).labels == ["x", "y", "z"]
    assert notes == [f"{path}: 2 of 3 texts are empty"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "text\n", "is plain text, expected rows"),
        ("a.csv", "text,label\n", "holds no examples"),
        ("a.jsonl", "", "holds no examples"),
        ("a.csv", "texts,label\na,b\n", 'has no field "text"; did you mean "texts"'),
        ("a.csv", "text,lable\na,b\n", 'has no field "label"; did you mean "lable"'),
    ],
)
def test_what_is_no_labelled_file_is_said(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        labelled.read(put(tmp_path, name, content))
    assert says in caught.value.what


@pytest.mark.parametrize(
    ("name", "content", "line", "what", "hint"),
    [
        ("a.csv", "sentence,source\na,b\n", 1, 'no fields "text", "label"', "; name them with --text and --label"),
        ("a.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"}\n', 2, 'no field "label"', "; name it with --label"),
        (
            "a.csv",
            "I love it,pos\nI hate it,neg\n",
            1,
            "no fields",
            "is its first line a header? expected column names",
        ),
        ("a.csv", "Satz;Klasse\na;b\n", 1, "no fields", "semicolons between its columns? python3"),
        ("a.csv", "Satz;Klasse\na, b;c\n", 2, "has 2 columns", "semicolons between its columns? python3"),
        ("a.csv", '"so, ""he""";pos\n"a";b\n', 1, "is malformed", "semicolons between its columns? python3"),
        ("a.csv", '"a"b,c\n', 1, "is malformed", "is its first line a header?"),
    ],
)
def test_wrong_columns_are_named_with_what_mends_them(
    tmp_path: Path, name: str, content: str, line: int, what: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        labelled.read(path := put(tmp_path, name, content))
    assert caught.value.where == f"{path}:{line}" and what in caught.value.what
    assert caught.value.hint and hint in caught.value.hint and "--on-error" not in caught.value.hint


def test_a_corpus_and_prompts_name_their_own_option(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "sentence,source\na,b\n")
    with pytest.raises(UserError, match="its fields: sentence, source; name it with --field"):
        sentences(path)
    with pytest.raises(UserError, match="its fields: sentence, source; name it with --text"):
        list(labelled.stream(path, text="prompt"))


class Stdin:
    def __init__(self, buffer: Any) -> None:
        self.buffer = buffer


def test_stdin_is_text_or_rows_by_its_first_line(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(b'\xef\xbb\xbfone\r\n\n{"text": "two"}\nlast')))
    assert [row["text"] for row in labelled.stream(Path("-"))] == ["one", "", '{"text": "two"}', "last"]
    content = b'\n{"text": "two", "id": 7, "x": 1}\n{bad\n\xff\n  {"text": "a\\nb", "b": "c"}'
    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(content)))
    with pytest.raises(UserError) as caught:
        list(labelled.stream(Path("-")))
    assert caught.value.where == "stdin:3"
    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(content)))
    found = list(labelled.stream(Path("-"), on_error="skip"))
    assert found == [{"text": "two", "id": 7}, {"text": "a\nb"}]
    assert (
        notes[-2:] == ["stdin: read as JSONL", notes[-1]] and "stdin: skipped 2 lines, the first at line 3" in notes[-1]
    )
    monkeypatch.setattr("sys.stdin", Stdin(io.BytesIO(b'\n{"text": "a", "b": "c"}\n \n')))
    assert list(labelled.stream(Path("-"), pair="b")) == [{"text": "a", "pair": "c"}]


def test_stdin_is_answered_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    receive, send = os.pipe()
    with open(receive, "rb") as source, open(send, "wb", buffering=0) as target:
        monkeypatch.setattr("sys.stdin", Stdin(source))
        found = labelled.stream(Path("-"))
        for text in ("one", "two"):
            target.write(f"{text}\n".encode())
            assert next(found) == {"text": text}
        target.close()
        assert list(found) == []


def test_a_named_pipe_is_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"one\ntwo\n",))
    writer.start()
    assert sentences(pipe) == [["one", "two"]]
    writer.join()


def test_streamed_files_are_read_by_their_columns(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "id,text\n7,one\n8,\n")
    assert list(labelled.stream(path)) == [{"text": "one", "id": "7"}, {"text": "", "id": "8"}]
    plain = put(tmp_path, "a.txt", 'one\n\n{"text": "two"}\n')
    assert list(labelled.stream(plain)) == [{"text": "one"}, {"text": ""}, {"text": '{"text": "two"}'}]
