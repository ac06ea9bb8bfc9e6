"""word2vec's files: gensim opens ours, we open gensim's, and what is broken is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlpkit.errors import UserError
from nlpkit.vectors.formats import read_word2vec, write_word2vec

WORDS = ["the", "naïve", "東京", "a\u00a0b", "##ing", ":-)", "🙂"]


def numbers(rows, width, seed=0):
    rng = np.random.default_rng(seed)
    made = (rng.normal(size=(rows, width)) * 10.0 ** rng.integers(-30, 30, (rows, width))).astype(np.float32)
    made[0, 0] = 0.1
    return made


@pytest.mark.oracle
@pytest.mark.parametrize("binary", [False, True])
def test_gensim_opens_ours_and_we_open_gensims(tmp_path, binary):
    from gensim.models import KeyedVectors

    vectors = numbers(len(WORDS), 9)
    write_word2vec(tmp_path / "ours", WORDS, vectors, binary=binary)
    theirs = KeyedVectors.load_word2vec_format(str(tmp_path / "ours"), binary=binary)
    assert theirs.index_to_key == WORDS
    np.testing.assert_array_equal(theirs.vectors, vectors)
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary)
    words, back = read_word2vec(tmp_path / "theirs", binary=binary)
    assert words == WORDS
    np.testing.assert_array_equal(back, vectors)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 100), (5000, 3)])
def test_what_is_written_comes_back_to_the_bit(tmp_path, binary, shape):
    vectors = numbers(*shape)
    write_word2vec(tmp_path / "v", [f"w{row}" for row in range(shape[0])], vectors, binary=binary)
    words, back = read_word2vec(tmp_path / "v", binary=binary)
    assert words[-1] == f"w{shape[0] - 1}" and back.dtype == np.float32
    assert back.tobytes() == vectors.tobytes()


@pytest.mark.parametrize("word", ["", "new york", "tab\tbed", "line\nfeed"])
def test_a_word_with_white_space_is_refused(tmp_path, word):
    with pytest.raises(UserError, match="white space"):
        write_word2vec(tmp_path / "v", ["ok", word], numbers(2, 2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("content", "binary", "message"), [
    (b"", False, "first line"),
    (b"the 0.1 0.2\n", False, "first line"),
    (b"2 2 2\n", False, "first line"),
    (b"-1 2\n", True, "first line"),
    (b"9999999999 300\nthe 0.1", False, "too short"),
    (b"1 0\nthe", False, "too short"),
    (b"1 2\nthe 0.1\n\n\n\n", False, "2 fields, expected a word and 2 numbers"),
    (b"1 2\nthe 0.1 x\n", False, "not a number"),
    (b"1 2\nthe 0.1 nan\n", False, "not finite"),
    (b"2 1\nthe 1\nthe 2\n", False, 'the word "the" twice'),
    (b"1 1\n\xff 1\n", False, "UTF-8"),
    (b"1 1\nthe 1\nmore 2\n", False, "goes on"),
    (b"1 2\nthe\x00\x00\x00\x00\x00", True, "no space ends this word"),
    (b"1 2\nthe \x00\x00\x00\x00", True, "4 bytes of numbers, expected 8"),
    (b"1 1\nthe \x00\x00\x80\x7f", True, "not finite"),
])  # fmt: skip
def test_broken_files_are_said(tmp_path, content, binary, message):
    path = tmp_path / "v"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_word2vec(path, binary=binary)
    assert caught.value.where.startswith(str(path))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_word2vec(tmp_path / "none")


@given(st.binary(max_size=200), st.booleans())
def test_hostile_bytes_are_a_user_error(tmp_path_factory, content, binary):
    path = tmp_path_factory.mktemp("hostile") / "v"
    path.write_bytes(b"2 2\n" + content)
    try:
        words, vectors = read_word2vec(path, binary=binary)
    except UserError:
        return
    assert len(words) == 2 and vectors.shape == (2, 2)
