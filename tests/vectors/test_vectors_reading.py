"""Vectors from token files and of phrases: the same as from the text, and refusals of what cannot be."""

import json

import numpy as np
import pytest

from nlpkit.artifact import file
from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.data import readers
from nlpkit.exchange.tokenizer_opening import tokenizer_of
from nlpkit.stages.tokenizer_train import train as train_tokenizer
from nlpkit.stages.tokens import tokens
from nlpkit.stages.vectors_cooccur import cooccur
from nlpkit.stages.vectors_train import train
from nlpkit.vectors.file import load
from nlpkit.vectors.text import counting, reading

WORDS = ["bread", "butter", "cheese", "flour", "oven", "yeast", "anchor", "harbour", "keel", "mast", "rudder", "sail"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two corpora, a tokenizer of one with an unknown piece, and token files of both. The first has empty lines, and a
    line in which no piece is known."""
    folder = tmp_path_factory.mktemp("reading")
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, 8)) for _ in range(300)]
    (folder / "a.txt").write_text("\n".join([*lines[:150], "", "中 国", "bread 中 butter", *lines[150:200], ""]) + "\n")
    (folder / "b.txt").write_text("\n\n".join(lines[200:]) + "\n")
    train_tokenizer([folder / "b.txt"], folder / "tok.safetensors", kind="wordpiece", vocab_size=60)
    for name in "ab":
        tokens([folder / f"{name}.txt"], folder / f"{name}.safetensors", tokenizer=folder / "tok.safetensors")
    return folder


def same(one, other):
    ours, theirs = file.read(one), file.read(other)
    assert ours.metadata["tensors"] == theirs.metadata["tensors"]
    assert ours.config == theirs.config and ours.tokenizer == theirs.tokenizer
    return ours


@pytest.mark.parametrize("block", [7, 1 << 14])
@pytest.mark.parametrize("names", ["a", "ab"])
@pytest.mark.parametrize("options", [{}, {"phrases": 2, "phrase_threshold": 2.0, "vocab_size": 40}], ids=str)
def test_token_files_give_what_their_text_gives(made, tmp_path, monkeypatch, block, names, options):
    monkeypatch.setattr(reading, "_SENTENCES", block)
    monkeypatch.setattr(counting, "_IDS", block)
    options = {"dim": 4, "epochs": 1, "min_count": 2, "seed": 5, **options}
    train([made / f"{name}.txt" for name in names], tmp_path / "text", tokenizer=made / "tok.safetensors", **options)
    train([made / f"{name}.safetensors" for name in names], tmp_path / "tokens", **options)
    found = same(tmp_path / "text", tmp_path / "tokens")
    assert "[UNK]" not in found.config["words"] and len(found.config["words"]) > 12
    assert any("_" in word for word in found.config["words"]) == ("phrases" in options)
    inputs = [given["name"] for given in file.read(tmp_path / "tokens").provenance["inputs"]]
    assert inputs == [f"{name}.safetensors" for name in names]


@pytest.mark.parametrize("options", [{}, {"phrases": 2, "phrase_threshold": 5.0}], ids=str)
def test_threads_do_not_show(tmp_path, monkeypatch, options):
    """However blocks of a text fall to threads, words and phrases of equal counts have one order."""
    monkeypatch.setattr(readers, "BLOCK", 200)
    rng = np.random.default_rng(3)
    pairs = [f"{one} {other}" for one, other in zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)]
    lines = [f"{pair} x{number} é{number % 97}" for number in range(60) for pair in pairs]
    (tmp_path / "corpus.txt").write_text("\n".join(rng.permutation(lines)) + "\n")
    found = []
    for threads in (1, 2, 2, 5):
        said = []
        with events.listen(lambda record, said=said: said.append(record.get("text", ""))):
            train(
                [tmp_path / "corpus.txt"],
                tmp_path / "vec",
                dim=4,
                epochs=1,
                min_count=2,
                seed=5,
                threads=threads,
                force=True,
                **options,
            )
        found.append(((tmp_path / "vec").read_bytes(), [text for text in said if "phrases" in text]))
    assert all(one == found[0] for one in found)


def test_cooccurrences_are_counted_in_token_files_too(made, tmp_path):
    cooccur([made / "a.txt"], tmp_path / "text", tokenizer=made / "tok.safetensors", phrases=1, phrase_threshold=1.0)
    cooccur([made / "a.safetensors"], tmp_path / "tokens", phrases=1, phrase_threshold=1.0)
    same(tmp_path / "text", tmp_path / "tokens")


def test_a_token_file_is_known_by_its_bytes_and_not_by_its_name(made, tmp_path):
    (tmp_path / "corpus.txt").write_bytes((made / "a.safetensors").read_bytes())
    train([tmp_path / "corpus.txt"], tmp_path / "vec", dim=4, epochs=0)
    assert load(tmp_path / "vec").config["lowercase"] is None


@pytest.mark.parametrize(
    ("corpus", "options", "message"),
    [
        (["a.safetensors"], {"lowercase": False}, "--lowercase changes nothing: the corpus is token files"),
        (["a.safetensors"], {"tokenizer": "tok.safetensors", "field": "body"}, "--tokenizer, --field change nothing"),
        (["a.safetensors"], {"on_error": "skip"}, "--on-error changes nothing"),
        (["a.txt"], {"tokenizer": "tok.safetensors", "lowercase": True}, "--lowercase changes nothing: the tokenizer"),
        (["b.txt", "a.safetensors"], {}, "is a token file, and b.txt is text"),
        (["tok.safetensors"], {}, "is a tokenizer file; expected tokens"),
        (["a.txt"], {"phrase_threshold": 5.0}, "--phrase-threshold changes nothing: no phrases are joined"),
        (["a.txt"], {"phrases": 0}, "phrases is 0, expected at least 1"),
        (["a.txt"], {"phrases": 1, "phrase_threshold": -1.0}, "phrase-threshold is -1.0, expected at least 0"),
    ],
)
def test_what_cannot_be_is_refused(made, tmp_path, corpus, options, message):
    if "tokenizer" in options:
        options = {**options, "tokenizer": made / options["tokenizer"]}
    for stage in (train, cooccur):
        with pytest.raises(UserError, match=message):
            stage([made / name for name in corpus], tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_token_files_of_two_tokenizers_are_refused(made, tmp_path):
    train_tokenizer([made / "a.txt"], tmp_path / "other.safetensors", kind="char", vocab_size=30)
    tokens([made / "a.txt"], tmp_path / "c.safetensors", tokenizer=tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"was made with another tokenizer than a\.safetensors"):
        train([made / "a.safetensors", tmp_path / "c.safetensors"], tmp_path / "vec")


def start(output, corpus, dev, **options):
    """A run that reads these."""
    defaults = {
        "tokenizer": None,
        "lowercase": None,
        "strip_accents": None,
        "format": None,
        "field": "text",
        "on_error": "error",
        "min_count": 1,
        "vocab_size": None,
        "phrases": None,
        "phrase_threshold": None,
    }
    arguments = {**defaults, **options, "output": output, "corpus": corpus, "dev": dev}
    return Run.start("vectors train", arguments, inputs=("corpus", "tokenizer", "dev"))


def words_of(text, names):
    return [[names[word] for word in sentence.tolist()] for sentence in np.split(text.ids, text.offsets[1:-1])]


def test_other_text_has_the_words_and_phrases_of_the_corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text("ice cream\n" * 15 + "ice\ncream\nwater\nnew\n" * 20)
    (tmp_path / "dev.txt").write_text("cream ice cream beer\n\nbeer\nNew ice.\n")
    for phrases, expected in (
        (1, [["cream", "ice_cream"], ["new", "ice"]]),
        (None, [["cream", "ice", "cream"], ["new", "ice"]]),
    ):
        threshold = 1.0 if phrases else None
        run = start(
            tmp_path / "vec",
            [tmp_path / "corpus.txt"],
            [tmp_path / "dev.txt"],
            phrases=phrases,
            phrase_threshold=threshold,
        )
        found = reading.read(run, tokenizer_of(run), threads=2, dry_run=False)
        assert words_of(reading.held_out(run, tokenizer_of(run), found), found.vocabulary.words) == expected
    run = start(tmp_path / "vec", [tmp_path / "corpus.txt"], None)
    assert reading.held_out(run, tokenizer_of(run), found) is None
    assert len(list(tmp_path.iterdir())) == 2


def test_other_tokens_give_what_their_text_gives(made, tmp_path):
    texts = start(
        tmp_path / "vec",
        [made / "b.txt"],
        [made / "a.txt"],
        tokenizer=made / "tok.safetensors",
        phrases=1,
        phrase_threshold=1.0,
    )
    tokens = start(
        tmp_path / "vec", [made / "b.safetensors"], [made / "a.safetensors"], phrases=1, phrase_threshold=1.0
    )
    both = []
    for run in (texts, tokens):
        found = reading.read(run, tokenizer_of(run), threads=2, dry_run=False)
        both.append(words_of(reading.held_out(run, tokenizer_of(run), found), found.vocabulary.words))
    assert both[0] == both[1] and any("_" in word for sentence in both[0] for word in sentence)


def test_other_text_of_another_kind_is_refused(made, tmp_path):
    (tmp_path / "none.txt").write_text("beer\nwine\n")
    train_tokenizer([made / "a.txt"], tmp_path / "other.safetensors", kind="char", vocab_size=30)
    tokens([made / "a.txt"], tmp_path / "c.safetensors", tokenizer=tmp_path / "other.safetensors")
    for corpus, dev, message in (
        (made / "a.txt", made / "b.safetensors", "differs in kind from the corpus"),
        (made / "a.safetensors", made / "b.txt", "differs in kind from the corpus"),
        (made / "a.safetensors", tmp_path / "c.safetensors", "has another tokenizer"),
        (made / "b.txt", tmp_path / "none.txt", "0 of its words are in the vocabulary"),
    ):
        run = start(tmp_path / "vec", [corpus], [dev])
        with pytest.raises(UserError, match=message):
            reading.held_out(run, tokenizer_of(run), reading.read(run, tokenizer_of(run), threads=2, dry_run=False))


def test_phrases_through_the_command_line(tmp_path, capsys):
    rng = np.random.default_rng(1)
    pair = ["new york", "ice cream"]
    lines = [" ".join([*rng.choice(WORDS, 5), pair[number % 2], *rng.choice(WORDS, 5)]) for number in range(400)]
    (tmp_path / "corpus.txt").write_text("\n".join(lines).title())
    base = ["vectors", "train", str(tmp_path / "corpus.txt"), "-o", str(tmp_path / "vec.safetensors"), "--dim", "8"]
    dry = [*base, "--phrases", "1", "--phrase-threshold", "5", "--dry-run", "--json"]
    assert app.run(dry) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["vocab_size"] == 14 and plan["corpus_words"] == 400 * 11 and len(list(tmp_path.iterdir())) == 1
    assert app.run([*base, "--phrases", "1", "--phrase-threshold", "5", "--epochs", "1"]) == 0
    assert "2 pairs of words are phrases: ice_cream, new_york" in capsys.readouterr().err
    assert app.run(["vectors", "nearest", str(tmp_path / "vec.safetensors"), "New_York", "--json"]) == 0
    near = json.loads(capsys.readouterr().out)["nearest"][0]
    assert near["word"] == "New_York" and len(near["words"]) == 10
    config = load(tmp_path / "vec.safetensors").config
    assert config["phrases"] == 1 and config["phrase_threshold"] == 5.0
    train([tmp_path / "corpus.txt"], tmp_path / "plain", dim=8, epochs=0)
    assert "phrases" not in load(tmp_path / "plain").config and "new_york" not in load(tmp_path / "plain").words
