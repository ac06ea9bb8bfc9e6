"""fastText's model.bin: every vector is gensim's and fastText's own, and a hostile file is refused before it costs."""

import gzip
import importlib.util
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.exchange.vector_files import detect
from nlpkit.exchange.vector_formats import FASTTEXT
from nlpkit.vectors.file import load

DATA = Path(importlib.util.find_spec("gensim").origin).parent / "test" / "test_data"
UNKNOWN = ["kings", "Übergröße", "xx", "king's", "日本語学校", "🙂🙂", "<a", "a>"]
TEXT = [["the", "king", "of", "françe", "東京"], ["a", "horse", "🙂", "the", "<b>"]] * 5


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small model in fastText's format, by gensim's writer."""
    from gensim.models.fasttext import FastText, save_facebook_model

    path = tmp_path_factory.mktemp("fasttext") / "model.bin"
    model = FastText(TEXT, vector_size=7, min_count=1, epochs=2, bucket=50, min_n=1, max_n=4, workers=1, seed=3)
    save_facebook_model(model, str(path))
    return path


@pytest.mark.oracle
@pytest.mark.parametrize("name", [None, "lee_fasttext_new.bin", "toy-model.bin", "crime-and-punishment.bin"])
def test_all_vectors_are_gensims(written, tmp_path, name):
    """Those of fastText's own program too: gensim ships some of its files."""
    from gensim.models.fasttext import load_facebook_vectors

    source = written if name is None else DATA / name
    nlpkit.import_(source, tmp_path / "v.safetensors")
    ours, theirs = load(tmp_path / "v.safetensors"), load_facebook_vectors(str(source))
    assert ours.words == theirs.index_to_key
    assert ours.counts.tolist() == [theirs.get_vecattr(word, "count") for word in ours.words]
    ours = ours.with_oov(UNKNOWN)
    for word in [*ours.words, *UNKNOWN]:
        if word != "</s>":  # gensim gives it n-grams, fastText's dictionary.cc does not
            np.testing.assert_allclose(ours.vectors[ours.row(word)], theirs.get_vector(word), atol=1e-6)


@pytest.mark.oracle
def test_the_end_of_a_sentence_has_no_ngrams(tmp_path):
    """fastText's own text file beside its model.bin has the bare row."""
    nlpkit.import_(DATA / "lee_fasttext_new.bin", tmp_path / "v.safetensors")
    from gensim.models.fasttext import load_facebook_vectors

    theirs, ours = load_facebook_vectors(str(DATA / "lee_fasttext_new.bin")), load(tmp_path / "v.safetensors")
    row = ours.row("</s>")
    np.testing.assert_array_equal(ours.vectors[row], theirs.vectors_vocab[row])


def test_unknown_words_are_answered_and_bytes_are_the_same(written, tmp_path, capsys):
    for name in ("a", "b"):
        assert app.run(["import", str(written), "-o", str(tmp_path / f"{name}.safetensors")]) == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    capsys.readouterr()
    assert app.run(["vectors", "nearest", str(tmp_path / "a.safetensors"), "kings", "-k", "1"]) == 0
    assert capsys.readouterr().out.split("\t")[0] == "kings"
    assert app.run(["verify", str(tmp_path / "a.safetensors"), "--inputs", str(written.parent)]) == 0


def test_packed_it_gives_the_same(written, tmp_path):
    (tmp_path / "model.bin.gz").write_bytes(gzip.compress(written.read_bytes()))
    assert detect(tmp_path / "model.bin.gz") == FASTTEXT
    for source, name in ((written, "a"), (tmp_path / "model.bin.gz", "b")):
        nlpkit.import_(source, tmp_path / f"{name}.safetensors")
    a, b = load(tmp_path / "a.safetensors"), load(tmp_path / "b.safetensors")
    np.testing.assert_array_equal(a.vectors, b.vectors)
    np.testing.assert_array_equal(a.ngrams, b.ngrams)


# Offsets of what is changed: magic and version, twelve int32 and a double, the dictionary's five numbers.
DIM, MODEL, BUCKET, LEAST, MOST, SIZE, WORDS, LABELS, PRUNED = 8, 36, 40, 44, 48, 64, 68, 72, 84


