"""nlpkit tokenizer compare: every figure as it is computed by hand."""

from __future__ import annotations

import json
from math import log2
from pathlib import Path
from typing import Any

import pytest

from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.stages.tokenizer_compare import compare
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.char import Character
from nlpkit.tokenizers.word import Word

SPECIAL = {"pad": "[PAD]", "unk": "[UNK]"}
TEXT = "ab ba\nab é ab\n\nzz\n"


def put(folder: Path, name: str, tokenizer: Tokenizer) -> Path:
    path = folder / f"{name}.safetensors"
    file.write(
        path, {}, kind="tokenizer", config={}, tokenizer=tokenizer.to_json(), provenance={}, history={}, determinism={}
    )
    return path


@pytest.fixture
def given(tmp_path: Path) -> tuple[list[Path], Path]:
    text = tmp_path / "dev.txt"
    text.write_text(TEXT, "utf-8")
    word = Word(["[PAD]", "[UNK]", "ab", "ba", "rare"], SPECIAL)
    char = Character(["[PAD]", "[UNK]", "a", "b", "é", " "], SPECIAL)
    return [put(tmp_path, "word", word), put(tmp_path, "char", char)], text


def entropy(*counts: int) -> float:
    return sum(-count * log2(count / sum(counts)) for count in counts)


def test_figures_are_those_computed_by_hand(given: tuple[list[Path], Path]) -> None:
    result = compare(given[0], text=given[1])
    size = 5 + 8 + 0 + 2  # "é" has two bytes
    assert (result["bytes"], result["words"]) == (size, 6)
    word, char = result["tokenizers"]
    # ab ba | ab [UNK] ab | | [UNK]
    assert (word["tokens"], word["vocab_size"], word["kind"]) == (6, 5, "word")
    assert word["fertility"] == 1 and word["bytes_per_token"] == size / 6
    assert word["bits_per_byte"] == pytest.approx(entropy(3, 1, 2) / size)
    assert word["coverage"] == 4 / 6  # é and zz are unknown
    assert word["exact"] == 2 / 4  # the first and the empty line
    # a b _ b a | a b _ é _ a b | | ? ?
    assert char["tokens"] == 5 + 7 + 2 and char["fertility"] == 14 / 6 and char["bytes_per_token"] == size / 14
    assert char["bits_per_byte"] == pytest.approx(entropy(4, 4, 3, 1, 2) / size)
    assert char["coverage"] == 5 / 6 and char["exact"] == 3 / 4
    assert all(row["megabytes_per_second"] > 0 for row in result["tokenizers"])


def test_batches_change_no_figure(given: tuple[list[Path], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def figures() -> list[dict[str, Any]]:
        rows = compare(given[0], text=given[1])["tokenizers"]
        return [{key: value for key, value in row.items() if key != "megabytes_per_second"} for row in rows]

    whole = figures()
    monkeypatch.setattr("nlpkit.stages.tokenizer_compare._BATCH", 1)
    assert figures() == whole


def test_the_table_and_the_object(given: tuple[list[Path], Path], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["tokenizer", "compare", *map(str, given[0]), "--text", str(given[1])]
    assert app.run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{given[1]}: 15 B, 6 words"
    columns = lines[2].split()
    assert columns == [
        "tokenizer",
        "kind",
        "pieces",
        "tokens/word",
        "bytes/token",
        "bits/byte*",
        "coverage",
        "exact",
        "MB/s",
    ]
    assert lines[3].split()[1:8] == ["word", "5", "1.000", "2.50", f"{entropy(3, 1, 2) / 15:.3f}", "66.67%", "50.0%"]
    assert all(len(line) == len(lines[2]) for line in lines[3:5])
    assert "what a tokenizer drops or" in lines[6]
    assert app.run([*arguments, "--json"]) == 0
    first = capsys.readouterr().out
    assert app.run([*arguments, "--json"]) == 0
    assert capsys.readouterr().out == first  # no speed in it, which is never the same
    assert json.loads(first)["tokenizers"][0]["coverage"] == 4 / 6


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_text_without_words_is_an_error(given: tuple[list[Path], Path], text: str) -> None:
    given[1].write_text(text)
    with pytest.raises(UserError, match="holds no words"):
        compare(given[0], text=given[1])


def test_bad_text_and_a_missing_file_are_errors(given: tuple[list[Path], Path]) -> None:
    given[1].write_bytes(b"ok\n\xff\n")
    with pytest.raises(UserError) as caught:
        compare(given[0], text=given[1])
    assert caught.value.where == f"{given[1]}:2"
    with pytest.raises(UserError, match="No such file"):
        compare(given[0], text=given[1].with_name("no"))
