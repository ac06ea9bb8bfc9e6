"""The same corpus, the same bytes: whatever the hash seed, the threads, the process or the order of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlpkit import tokenizers
from nlpkit.base import events
from nlpkit.base.seeds import Address
from nlpkit.stages.tokenizer_train import train
from nlpkit.tokenizers import counts as counting
from nlpkit.tokenizers.base import DEFAULT_SPECIAL, Tokenizer
from nlpkit.tokenizers.counts import count_words

# What is trained, with the options that make it different from its kind's default.
TRAINED: dict[str, dict[str, object]] = {
    "bpe": {"kind": "bpe", "vocab_size": 320},
    "bpe-characters": {"kind": "bpe", "byte_level": False, "lowercase": True},
    "wordpiece-likelihood": {"kind": "wordpiece"},
    "wordpiece-ratio": {"kind": "wordpiece", "score": "ratio"},
    "wordpiece-frequency": {"kind": "wordpiece", "score": "frequency", "lowercase": False},
    "unigram": {"kind": "unigram"},
    "word": {"kind": "word"},
    "char": {"kind": "char"},
}


def corpus(folder: Path, *, documents: int = 120, seed: int = 1) -> list[Path]:
    """Two files of words whose counts are often equal, so that ties decide."""
    rng = Address(seed, ("corpus",)).generator()
    syllables = ["ba", "co", "dé", "fi", "Gu", "ha", "ki", "lo", "中", "ß", "x'y", "12"]
    words = ["".join(syllables[int(part)] for part in rng.integers(len(syllables), size=3)) for _ in range(60)]
    lines = [" ".join(words[int(index)] for index in rng.integers(len(words), size=8)) for _ in range(documents)]
    paths = [folder / "one.txt", folder / "two.txt"]
    for path, part in zip(paths, (lines[::2], lines[1::2]), strict=True):
        path.write_text("\n".join(part) + "\n", "utf-8")
    return paths


PROGRAM = """
import json, sys
from pathlib import Path
from nlpkit.tokenizers import counts
from nlpkit.stages.tokenizer_train import train
counts.BATCH = 1500  # so that several processes have something to count
folder, threads, trained = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
paths = [folder / "one.txt", folder / "two.txt"]
for name, options in trained.items():
    result = train(paths, folder / "out.safetensors", force=True, threads=threads, **{"vocab_size": 150, **options})
    print(name, result["sha256"])
