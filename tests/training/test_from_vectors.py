"""Token embeddings that begin as word vectors: which rows, that they are equal, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from making import token_file, tokenizer, vector_file

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.models import FAMILIES
from nlpkit.tokenizers import from_json
from nlpkit.tokenizers import load as load_tokenizer
from nlpkit.training.adapt.vectors import TABLE, matches
from nlpkit.vectors import pieces
from nlpkit.vectors.file import load
from nlpkit.vectors.text.reading import TokenSource

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTH = 16
SMALL: dict[str, Any] = {
    "n_layers": 1,
    "d_model": WIDTH,
    "n_heads": 2,
    "max_len": 32,
    "batch_tokens": 256,
    "threads": 1,
}
TEXT = "the cats sat there\na Café was open at night\nthey sat at the café\nnight and day\n" * 20
WORDS = ["the", "sat", "café", "night", "zebra", "t"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("from-vectors")
    token_file(made / "tokens.safetensors")
    rng = np.random.default_rng(0)
    vector_file(made / "vec.safetensors", ["zebra", "t", "a", "[MASK]"], rng.normal(size=(4, WIDTH)), lowercase=True)
    vector_file(made / "wide.safetensors", ["t"], rng.normal(size=(1, WIDTH + 1)))
    vector_file(made / "other.safetensors", ["zebra"], rng.normal(size=(1, WIDTH)))
    return made


def table(path: Path) -> np.ndarray:
    return file.read(path).array(TABLE)


@pytest.mark.parametrize("model", FAMILIES)
def test_rows_are_the_vectors_and_the_others_are_untouched(folder: Path, tmp_path: Path, model: str) -> None:
    """In every family; before the first step nothing else of the model is another than without vectors."""
    asked = {**SMALL, "model": model, "steps": 0}
    for name, more in (("plain", {}), ("begun", {"vectors": folder / "vec.safetensors"})):
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / f"{name}.safetensors", **asked, **more)
    plain, begun = file.read(tmp_path / "plain.safetensors"), file.read(tmp_path / "begun.safetensors")
    vectors, ids = load(folder / "vec.safetensors").vectors, tokenizer().ids
    rows = [ids["t"], ids["a"]]
    np.testing.assert_array_equal(begun.array(TABLE)[rows], vectors[1:3])
    rest = np.setdiff1d(np.arange(len(begun.array(TABLE))), rows)
    np.testing.assert_array_equal(begun.array(TABLE)[rest], plain.array(TABLE)[rest])
    assert (plain.array(TABLE)[rows] != vectors[1:3]).all()
    for name in set(plain.tensors) - {TABLE}:
        np.testing.assert_array_equal(begun.array(name), plain.array(name))


def test_narrower_vectors_are_the_first_columns(folder: Path, tmp_path: Path) -> None:
    begun, plain = tmp_path / "begun.safetensors", tmp_path / "plain.safetensors"
    wider = {**SMALL, "d_model": WIDTH + 8, "steps": 0}
    nlpkit.pretrain([folder / "tokens.safetensors"], plain, **wider)
    nlpkit.pretrain([folder / "tokens.safetensors"], begun, vectors=folder / "vec.safetensors", **wider)
    row = tokenizer().ids["t"]
    np.testing.assert_array_equal(table(begun)[row, :WIDTH], load(folder / "vec.safetensors").vectors[1])
    np.testing.assert_array_equal(table(begun)[row, WIDTH:], table(plain)[row, WIDTH:])


def test_it_is_an_input_and_is_verified(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line, after steps of training; the note says how many pieces there were."""
    target = tmp_path / "begun.safetensors"
    words = ["--n-layers", "1", "--d-model", str(WIDTH), "--n-heads", "2", "--max-len", "32", "--steps", "3"]
    command = ["pretrain", str(folder / "tokens.safetensors"), "-o", str(target), *words]
    assert run([*command, "--vectors", str(folder / "vec.safetensors")]) == 0
    assert f"2 of {tokenizer().vocab_size} pieces begin with a vector of vec.safetensors" in capsys.readouterr().err
    inputs = {given["role"]: given["sha256"] for given in file.read(target).provenance["inputs"]}
    assert inputs["vectors"] == file.file_sha256(folder / "vec.safetensors")
    assert "vectors" not in file.read(target).provenance["options"]
    assert nlpkit.verify(target, inputs=folder)["proven"]
    nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "plain.safetensors", steps=3, **SMALL)
    assert (table(tmp_path / "plain.safetensors") != table(target)).any()


