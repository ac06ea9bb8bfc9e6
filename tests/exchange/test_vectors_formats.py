"""Other tools' files: gensim opens ours, we open gensim's, and what is broken is said."""

import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli import app
from nlpkit.exchange.vector_files import detect, read
from nlpkit.exchange.vector_formats import FORMATS, write
from nlpkit.vectors.file import load

WORDS = ["the", "naïve", "東京", "a\u00a0b", "##ing", ":-)", "🙂"]
DATA = Path(importlib.util.find_spec("gensim").origin).parent / "test" / "test_data"


def numbers(rows, width, seed=0):
    rng = np.random.default_rng(seed)
    made = (rng.normal(size=(rows, width)) * 10.0 ** rng.integers(-30, 30, (rows, width))).astype(np.float32)
    made[0, 0] = 0.1
    return made


def whole(path, form, on_error="error"):
    """All words and vectors of a file."""
    blocks = list(read(path, FORMATS[form], on_error))
    return [word for words, _ in blocks for word in words], np.concatenate([vectors for _, vectors in blocks])


@pytest.fixture
def trained(tmp_path):
    (tmp_path / "text.txt").write_text("the king of france goes out\na horse of the king\n" * 20)
    nlpkit.vectors_train([tmp_path / "text.txt"], tmp_path / "vec.safetensors", dim=6, epochs=2, min_count=1)
    return tmp_path / "vec.safetensors"


def opened_by_gensim(path, form):
    from gensim.models import KeyedVectors

    binary, header = FORMATS[form].binary, FORMATS[form].header
    return KeyedVectors.load_word2vec_format(str(path), binary=binary, no_header=not header)


@pytest.mark.oracle
@pytest.mark.parametrize("form", FORMATS)
def test_gensim_opens_what_is_exported_and_finds_the_same_neighbours(trained, tmp_path, form):
    assert nlpkit.export(trained, tmp_path / "out", to=form)["words"] == 8
    theirs, ours = opened_by_gensim(tmp_path / "out", form), load(trained)
    assert theirs.index_to_key == ours.words
    np.testing.assert_array_equal(theirs.vectors, ours.vectors)
    found = nlpkit.vectors_nearest(trained, ours.words, k=3)["nearest"]
    for entry in found:
        expected = theirs.most_similar(entry["word"], topn=3)
        assert [near["word"] for near in entry["words"]] == [word for word, _ in expected]
        assert [near["cosine"] for near in entry["words"]] == pytest.approx([cos for _, cos in expected], abs=2e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("form", FORMATS)
def test_what_gensim_saves_is_imported(tmp_path, form):
    from gensim.models import KeyedVectors

    theirs = KeyedVectors(9)
    theirs.add_vectors(WORDS, numbers(len(WORDS), 9))
    settings = FORMATS[form]
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=settings.binary, write_header=settings.header)
    made = nlpkit.import_(tmp_path / "theirs", tmp_path / "ours.safetensors")
    assert (made["kind"], made["format"], made["vocab_size"], made["dim"]) == ("vectors", form, 7, 9)
    ours = load(tmp_path / "ours.safetensors")
    assert ours.words == WORDS and ours.counts is None
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("test_glove.txt", "glove"),
        ("toy-model.vec", "word2vec"),
        ("lee_fasttext.vec", "word2vec"),
        ("euclidean_vectors.bin", "word2vec-binary"),
        ("high_precision.kv.txt", "word2vec"),
    ],
)
def test_published_files_are_read_as_gensim_reads_them(tmp_path, name, form):
    assert detect(DATA / name) == form
    nlpkit.import_(DATA / name, tmp_path / "ours.safetensors")
    theirs, ours = opened_by_gensim(DATA / name, form), load(tmp_path / "ours.safetensors")
    assert ours.words == theirs.index_to_key
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 100), (5000, 3)])
def test_what_is_written_comes_back_to_the_bit(tmp_path, form, shape):
    vectors = numbers(*shape)
    write(tmp_path / "v", [f"w{row}" for row in range(shape[0])], vectors, FORMATS[form])
    words, back = whole(tmp_path / "v", form)
    assert words[-1] == f"w{shape[0] - 1}" and back.dtype == np.float32
    assert back.tobytes() == vectors.tobytes()
    assert detect(tmp_path / "v") == form


@pytest.mark.parametrize("form", FORMATS)
def test_the_way_out_and_in_again(trained, tmp_path, form):
    """Also packed, through a pipe's name, and as the input of every command that reads vectors."""
    nlpkit.export(trained, tmp_path / "out", to=form)
    (tmp_path / "out.gz").write_bytes(gzip.compress((tmp_path / "out").read_bytes()))
    nlpkit.import_(tmp_path / "out.gz", tmp_path / "back.safetensors")
    nlpkit.import_(tmp_path / "out", tmp_path / "named.safetensors", format=form)
    ours, back = load(trained), load(tmp_path / "back.safetensors")
    assert back.words == ours.words and back.config["lowercase"] is True
    assert back.vectors.tobytes() == ours.vectors.tobytes() == load(tmp_path / "named.safetensors").vectors.tobytes()
    assert nlpkit.vectors_nearest(tmp_path / "back.safetensors", ["King"]) == nlpkit.vectors_nearest(trained, ["King"])
    nlpkit.export(tmp_path / "back.safetensors", tmp_path / "again", to=form)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "out").read_bytes()
    assert nlpkit.verify(tmp_path / "back.safetensors")["proven"]


