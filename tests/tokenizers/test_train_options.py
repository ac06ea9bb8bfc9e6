"""No option of the trainers is silently ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.stages.tokenizer_train import TRAINERS
from nlpkit.tokenizers import from_json

# Option -> another value than its default, and the kinds that read it.
READ: dict[str, tuple[Any, set[str]]] = {
    "min_count": (4, {"bpe", "wordpiece", "word", "char"}),
    "byte_level": (False, {"bpe"}),
    "score": ("frequency", {"wordpiece"}),
    "strip_accents": (True, {"wordpiece", "word", "unigram", "char", "bpe"}),
    "lowercase": (None, {"wordpiece", "word", "unigram", "char", "bpe"}),
}
TEXT = "The King goes out. the king of France goes home; the Queen of France sings, the queen goes home, café\n" * 3


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT + "A cat. a cat\n")
    return path


@pytest.mark.parametrize("kind", TRAINERS)
@pytest.mark.parametrize("option", READ)
def test_an_option_changes_the_bytes_or_is_refused(corpus: Path, tmp_path: Path, kind: str, option: str) -> None:
    value, kinds = READ[option]
    base: dict[str, Any] = {"kind": kind, "vocab_size": 290}
    if option in ("lowercase", "strip_accents"):
        value = value or kind not in ("wordpiece", "word")
        if kind == "bpe":
            base["byte_level"] = False
    plain = nlpkit.tokenizer_train([corpus], tmp_path / "plain.safetensors", **base)
    if kind in kinds:
        other = nlpkit.tokenizer_train([corpus], tmp_path / "other.safetensors", **{**base, option: value})
        assert nlpkit.diff(plain["output"], other["output"])["metadata"].keys() > {f"provenance.options.{option}"}
    else:
        with pytest.raises(UserError, match=f"changes nothing: kind {kind} does not read it"):
            nlpkit.tokenizer_train([corpus], tmp_path / "other.safetensors", **{**base, option: value})
        assert not (tmp_path / "other.safetensors").exists()


def test_the_command_line_says_it(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tokenizer", "train", str(corpus), "-o", str(tmp_path / "t.safetensors"), "--kind", "bpe"]
    assert app.run([*words, "--score", "ratio"]) == 2
    assert capsys.readouterr().err.startswith("error: --score changes nothing: kind bpe does not read it")
    assert app.run([*words, "--kind", "wordpiece", "--score", "raito"]) == 2
    assert 'did you mean "ratio"' in capsys.readouterr().err


@pytest.mark.parametrize("kind", TRAINERS)
def test_small_letters_do_no_damage_to_any_script(tmp_path: Path, kind: str) -> None:
    """Lower-casing keeps accents and vowel signs, unless they are asked to go."""
    lines = ["Le Café près de la forêt .", "Il a pêché , elle a péché .", "अपने घर में फूल हैं", "मेरी किताब"]
    corpus = tmp_path / "a.txt"
    corpus.write_text("\n\n".join(lines) + "\n", "utf-8")
    options: dict[str, Any] = {"kind": kind, "vocab_size": 400, "lowercase": True}
    if kind == "bpe":
        options["byte_level"] = False
    if kind != "unigram":
        options["min_count"] = 1
    for strip, expected in ((False, lines), (True, ["le cafe pres de la foret ."])):
        path = tmp_path / f"{strip}.safetensors"
        nlpkit.tokenizer_train([corpus], path, strip_accents=strip, **options)
        tokenizer = from_json(file.read(path).tokenizer or {})
        for line in expected:
            assert tokenizer.decode(tokenizer.encode(line).tolist()) == line.lower()
        assert (tokenizer.encode("pêché").tolist() == tokenizer.encode("péché").tolist()) == strip
    with pytest.raises(UserError, match="--strip-accents needs --no-byte-level"):
        nlpkit.tokenizer_train([corpus], tmp_path / "b.safetensors", kind="bpe", strip_accents=True)