@pytest.mark.parametrize("kind", ["word", "wordpiece", "unigram", "bpe", "char"])
def test_a_words_vector_goes_to_the_piece_that_is_the_word(tmp_path: Path, kind: str) -> None:
    """Whatever the pieces look like (▁the, Ġthe): a text of that word alone is that piece alone."""
    (tmp_path / "text.txt").write_text(TEXT)
    sizes = {"wordpiece": 60, "unigram": 60, "bpe": 300}
    asked = {"vocab_size": sizes[kind]} if kind in sizes else {}
    nlpkit.tokenizer_train([tmp_path / "text.txt"], tmp_path / "tok.safetensors", kind=kind, **asked)
    made = load_tokenizer(tmp_path / "tok.safetensors")
    rng = np.random.default_rng(0)
    vectors = load(vector_file(tmp_path / "v.safetensors", WORDS, rng.normal(size=(len(WORDS), 4))))
    pieces, rows = matches(made, vectors)
    whole = {
        made.decode([piece]).strip(): WORDS[row] for piece, row in zip(pieces.tolist(), rows.tolist(), strict=True)
    }
    assert all(text == word or text == "cafe" for text, word in whole.items())
    expected = {"word": {"the", "sat", "café", "night"}, "char": {"t"}}.get(kind, {"the", "sat"})
    assert expected - {"café"} <= set(whole.values()) and "zebra" not in whole.values()
    unknown = {made.ids[piece] for piece in made.special.values()}
    assert not unknown & set(pieces.tolist())
    if kind == "bpe":  # at the beginning of a text, and behind a space
        assert {made.pieces[piece] for piece in pieces} >= {"the", "Ġthe"}


def test_the_first_of_several_words_that_are_one_piece_counts(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    nlpkit.tokenizer_train([tmp_path / "text.txt"], tmp_path / "tok.safetensors", kind="wordpiece", vocab_size=60)
    made = load_tokenizer(tmp_path / "tok.safetensors")
    vectors = load(vector_file(tmp_path / "v.safetensors", ["The", "the", "THE"], np.eye(3)))
    pieces, rows = matches(made, vectors)
    assert (pieces.tolist(), rows.tolist()) == ([made.ids["the"]], [0])


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "bpe"])
def test_vectors_of_pieces_match_all_of_theirs(tmp_path: Path, kind: str) -> None:
    """`vectors train --tokenizer`: every piece that occurs, inside words too."""
    (tmp_path / "text.txt").write_text(TEXT)
    size = 300 if kind == "bpe" else 60
    tok = tmp_path / "tok.safetensors"
    nlpkit.tokenizer_train([tmp_path / "text.txt"], tok, kind=kind, vocab_size=size)
    nlpkit.tokens([tmp_path / "text.txt"], tmp_path / "tokens.safetensors", tokenizer=tok)
    nlpkit.vectors_train(
        [tmp_path / "text.txt"], tmp_path / "vec.safetensors", tokenizer=tok, dim=WIDTH, epochs=1, min_count=1
    )
    nlpkit.pretrain(
        [tmp_path / "tokens.safetensors"],
        tmp_path / "m.safetensors",
        steps=0,
        **SMALL,
        vectors=tmp_path / "vec.safetensors",
    )
    vectors, made = load(tmp_path / "vec.safetensors"), from_json(file.read(tmp_path / "tokens.safetensors").tokenizer)
    rows = [made.ids[word] for word in vectors.words]
    assert len(rows) > 10
    np.testing.assert_array_equal(table(tmp_path / "m.safetensors")[rows], vectors.vectors)