"""


def test_every_kind_has_one_sha256(tmp_path: Path) -> None:
    corpus(tmp_path)
    hashes: dict[str, set[str]] = {name: set() for name in TRAINED}
    runs = []
    for hash_seed, threads in ((1, 1), (2, 1), (1, 2), (2, 4)):
        folder = tmp_path / f"{hash_seed}-{threads}"
        folder.mkdir()
        corpus(folder)
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": str(threads)}
        # With processes only two kinds, for speed: counting is the same for all, and the only thing processes do.
        which = TRAINED if threads == 1 else {name: TRAINED[name] for name in ("bpe", "unigram")}
        command = [sys.executable, "-c", PROGRAM, str(folder), str(threads), json.dumps(which)]
        runs.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    for run in runs:
        out, _ = run.communicate()
        assert run.returncode == 0
        for line in out.splitlines():
            name, sha = line.split()
            hashes[name].add(sha)
    assert {name: len(found) for name, found in hashes.items()} == dict.fromkeys(TRAINED, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("made")
    paths = corpus(folder)
    found = {}
    for name, options in TRAINED.items():
        path = folder / f"{name}.safetensors"
        train(paths, path, **{"vocab_size": 150, **options})  # type: ignore[arg-type]
        found[name] = tokenizers.load(path)
    return found


@pytest.mark.parametrize("name", TRAINED)
def test_the_order_of_files_and_lines_changes_no_piece(tmp_path: Path, made: dict[str, Tokenizer], name: str) -> None:
    paths = corpus(tmp_path)
    for path in paths:
        path.write_text("\n".join(reversed(path.read_text("utf-8").splitlines())), "utf-8")
    train(paths[::-1], tmp_path / "out.safetensors", **{"vocab_size": 150, **TRAINED[name]})  # type: ignore[arg-type]
    assert tokenizers.load(tmp_path / "out.safetensors").fingerprint == made[name].fingerprint


def test_equal_counts_go_by_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("b é a c z z ab ab\n" * 2, "utf-8")
    assert list(count_words(["b a a c c"], str.split)) == ["a", "c", "b"]
    for kind, expected in (("word", ["ab", "z", "a", "b", "c", "é"]), ("char", [" ", "a", "b", "z", "c", "é"])):
        train([path], tmp_path / "t.safetensors", kind=kind, vocab_size=20, force=True)
        assert tokenizers.load(tmp_path / "t.safetensors").pieces[5:] == expected


def test_words_are_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = Address(0, ("words",)).generator()
    texts = [" ".join(["the", "of", *(f"w{int(number)}" for number in rng.integers(3000, size=5))]) for _ in range(900)]
    exact = Counter(word for text in texts for word in text.split())
    assert count_words(texts, str.split) == exact
    monkeypatch.setattr(counting, "BATCH", 500)
    assert count_words(texts, str.split) == exact
    monkeypatch.setattr(counting, "MOST", 200)
    said: list[str] = []
    with events.listen(lambda record: said.append(record.get("text", ""))):
        found = [count_words(texts, str.split, threads=threads) for threads in (1, 2)]
    assert list(found[0].items()) == list(found[1].items())
    assert len(found[0]) <= 200 + 500 and (found[0]["the"], found[0]["of"]) == (900, 900)
    assert all(found[0][word] <= exact[word] for word in found[0])
    lost = exact.total() - sum(found[0].values())
    note = next(text for text in said if text)
    assert f"{lost / exact.total():.2%} of its {exact.total():,} words" in note


ANY = st.text(max_size=40)


@given(text=ANY)
@settings(max_examples=200, deadline=None)
def test_byte_level_text_comes_back_exactly(made: dict[str, Tokenizer], text: str) -> None:
    for each in (text, text.encode("utf-8", "surrogatepass").decode("latin-1")):  # and any bytes, as characters
        assert made["bpe"].decode(made["bpe"].encode(each).tolist()) == each


@given(words=st.lists(st.sampled_from(["babaco", "haki", "lo", "中", "12", "fi"]), max_size=6))
@settings(max_examples=50, deadline=None)
def test_known_words_come_back_with_single_spaces(made: dict[str, Tokenizer], words: list[str]) -> None:
    text = " ".join(words)
    for name in ("bpe-characters", "wordpiece-likelihood", "wordpiece-frequency", "unigram", "char"):
        ids = made[name].encode(text).tolist()
        assert made[name].role("unk") not in ids and made[name].decode(ids) == text, name


@given(text=ANY)
@settings(max_examples=100, deadline=None)
def test_any_text_has_ids_that_are_the_same_in_any_batch(made: dict[str, Tokenizer], text: str) -> None:
    for name, tokenizer in made.items():
        alone = tokenizer.encode(text).tolist()
        together = tokenizer.encode_batch(["haki lo", text, "", text + " ba"])
        assert together[1].tolist() == alone and together[2].tolist() == [], name
        assert all(0 <= number < tokenizer.vocab_size for number in alone)
        assert isinstance(tokenizer.decode(alone), str)


@pytest.mark.parametrize("name", TRAINED)
def test_special_pieces_in_a_text_are_text(made: dict[str, Tokenizer], name: str) -> None:
    tokenizer = made[name]
    reserved = {tokenizer.ids[piece] for piece in DEFAULT_SPECIAL.values()} - {tokenizer.role("unk")}
    for text in ("[CLS] haki [SEP]", "[MASK]", "ha[PAD]ki"):
        assert not reserved & set(tokenizer.encode(text).tolist())


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "t.safetensors"
    train(corpus(tmp_path), path, kind="bpe", vocab_size=300)
    yield path


def test_encode_and_decode_are_a_pipe(piped: Path) -> None:
    lines = ["haki  lo", "", "[CLS] \x00\u2028 ünï", "中\r文", " x "]
    nlpkit = [sys.executable, "-m", "nlpkit", "tokenizer"]
    text = "\n".join(lines).encode() + b"\n"
    ids = subprocess.run([*nlpkit, "encode", piped], input=text, capture_output=True, check=True).stdout
    made = tokenizers.load(piped)
    assert [list(map(int, line.split())) for line in ids.decode().split("\n")[:-1]] == [
        made.encode(line).tolist() for line in lines
    ]
    assert subprocess.run([*nlpkit, "decode", piped], input=ids, capture_output=True, check=True).stdout == text