def test_words_are_found_in_lower_case_when_none_has_capitals(tmp_path):
    (tmp_path / "lower").write_text("café 1 2\nparis 2 1\n")
    (tmp_path / "cased").write_text("Paris 1 2\nparis 2 1\n")
    for name, found in (("lower", [0, 1, None]), ("cased", [None, 0, None])):
        nlpkit.import_(tmp_path / name, tmp_path / f"{name}.safetensors")
        opened = load(tmp_path / f"{name}.safetensors")
        assert [opened.find(word) for word in ("Café", "Paris", "Rome")] == found


@pytest.mark.parametrize("word", ["", "new york", "tab\tbed", "line\nfeed"])
def test_a_word_with_white_space_is_refused(tmp_path, word):
    for form in FORMATS.values():
        with pytest.raises(UserError, match="white space"):
            write(tmp_path / "v", ["ok", word], numbers(2, 2), form)
    assert list(tmp_path.iterdir()) == []


def test_gloves_words_may_have_spaces(tmp_path):
    (tmp_path / "v").write_text("the 0.1 0.2\n. . 0.3 0.4\nat name@domain.com 0.5 0.6\n")
    assert whole(tmp_path / "v", "glove")[0] == ["the", ". .", "at name@domain.com"]


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        (b"", "word2vec", "first line"),
        (b"the 0.1 0.2\n", "word2vec", "first line"),
        (b"2 2 2\n", "word2vec", "first line"),
        (b"-1 2\n", "word2vec-binary", "first line"),
        (b"0 2\n", "word2vec", "announces 0 words"),
        (b"1 0\nthe", "word2vec", "width 0"),
        (b"1 99999999999\nthe 1\n", "word2vec-binary", "width 99,999,999,999"),
        (b"9999999999 3\nthe 0.1 0.2 0.3\n", "word2vec", "ends after 1 of the 9,999,999,999 words"),
        (b"1 2\nthe 0.1\n\n\n\n", "word2vec", "2 fields, expected a word and 2 numbers"),
        (b"1 2\nthe 0.1 0.2 0.3\n", "word2vec", "4 fields, expected a word and 2 numbers"),
        (b"1 2\nthe  0.1\n", "word2vec", "expected a word and 2 numbers|not a number"),
        (b"1 2\nthe 0.1 x\n", "word2vec", "not a number"),
        (b"1 2\nthe 0.1 1_0\n", "word2vec", "not a number"),
        (b"1 2\nthe 0.1 0." + b"0" * 20_000 + b"\n", "word2vec", "not a number"),
        (b"1 2\nthe 0.1 nan\n", "word2vec", "not finite"),
        (b"1 2\nthe 0.1 1e39\n", "word2vec", "not finite"),
        (b"2 1\nthe 1\nthe 2\n", "word2vec", 'the word "the" comes twice'),
        (b"1 1\n\xff 1\n", "word2vec", "UTF-8"),
        (b"1 1\n 1\n", "word2vec", "numbers and no word"),
        (b"1 1\nthe 1\nmore 2\n", "word2vec", "goes on"),
        (b"1 1\n" + b"x" * 1_100_000, "word2vec", "is this text"),
        (b"1 2\nthe\x00\x00\x00\x00\x00", "word2vec-binary", "no space ends this word"),
        (b"1 2\nthe \x00\x00\x00\x00", "word2vec-binary", "4 bytes of numbers, expected 8"),
        (b"1 1\nthe \x00\x00\x80\x7f", "word2vec-binary", "not finite"),
        (b"1 1\nthe \x00\x00\x80\x3f\nmore", "word2vec-binary", "goes on"),
        (b"2 1\nthe \x00\x00\x80\x3f\n", "word2vec-binary", "no space ends this word"),
        (b"", "glove", "holds no words"),
        (b"the\n", "glove", "is not a word and its numbers"),
        (b"the 1 2\na 1\n", "glove", "2 fields, expected a word and 2 numbers"),
        (b"the 1 2\na 1 2 3\n", "glove", "4 fields, expected a word and 2 numbers"),
        (b"the 1 2\nthe 1 2\n", "glove", "comes twice"),
    ],
)
def test_broken_files_are_said_and_leave_nothing(tmp_path, content, form, message):
    path = tmp_path / "v"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        nlpkit.import_(path, tmp_path / "made.safetensors", format=form)
    assert caught.value.where.startswith(str(path))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", [None, "word2vec", "glove"])