@pytest.mark.parametrize(
    ("vectors", "more", "message", "hint"),
    [
        ("wide", {}, "vectors of width 17, and the model's embeddings have 16", "--d-model 17"),
        ("other", {}, "none of its 1 words is one of the", "vectors train --tokenizer"),
        ("tokens", {}, "is a tokens file; expected vectors", ""),
        ("vec", {"init": True}, "--vectors changes nothing: --init has embeddings of its own", ""),
    ],
)
def test_what_cannot_be_used_is_refused(
    folder: Path, tmp_path: Path, vectors: str, more: dict[str, Any], message: str, hint: str
) -> None:
    asked = dict(SMALL)
    if more:
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "first.safetensors", steps=0, **SMALL)
        asked = {"init": tmp_path / "first.safetensors"}
    target = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match=message) as caught:
        nlpkit.pretrain(
            [folder / "tokens.safetensors"], target, steps=1, **asked, vectors=folder / f"{vectors}.safetensors"
        )
    assert hint in (caught.value.hint or "")
    assert not target.exists()


def test_vectors_of_its_own_text(folder: Path, tmp_path: Path) -> None:
    """The frequent pieces alone begin otherwise, with the same bytes on any number of threads, whether
    the run is told or chooses, in every objective's family."""
    tokens = [folder / "tokens.safetensors"]

    def begun(name: str, **more: Any) -> file.Artifact:
        nlpkit.pretrain(tokens, tmp_path / f"{name}.safetensors", **{**SMALL, "steps": 0, **more})
        return file.read(tmp_path / f"{name}.safetensors")

    plain = begun("plain", embeddings="random")
    own = {threads: begun(f"own{threads}", embeddings="word2vec", threads=threads) for threads in (1, 3)}
    assert own[1].sha256 == own[3].sha256
    changed = {name for name in plain.tensors if (plain.array(name) != own[1].array(name)).any()}
    assert changed == {TABLE}
    counts = np.bincount(file.read(tokens[0]).array("tokens"), minlength=len(plain.array(TABLE)))
    frequent = counts >= pieces.MIN_COUNT
    np.testing.assert_array_equal((plain.array(TABLE) != own[1].array(TABLE)).any(axis=1), frequent)
    nlpkit.vectors_train(tokens, tmp_path / "v.safetensors", dim=WIDTH, epochs=pieces.MOST_EPOCHS)
    rows = load(tmp_path / "v.safetensors")
    ids = [tokenizer().ids[word] for word in rows.words]
    norms = [np.linalg.norm(table, axis=1).mean() for table in (own[1].array(TABLE)[ids], rows.vectors)]
    assert norms[0] == pytest.approx(norms[1], rel=0.2)  # not scaled; another seed's numbers
    assert begun("chosen").sha256 == plain.sha256  # a short text


def test_a_plan_has_the_seconds_of_own_vectors(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As many times those of the beginning as the run reads more words; only where vectors are learnt."""
    ticks = itertools.count()
    monkeypatch.setattr(pieces, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    files = TokenFiles.open([folder / "tokens.safetensors"])
    ordinary = sum(len(ids) for ids, _ in TokenSource(files).blocks())
    one_epoch = files.n_tokens / ordinary  # a second, of which the beginning is all
    assert pieces.seconds(files, WIDTH) == pytest.approx(one_epoch * pieces.MOST_EPOCHS, rel=0.01)

    monkeypatch.setattr(pieces, "seconds", lambda *_: 1e6)

    def planned(how: str) -> float:
        options = {**SMALL, "tokens": [folder / "tokens.safetensors"], "steps": 1, "embeddings": how}
        return float(nlpkit.plan("pretrain", options)["seconds"])

    assert planned("random") < 1e6 <= planned("word2vec")


def test_what_own_vectors_refuse(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", **SMALL, steps=0)
    base = ["pretrain", folder / "tokens.safetensors", "-o", tmp_path / "x.safetensors"]
    for more, said in (
        (["--embeddings", "glove"], 'embeddings "glove" is unknown'),
        (["--embeddings", "random", "--vectors", folder / "vec.safetensors"], "--embeddings changes nothing"),
        (["--embeddings", "word2vec", "--init", tmp_path / "m.safetensors"], "--embeddings changes nothing"),
    ):
        assert run([str(part) for part in [*base, *more]]) == 2
        assert said in capsys.readouterr().err
