"""encode and decode as streams: lines as they come, errors with their place."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.stages.tokenizer_stream import decode, encode, encode_batches
from nlpkit.tokenizers.char import Character

TOKENIZER = Character(["[UNK]", "a", "b", "c", " ", "é"], {"unk": "[UNK]"})


def test_a_file_gives_a_list_for_each_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("ab\n\nc é\r\nb".encode())
    assert list(encode(TOKENIZER, tmp_path / "text")) == [[1, 2], [], [3, 4, 5], [2]]
    assert next(encode(TOKENIZER, str(tmp_path / "text"), pieces=True)) == ["a", "b"]


def test_line_ends_and_a_byte_order_mark_are_no_text_here_and_in_a_token_file(tmp_path: Path) -> None:
    """The same ids, whatever editor saved the file; a line that is empty is answered with an empty one."""
    (tmp_path / "text").write_bytes(b"ab\n\nc\n")
    (tmp_path / "windows").write_bytes(b"\xef\xbb\xbfab\r\n\r\nc\r\n")
    tokenizer = nlpkit.tokenizer_train([tmp_path / "text"], tmp_path / "t.safetensors", kind="char")["output"]
    found = []
    for name in ("text", "windows"):
        ids = list(encode(Path(tokenizer), tmp_path / name))
        nlpkit.tokens([tmp_path / name], tmp_path / f"{name}.safetensors", tokenizer=Path(tokenizer))
        kept = file.read(tmp_path / f"{name}.safetensors")
        assert kept.array("tokens").tolist() == [number for line in ids for number in line]
        assert kept.config["n_documents"] == 2
        found.append(ids)
    assert found[0] == found[1] and [len(line) for line in found[0]] == [2, 0, 1]
    (tmp_path / "ids").write_bytes(b"\xef\xbb\xbf1 2\r\n\r\n")
    assert list(decode(TOKENIZER, tmp_path / "ids")) == ["ab", ""]


def test_an_iterable_is_answered_one_by_one() -> None:
    def texts() -> Iterator[str]:
        yield "a"
        raise AssertionError("asked for more than was wanted")

    assert next(encode(TOKENIZER, texts())) == [1]
    assert list(decode(TOKENIZER, [[1, 2], [0, 5]])) == ["ab", "é"]


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert list(encode(TOKENIZER, tmp_path / "empty")) == list(decode(TOKENIZER, tmp_path / "empty")) == []


def test_bad_utf8_is_an_error_with_its_line_after_the_good_lines(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\nb\nab\xffc\na")
    lines = encode(TOKENIZER, tmp_path / "text")
    assert [next(lines), next(lines)] == [[1], [2]]
    with pytest.raises(UserError, match=r"text:3: is not UTF-8 text: byte 0xff at column 3"):
        next(lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1 two 3", 'expected ids separated by spaces, came "two"'),
        (b"1,2", 'came "1,2"'),
        (b"-1", 'came "-1"'),
        (b"1_0", 'came "1_0"'),
        (b"1 \xff", "came"),
        (b"9" * 5000, "came"),
        (b"6", "id 6 is not in this tokenizer, which has 0 to 5"),
    ],
)
def test_what_is_not_an_id_is_an_error_with_its_line(tmp_path: Path, line: bytes, message: str) -> None:
    (tmp_path / "ids").write_bytes(b"1 2\n" + line + b"\n")
    lines = decode(TOKENIZER, tmp_path / "ids")
    assert next(lines) == "ab"
    with pytest.raises(UserError, match=f"ids:2: .*{message}"):
        next(lines)


def test_ids_from_python_are_checked_too() -> None:
    with pytest.raises(UserError, match="line:2: id -1"):
        list(decode(TOKENIZER, [[1], [-1]]))


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            list(encode(TOKENIZER, path))


def test_lines_longer_than_a_read_are_whole(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"ab" * (1 << 20) + b"\n" + b"c" * (3 << 20))
    assert [len(line) for line in encode(TOKENIZER, tmp_path / "long")] == [2 << 20, 3 << 20]


def test_a_pipe_is_answered_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(os.fdopen(reader, "rb")))
    batches = encode_batches(TOKENIZER, "-")
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        pipe.write(b"a\nb")
        assert next(batches) == [[1]]
        pipe.write(b"c\n")
        assert next(batches) == [[2, 3]]
        threading.Timer(0.05, pipe.close).start()
        assert list(batches) == []