@pytest.mark.parametrize(
    ("where", "form", "value", "says"),
    [
        (4, "i", 13, "version 13"),
        (DIM, "i", 2**30, "width 1,073,741,824"),
        (DIM, "i", -1, "width -1"),
        (DIM, "i", 6, "expected 59 x 6"),
        (MODEL, "i", 3, "supervised"),
        (BUCKET, "i", 2**31 - 1, "expected 2,147,483,"),
        (BUCKET, "i", -5, "buckets"),
        (MOST, "i", 2**31 - 1, "n-grams"),
        (LEAST, "i", -2, "n-grams"),
        (SIZE, "i", 2**31 - 1, "labels"),
        (LABELS, "i", 4, "labels"),
        (PRUNED, "q", 2**60, "pruned"),
    ],
)
def test_a_hostile_header_is_refused(written, tmp_path, where, form, value, says):
    raw = bytearray(written.read_bytes())
    struct.pack_into("<" + form, raw, where, value)
    (tmp_path / "bad.bin").write_bytes(raw)
    with pytest.raises(UserError, match=says):
        nlpkit.import_(tmp_path / "bad.bin", tmp_path / "v.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.bin"]


def test_quantised_models_are_refused(written, tmp_path):
    raw = bytearray(written.read_bytes())
    start = raw.index(b"<b>")
    dim = struct.unpack_from("<i", raw, DIM)[0]
    words = struct.unpack_from("<i", raw, SIZE)[0]
    matrix = raw.index(struct.pack("<2q", words + 50, dim), start) - 1
    raw[matrix] = 1
    (tmp_path / "model.ftz").write_bytes(raw)
    with pytest.raises(UserError, match="quantised"):
        nlpkit.import_(tmp_path / "model.ftz", tmp_path / "v.safetensors")
    raw[matrix] = 0
    struct.pack_into("<f", raw, matrix + 17, float("nan"))
    (tmp_path / "nan.bin").write_bytes(raw)
    with pytest.raises(UserError, match="not finite"):
        nlpkit.import_(tmp_path / "nan.bin", tmp_path / "v.safetensors")


def test_a_file_that_is_cut_anywhere_is_refused(written, tmp_path):
    raw = written.read_bytes()
    whole = len(raw) - (1 + 16 + 4 * 7 * 9)  # the output matrix, of 9 words, is not read
    for size in [*range(4, 320), *range(320, whole, 97), whole - 1]:
        (tmp_path / "cut.bin").write_bytes(raw[:size])
        with pytest.raises(UserError):
            nlpkit.import_(tmp_path / "cut.bin", tmp_path / "v.safetensors", format="fasttext")
    (tmp_path / "cut.bin").write_bytes(raw[:whole])
    nlpkit.import_(tmp_path / "cut.bin", tmp_path / "v.safetensors")


def test_words_that_are_broken_stop_or_are_skipped_and_counted(written, tmp_path, capsys):
    raw = written.read_bytes()
    for number, (old, new, says) in enumerate(
        [(b"horse", b"h\xffrse", "not UTF-8"), (b"king", b"", "empty"), (b"<b>", b"the", "twice")]
    ):
        source = tmp_path / f"{number}.bin"
        source.write_bytes(raw.replace(old + b"\0", new + b"\0", 1))
        with pytest.raises(UserError, match=says):
            nlpkit.import_(source, tmp_path / "v.safetensors")
        target = tmp_path / f"{number}.safetensors"
        assert app.run(["import", str(source), "-o", str(target), "--on-error", "skip"]) == 0
        assert "skipped 1 word" in capsys.readouterr().err
        nlpkit.import_(written, tmp_path / f"{number}-whole.safetensors")
        ours, good = load(target), load(tmp_path / f"{number}-whole.safetensors")
        for word in ours.words:
            np.testing.assert_array_equal(ours.vectors[ours.row(word)], good.vectors[good.row(word)])


def test_an_announced_size_costs_no_memory(written, tmp_path):
    """Two billion buckets of width 65,536 are announced and refused within 3 GB of address space."""
    raw = bytearray(written.read_bytes())
    struct.pack_into("<i", raw, DIM, 65536)
    struct.pack_into("<i", raw, BUCKET, 2**31 - 10)
    matrix = raw.index(struct.pack("<2q", 9 + 50, 7))
    struct.pack_into("<2q", raw, matrix, 9 + 2**31 - 10, 65536)
    (tmp_path / "huge.bin").write_bytes(raw)
    code = f"from nlpkit.cli.app import main; main(['import', {str(tmp_path / 'huge.bin')!r}, '-o', 'v.safetensors'])"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, preexec_fn=limited
    )
    assert done.returncode == 2 and "ends before" in done.stderr
