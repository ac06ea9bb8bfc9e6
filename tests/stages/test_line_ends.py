"""The text between two lines of a document belongs to the text: line ends are learnt, counted, and given back."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.seeds import Address
from nlpkit.data import texts
from nlpkit.stages import tokens as stage
from nlpkit.tokenizers import from_json
from nlpkit.tokenizers.pipeline import Pipeline

KINDS: dict[str, dict[str, Any]] = {
    "byte-level": {"kind": "bpe", "vocab_size": 270},
    "bpe": {"kind": "bpe", "byte_level": False},
    "wordpiece": {"kind": "wordpiece"},
    "unigram": {"kind": "unigram", "vocab_size": 60},
    "word": {"kind": "word"},
    "char": {"kind": "char"},
}
ENDS = {"byte-level": "\n", "char": "\n"}  # the others say every white space by where words begin
LINES = ["the quick", "brown fox", "the fox and the quick fox", "a brown the"]


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def learnt(folder: Path, name: str, corpus: Path) -> Path:
    path = folder / f"{name}.safetensors"
    nlpkit.tokenizer_train([corpus], path, min_count=None if name == "unigram" else 1, **KINDS[name])
    return path


@pytest.mark.parametrize("name", KINDS)
def test_a_document_of_lines_decodes_to_its_text(tmp_path: Path, name: str) -> None:
    """However lines end, whatever white space is at their ends, and in every format."""
    corpus = put(tmp_path / "a.txt", "\n".join(LINES * 3) + "\n\nthe end\n")
    tok = learnt(tmp_path, name, corpus)
    tokenizer = from_json(file.read(tok).tokenizer or {})
    text = ENDS.get(name, " ").join(LINES)
    forms = {
        "a.txt": "\n".join(LINES) + "\n\nthe end\n",
        "crlf.txt": "\r\n".join(LINES) + "\r\n\r\nthe end",
        "spaces.txt": "  \n \t".join(LINES) + "\n \nthe end\n",
        "a.jsonl": json.dumps({"text": "\n".join(LINES)}) + "\n" + json.dumps({"text": "the end"}) + "\n",
        "empty.jsonl": json.dumps({"text": "\n\n".join(LINES) + "\n"}) + "\n" + json.dumps({"text": "the end"}),
        "a.csv": 'text\n"' + "\r\n".join(LINES) + '"\n"\nthe end"\n',
    }
    hashes = set()
    for form, content in forms.items():
        output = tmp_path / "t.safetensors"
        nlpkit.tokens([put(tmp_path / form, content)], output, tokenizer=tok, force=True)
        found = file.read(output)
        ids, ends, last = (found.array(part) for part in ("tokens", "sentence_ends", "document_ends"))
        first = int(ends[last[0] - 1])
        assert tokenizer.decode(ids[:first].tolist()) == text
        assert tokenizer.decode(ids[first:].tolist()) == "the end"
        assert ids[:first].tolist() == tokenizer.encode("\n".join(LINES)).tolist()
        # A line end belongs to the sentence it ends: the next begins with its first word.
        starts = [0, *ends[:-1].tolist()]
        begins = [tokenizer.decode(ids[start:][:20].tolist()).split()[0] for start in starts]
        assert begins == [line.split()[0] for line in [*LINES, "the end"]]
        assert found.config["n_bytes"] == len("\n".join(LINES)) + len("the end")
        hashes.add(json.dumps(found.metadata["tensors"]))
    assert len(hashes) == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_how_a_text_is_read_changes_no_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    """Blocks and parts that end within a document, several threads, empty lines at every border."""
    rng = Address(0, ("ends",)).generator()
    corpus = put(
        tmp_path / "a.txt",
        "".join(LINES[int(rng.integers(4))] + "\n" * int(rng.choice([1, 1, 1, 2, 3])) for _ in range(300)),
    )
    other = put(tmp_path / "b.txt", "brown\nfox")
    tok = learnt(tmp_path, "byte-level", corpus)
    whole = nlpkit.tokens([corpus, other], tmp_path / "whole.safetensors", tokenizer=tok, threads=1)
    tokenizer = from_json(file.read(tok).tokenizer or {})
    blocks = [part.strip("\n") for part in corpus.read_text().split("\n\n")] + ["brown\nfox"]
    expected = [number for block in blocks if block for number in tokenizer.encode(block).tolist()]
    assert file.read(tmp_path / "whole.safetensors").array("tokens").tolist() == expected
    monkeypatch.setattr(texts, "BATCH", 40)
    monkeypatch.setattr("nlpkit.data.corpus.PART", 25)
    if compiled:
        monkeypatch.setattr(stage, "LOAD", 0)
        monkeypatch.setattr(stage, "COMPILE", 0)
    for size in (1, 30, 100):
        monkeypatch.setattr("nlpkit.data.readers.BLOCK", size)
        again = nlpkit.tokens(
            [corpus, other], tmp_path / "t.safetensors", tokenizer=tok, threads=2 if compiled else 1, force=True
        )
        assert again["sha256"] == whole["sha256"]


def test_without_a_piece_for_line_ends_a_space_is_said(tmp_path: Path) -> None:
    tok = learnt(tmp_path, "char", put(tmp_path / "one.txt", "the quick brown fox\n"))
    nlpkit.tokens([put(tmp_path / "a.txt", "the quick\nbrown fox")], tmp_path / "t.safetensors", tokenizer=tok)
    found = file.read(tmp_path / "t.safetensors")
    assert from_json(found.tokenizer or {}).decode(found.array("tokens").tolist()) == "the quick brown fox"
    tok = learnt(tmp_path, "word", put(tmp_path / "two.txt", "thequick\n"))  # nor a space: nothing is between
    assert not len(from_json(file.read(tok).tokenizer or {}).line_end)


@pytest.mark.parametrize("name", KINDS)
def test_vectors_of_text_and_of_its_token_file_are_the_same(tmp_path: Path, name: str) -> None:
    corpus = put(tmp_path / "a.txt", "\n".join(LINES * 20) + "\n")
    tok = learnt(tmp_path, name, corpus)
    nlpkit.tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok)
    options: dict[str, Any] = {"dim": 8, "epochs": 1, "min_count": 1}
    nlpkit.vectors_train([corpus], tmp_path / "a.safetensors", tokenizer=tok, **options)
    nlpkit.vectors_train([tmp_path / "t.safetensors"], tmp_path / "b.safetensors", **options)
    one, two = (file.read(tmp_path / f"{letter}.safetensors") for letter in "ab")
    assert one.metadata["tensors"] == two.metadata["tensors"] and "Ċ" not in one.config["words"]


def test_a_piece_that_crosses_a_line_end_is_the_librarys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a tokenizer that the library runs, a document is encoded as a whole; a piece is its sentence's where it
    begins."""
    library = pytest.importorskip("tokenizers")
    letters = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: number for number, piece in enumerate([*letters, ".Ċ"])}
    made = library.Tokenizer(library.models.BPE(vocabulary, [(".", "Ċ")]))
    split = library.pre_tokenizers.Split(library.Regex(r"[^\s]+[\r\n]*|\s+"), "isolated")
    made.pre_tokenizer = library.pre_tokenizers.Sequence(
        [split, library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = library.decoders.ByteLevel()
    tokenizer = Pipeline(made.to_str(), {})
    tok = tmp_path / "tok.safetensors"
    file.write(
        tok, {}, kind="tokenizer", config={}, tokenizer=tokenizer.to_json(), provenance={}, history={}, determinism={}
    )
    corpus = put(tmp_path / "a.txt", "a fox.\nit ran é.\nhome\n\nthe end.\nno")
    for part in (1 << 20, 8):
        monkeypatch.setattr("nlpkit.data.corpus.PART", part)
        nlpkit.tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok, force=True)
        found = file.read(tmp_path / "t.safetensors")
        ids, ends = found.array("tokens").tolist(), found.array("sentence_ends").tolist()
        assert ids == made.encode("a fox.\nit ran é.\nhome").ids + made.encode("the end.\nno").ids
        parts = [tokenizer.decode(ids[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
        assert parts == ["a fox.\n", "it ran é.\n", "home", "the end.\n", "no"]
        assert found.config["n_bytes"] == len("a fox.\nit ran é.\nhome".encode()) + len("the end.\nno")


def test_wrapped_text_is_as_likely_as_whole_lines(tmp_path: Path) -> None:
    """A causal model that learnt text in lines of both kinds finds a text in short lines about as likely, by the byte,
    and writes line ends itself."""
    words = ["the miller", "carries", "bread", "to the", "old heron", "and the fox", "sees", "a bell", "again"]
    rng = Address(1, ("wrapped",)).generator()

    def document() -> str:
        start = int(rng.integers(9))
        return " ".join(words[(start + number) % 9] for number in range(25))

    documents = [document() for _ in range(160)]
    corpus = put(
        tmp_path / "a.txt",
        "\n\n".join(textwrap.fill(text, 30 if number % 2 else 1000) for number, text in enumerate(documents)),
    )
    tok = learnt(tmp_path, "byte-level", corpus)
    nlpkit.tokens([corpus], tmp_path / "t.safetensors", tokenizer=tok)
    nlpkit.pretrain(
        [tmp_path / "t.safetensors"],
        tmp_path / "m.safetensors",
        model="gpt2",
        n_layers=2,
        d_model=64,
        embeddings="random",
        steps=120,
        batch_tokens=1024,
        threads=1,
        max_len=64,
        lr=3e-3,
        dropout=0.0,
        seed=0,
    )
    held = [document() for _ in range(12)]
    found = {}
    for width in (30, 1000):
        data = put(tmp_path / f"{width}.txt", "\n\n".join(textwrap.fill(text, width) for text in held))
        result = nlpkit.evaluate(tmp_path / "m.safetensors", data, resamples=1)
        assert result["data"]["bytes"] == sum(map(len, held))
        found[width] = result["metrics"]["bits_per_byte"]["value"]
    assert found[1000] < 0.3 and found[30] < found[1000] + 0.25, found  # where lines end is drawn by nothing it sees
    options = {"prompt": "the miller carries\nbread to the old", "max_new_tokens": 80}
    # Drawn, since no single position is more likely than not to end a line.
    drawn = list(nlpkit.generate(tmp_path / "m.safetensors", samples=8, seed=1, **options))
    assert sum("\n" in record["text"] for record in drawn) >= 5
    written = next(iter(nlpkit.generate(tmp_path / "m.safetensors", temperature=0.0, **options)))
    assert np.mean([word in " ".join(words).split() for word in written["text"].split()[:-1]]) > 0.8
