"""vectors train --engine gensim: gensim's own numbers, the same bytes in any process, and what it lacks is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.vectors.file import load

pytestmark = pytest.mark.oracle
SMALL = {"engine": "gensim", "dim": 12, "epochs": 3, "min_count": 1, "negative": 4, "window": 3, "seed": 5}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in range(60)]
    lines = [" ".join(rng.choice(words, rng.integers(2, 12), p=rng.dirichlet([0.3] * 60))) for _ in range(400)]
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def order(corpus):
    """The words, most frequent first, equals by their code points; and the sentences."""
    sentences = [line.split() for line in corpus.read_text().splitlines()]
    counts: dict[str, int] = {}
    for sentence in sentences:
        for word in sentence:
            counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))), sentences


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
@pytest.mark.parametrize("loss", ["ns", "hs"])
def test_the_numbers_are_those_of_gensim_called_by_hand(corpus, tmp_path, method, loss):
    from gensim.models import Word2Vec

    given = {**SMALL, "method": method, "loss": loss, "negative": None if loss == "hs" else 4}
    nlpkit.vectors_train([corpus], tmp_path / "v.safetensors", **given, sample=1e-2, lr=0.05)
    counts, sentences = order(corpus)
    model = Word2Vec(
        vector_size=12,
        window=3,
        alpha=0.05,
        sg=int(method == "skipgram"),
        hs=int(loss == "hs"),
        seed=5,
        epochs=3,
        negative=0 if loss == "hs" else 4,
        sample=1e-2,
        min_count=1,
        workers=1,
        sorted_vocab=0,
    )
    model.build_vocab_from_freq(counts, corpus_count=len(sentences))
    model.train(sentences, total_examples=len(sentences), epochs=3)
    found = load(tmp_path / "v.safetensors")
    assert found.words == model.wv.index_to_key
    np.testing.assert_array_equal(found.vectors, model.wv.vectors)


def test_with_subwords_it_is_gensims_fasttext(corpus, tmp_path):
    from gensim.models import FastText

    nlpkit.vectors_train([corpus], tmp_path / "v.safetensors", **SMALL, subwords="2-3", buckets=97)
    counts, sentences = order(corpus)
    model = FastText(
        vector_size=12,
        window=3,
        sg=1,
        negative=4,
        seed=5,
        epochs=3,
        min_count=1,
        workers=1,
        min_n=2,
        max_n=3,
        bucket=97,
        sorted_vocab=0,
    )
    model.build_vocab_from_freq(counts, corpus_count=len(sentences))
    model.train(sentences, total_examples=len(sentences), epochs=3)
    found = load(tmp_path / "v.safetensors").with_oov(["w999"])
    np.testing.assert_array_equal(found.vectors[:60], model.wv.vectors)
    np.testing.assert_allclose(found.vectors[found.row("w999")], model.wv.get_vector("w999"), atol=1e-6)


@pytest.mark.slow
def test_the_same_bytes_in_any_process_and_by_verify(corpus, tmp_path):
    digests = set()
    for seed in ("1", "77"):
        target = tmp_path / f"{seed}.safetensors"
        words = [
            "vectors",
            "train",
            str(corpus),
            "-o",
            str(target),
            *"--engine gensim --min-count 1 --dim 8 --epochs 2 --method cbow".split(),
        ]
        code = f"from nlpkit.cli.app import main; main({words!r})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        )
        assert "starts over" in done.stderr and "job" not in done.stderr
        digests.add(target.read_bytes())
    assert len(digests) == 1
    provenance = file.read(tmp_path / "1.safetensors").provenance
    import gensim

    assert provenance["versions"]["gensim"] == gensim.__version__ and provenance["options"]["engine"] == "gensim"
    assert app.run(["verify", str(tmp_path / "1.safetensors"), "--inputs", str(corpus.parent), "--threads", "2"]) == 0


def test_its_loss_falls_and_is_measured_as_ours(corpus, tmp_path, capsys):
    for loss in ("ns", "hs"):
        result = nlpkit.vectors_train(
            [corpus], tmp_path / f"{loss}.safetensors", **{**SMALL, "negative": None}, loss=loss, dev=corpus
        )
        before = nlpkit.vectors_train(
            [corpus],
            tmp_path / f"{loss}-0.safetensors",
            **{**SMALL, "engine": "nlpkit", "negative": None, "epochs": 1},
            loss=loss,
            lr=1e-6,
            dev=corpus,
        )
        assert result["loss"] < before["loss"]


def test_a_long_sentence_is_cut_and_not_dropped(tmp_path):
    """gensim forgets what is behind 10,000 words of a sentence; here it is learnt too."""
    (tmp_path / "long.txt").write_text("a b " * 6000 + "c d " * 3000)
    nlpkit.vectors_train([tmp_path / "long.txt"], tmp_path / "v.safetensors", **{**SMALL, "sample": 0, "lr": 0.5})
    nlpkit.vectors_train([tmp_path / "long.txt"], tmp_path / "0.safetensors", **{**SMALL, "epochs": 0})
    learnt, first = load(tmp_path / "v.safetensors"), load(tmp_path / "0.safetensors")
    assert all((learnt.vectors[learnt.row(word)] != first.vectors[first.row(word)]).any() for word in "abcd")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": "nce"}, "no loss nce"),
        ({"method": "cbow", "divide": True}, "divide"),
        ({"method": "cbow", "average": False}, "another method"),
        ({"patience": 2, "dev": True}, "patience"),
        ({"save_every": 1}, "starts over"),
        ({"seed": 2**32}, "at most"),
        ({"engine": "gensin"}, 'did you mean "gensim"'),
    ],
)
def test_what_gensim_does_not_have_is_refused(corpus, tmp_path, options, says):
    given = {**SMALL, **options} | ({"dev": corpus} if options.get("dev") else {})
    with pytest.raises(UserError, match=says):
        nlpkit.vectors_train([corpus], tmp_path / "v.safetensors", **given)
    assert not list(tmp_path.iterdir())