def test_a_last_line_needs_no_line_end(tmp_path, form):
    path = tmp_path / "v"
    rows = b"the 1 2\nfox 3 4.5"
    path.write_bytes(rows if form == "glove" else b"2 2\n" + rows)
    nlpkit.import_(path, tmp_path / "made.safetensors", format=form)
    found = file.read(tmp_path / "made.safetensors")
    assert found.config["words"] == ["the", "fox"] and found.array("vectors").tolist() == [[1, 2], [3, 4.5]]
    path.write_bytes(b"1 2\nthe 1 2")
    assert nlpkit.import_(path, tmp_path / "one.safetensors")["format"] == "word2vec"


def test_errors_name_the_line_or_the_word(tmp_path):
    (tmp_path / "t").write_bytes(b"2 1\nthe 1\nof x\n")
    with pytest.raises(UserError) as caught:
        whole(tmp_path / "t", "word2vec")
    assert caught.value.where == f"{tmp_path / 't'}:3" and "--on-error skip" in caught.value.hint
    (tmp_path / "b").write_bytes(b"2 1\nthe \x00\x00\x80\x3f\n\xff \x00\x00\x80\x3f\n")
    with pytest.raises(UserError) as caught:
        whole(tmp_path / "b", "word2vec-binary")
    assert caught.value.where == f"{tmp_path / 'b'}: word 2"


def test_malformed_words_can_be_left_out(tmp_path, capsys):
    text = b"7 2\nthe 1 2\n\xff 1 2\nof 1\nthe 3 4\nto 1 nan\nin 5 6\nlast 1 2"
    (tmp_path / "v").write_bytes(text.removesuffix(b"last 1 2"))
    arguments = ["import", str(tmp_path / "v"), "-o", str(tmp_path / "made.safetensors"), "--on-error", "skip"]
    assert app.run(arguments) == 2  # a line of the seven is not there
    assert "ends after 6 of the 7 words" in capsys.readouterr().err
    (tmp_path / "v").write_bytes(text)
    assert app.run(arguments) == 0
    said = capsys.readouterr().err
    assert "skipped 4 lines, the first at line 3: the word is not UTF-8" in said
    opened = load(tmp_path / "made.safetensors")
    assert opened.words == ["the", "in", "last"] and opened.vectors.tolist() == [[1, 2], [5, 6], [1, 2]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello\n",
        b"{}\n",
        b"2 3\n",
        b"2 3\nthe 0.1 0.2\nof 0.3 0.4\n",
        b"1 3\nthe 0.12345 0.12\n",
        b"\x00\xff\n",
    ],
)
def test_what_cannot_be_told_is_asked_for(tmp_path, content):
    """A width that is not the first line's is not taken for bytes."""
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(UserError, match="does not begin as a file of word vectors") as caught:
        detect(tmp_path / "v")
    assert "--format" in caught.value.hint


def test_options_belong_to_what_is_read(tmp_path):
    (tmp_path / "v").write_text("the 1 2\n")
    (tmp_path / "folder").mkdir()
    target = tmp_path / "made.safetensors"
    with pytest.raises(UserError, match="--no-tokenizer changes nothing"):
        nlpkit.import_(tmp_path / "v", target, tokenizer=False)
    for asked in ({"format": "glove"}, {"on_error": "skip"}):
        with pytest.raises(UserError, match=r"changes nothing.*is a folder"):
            nlpkit.import_(tmp_path / "folder", target, **asked)
    with pytest.raises(UserError, match='format "glov" is unknown; did you mean "glove"'):
        nlpkit.import_(tmp_path / "v", target, format="glov")
    with pytest.raises(UserError, match="no such file"):
        nlpkit.import_(tmp_path / "none", target)
    assert not target.exists()


def test_an_import_records_its_source(tmp_path, capsys):
    (tmp_path / "v.txt").write_text("the 1 2\nof 2 1\n")
    assert app.run(["import", str(tmp_path / "v.txt"), "-o", str(tmp_path / "m.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "glove"
    artifact = file.read(tmp_path / "m.safetensors", kind="vectors")
    (source,) = artifact.provenance["inputs"]
    assert source == {"role": "source", "name": "v.txt", "sha256": file.file_sha256(tmp_path / "v.txt")}
    assert set(artifact.tensors) == {"vectors"}


@given(st.binary(max_size=200), st.sampled_from(sorted(FORMATS)), st.booleans())
def test_hostile_bytes_are_a_user_error(tmp_path_factory, content, form, header):
    path = tmp_path_factory.mktemp("hostile") / "v"
    path.write_bytes((b"2 2\n" if header else b"") + content)
    for known in (form, None):
        try:
            words, vectors = whole(path, known or detect(path))
        except UserError:
            continue
        assert len(words) == len(vectors) and np.isfinite(vectors).all()
