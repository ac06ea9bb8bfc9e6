"""nlpkit vectors cooccur: the counts are exact, whatever the blocks and threads."""

import errno
import json
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from nlpkit.artifact import file
from nlpkit.base import events
from nlpkit.base.errors import RunError, UserError
from nlpkit.cli import app
from nlpkit.stages import info as inspect
from nlpkit.stages.vectors_cooccur import cooccur
from nlpkit.stages.verify import verify
from nlpkit.vectors.base import Corpus
from nlpkit.vectors.glove import cooccurrence, cooccurrence_count
from nlpkit.vectors.glove.cooccurrence import load
from nlpkit.vectors.glove.cooccurrence_count import count_pairs, distance_weights


def made_up(seed, *, vocab_size=60, sentences=40, longest=50):
    """Sentences of ids by Zipf's law; one is much longer than the others, some words never occur."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest, sentences)
    lengths[sentences // 2] = 20 * longest
    ids = ((rng.zipf(1.3, lengths.sum()) * 7) % vocab_size).astype(np.int32)
    return Corpus(ids, np.concatenate([[0], np.cumsum(lengths)]))


def brute_force(corpus, window):
    """{(word, other): exact sum of 1/d}, both ways."""
    table = Counter()
    for sentence in np.split(corpus.ids, corpus.offsets[1:-1]):
        words = sentence.tolist()
        for place, word in enumerate(words):
            for other in range(max(0, place - window), min(len(words), place + window + 1)):
                if other != place:
                    table[word, words[other]] += Fraction(1, abs(other - place))
    return table


def as_table(cells):
    assert all(
        (np.diff(cells.columns[begin:end].astype(int)) > 0).all()
        for begin, end in zip(cells.offsets, cells.offsets[1:], strict=False)
    )
    rows = np.repeat(np.arange(len(cells.offsets) - 1), np.diff(cells.offsets))
    return {
        (row, column): value
        for row, column, value in zip(rows.tolist(), cells.columns.tolist(), cells.values.tolist(), strict=True)
    }


def counted(corpus, folder, *, vocab_size=60, window=5, memory_bytes=1 << 30, threads=1):
    counts = np.bincount(corpus.ids, minlength=vocab_size)
    return count_pairs(corpus, counts, window, target=folder / "target", memory_bytes=memory_bytes, threads=threads)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("window", [1, 5, 12])
def test_the_counts_are_those_of_brute_force(tmp_path, seed, window):
    corpus = made_up(seed)
    truth = brute_force(corpus, window)
    for (word, other), value in truth.items():
        assert value == truth[other, word]  # so the half above the diagonal is all there is to know
    expected = {cell: float(np.float32(float(value))) for cell, value in truth.items() if cell[0] <= cell[1]}
    assert as_table(counted(corpus, tmp_path, window=window)) == expected
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("block", "threads"), [(1, 1), (7, 3), (64, 2), (1000, 1)])
def test_blocks_and_threads_do_not_show(tmp_path, monkeypatch, block, threads):
    corpus = made_up(5)
    whole = counted(corpus, tmp_path)
    monkeypatch.setattr(cooccurrence_count, "_MIN_TOKENS", block)
    merged = []
    monkeypatch.setattr(
        cooccurrence_count,
        "_merge_blocks",
        lambda *given, add=cooccurrence_count._merge_blocks: merged.append(1) or add(*given),
    )
    parts = counted(corpus, tmp_path, memory_bytes=1, threads=threads)
    assert merged  # else there was one block only
    for one, other in zip((whole.offsets, whole.columns, whole.values), vars(parts).values(), strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()


def test_a_large_vocabulary_has_wide_columns_in_their_order(tmp_path):
    """Columns are read off from three levels of bits; words lie on the borders of all of them."""
    borders = [0, 1, 63, 64, 65, 4095, 4096, 4097, 65_535, 65_536, 69_999]
    ids = np.array([*borders, *reversed(borders)], np.int32)
    corpus = Corpus(ids, np.array([0, len(ids)]))
    cells = counted(corpus, tmp_path, vocab_size=70_000, window=22)
    assert cells.columns.dtype == np.uint32
    truth = brute_force(corpus, 22)
    assert as_table(cells) == {
        cell: float(np.float32(float(value))) for cell, value in truth.items() if cell[0] <= cell[1]
    }


def test_a_window_that_would_not_be_exact_is_refused():
    weights, one = distance_weights(10, 1000)
    assert one == 2520 and weights.tolist() == [0, 2520, 1260, 840, 630, 504, 420, 360, 315, 280, 252]
    for occurrences in (1, 10**6, 10**9):
        with pytest.raises(UserError, match="are exact in 64 bits up to a window of") as caught:
            distance_weights(1000, occurrences)
        cap = int(caught.value.hint.split()[-1])
        weights, _ = distance_weights(cap, occurrences)
        assert 2 * occurrences * int(weights.astype(object).sum()) < 2**63
        with pytest.raises(UserError):
            distance_weights(cap + 1, occurrences)
    assert cap >= 20


TEXT = "The cat sat on the mat.\n\nthe dog sat, and the cat ran!\nno\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT * 20, "utf-8")
    return path


def test_the_command_writes_a_file_that_knows_where_it_came_from(text, tmp_path, capsys):
    target = tmp_path / "cooc.safetensors"
    assert app.run(["vectors", "cooccur", str(text), "-o", str(target), "--window", "2", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    opened = load(target)
    assert summary["kind"] == "cooccurrence" and summary["cells"] == len(opened.cells.columns)
    assert opened.words[:3] == ["the", "cat", "sat"] and opened.counts[:3].tolist() == [80, 40, 40]
    table = as_table(opened.cells)
    assert table[0, 2] == 20 + 10 + 10 and table[0, 1] == 40  # sat on the, dog sat and the; the cat, twice
    assert (1, 1) not in table and opened.config["n_cells"] == len(table)
    assert inspect.info(target, check=True)["kind"] == "cooccurrence"
    assert inspect.lineage(target)["inputs"][0]["name"] == "corpus.txt"
    assert verify(target)["proven"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cooc.safetensors", "corpus.txt"]


def test_memory_and_threads_change_no_byte(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(" ".join(f"w{word}" for word in rng.zipf(1.2, 20) if word < 999) for _ in range(5000)))
    blocks = []
    bordered = cooccurrence_count._bordered
    monkeypatch.setattr(cooccurrence_count, "_bordered", lambda *given: blocks.append(1) or bordered(*given))
    shas = set()
    for number, (memory_mb, threads, expected) in enumerate([(1024, 1, 1), (1, 2, 3), (1, 3, 3)]):
        shas.add(cooccur(path, tmp_path / f"{number}", memory_mb=memory_mb, threads=threads)["sha256"])
        assert len(blocks) == expected
        blocks.clear()
    assert len(shas) == 1


def test_pieces_of_a_tokenizer_are_counted(text, tmp_path):
    from nlpkit.stages.tokenizer_train import train

    train([text], tmp_path / "tok", kind="bpe", vocab_size=300)
    cooccur(text, tmp_path / "cooc", tokenizer=tmp_path / "tok")
    opened = load(tmp_path / "cooc")
    assert opened.tokenizer is not None and set(opened.words) <= set(opened.tokenizer["pieces"])


def test_a_dry_run_counts_and_touches_nothing(text, tmp_path):
    plan = cooccur(text, tmp_path / "cooc", dry_run=True)
    assert plan["vocab_size"] == 9 and plan["words"] == 20 * 14 and plan["most_cells"] == 45
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_progress_is_told(text, tmp_path):
    heard = []
    with events.listen(heard.append):
        cooccur(text, tmp_path / "cooc")
    pairs = [event for event in heard if event.get("label") == "pairs"]
    assert pairs[-1]["done"] == pairs[-1]["total"] == 20 * 14


@pytest.mark.parametrize(
    ("options", "content", "message"),
    [
        ({"window": 0}, TEXT, "window is 0, expected at least 1"),
        ({"memory_mb": 0}, TEXT, "memory-mb is 0"),
        ({"min_count": 0}, TEXT, "min-count is 0"),
        ({"window": 100}, TEXT, "window is 100; counts are exact in 64 bits up to a window of 42"),
        ({"window": 42}, TEXT * 50, "counts of a word that occurs 200 times are exact in 64 bits up to a window of"),
        ({}, "", "0 of the corpus' 0 words"),
        ({}, "word " * 9, "1 of the corpus' 9 words"),
        ({"min_count": 1}, "one\ntwo\nthree\n", "no two of the 3 words stand in one sentence"),
    ],
)
def test_what_cannot_be_counted_is_said(tmp_path, options, content, message):
    path = tmp_path / "corpus.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        cooccur(path, tmp_path / "cooc", **options)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_said_with_the_targets_name(text, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cooccurrence_count._Store, "add", full)
    with pytest.raises(RunError, match="cooc: cannot write: No space left on device"):
        cooccur(text, tmp_path / "cooc")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_files_that_hold_no_table_are_refused(text, tmp_path):
    cooccur(text, tmp_path / "cooc")
    whole = file.read(tmp_path / "cooc")
    arrays = {name: np.array(whole.array(name)) for name in whole.tensors}

    def changed(**change):
        target = tmp_path / "changed"
        file.write(
            target,
            {**arrays, **change},
            kind="cooccurrence",
            config=whole.config,
            provenance={"command": "x"},
            history={},
            determinism={},
        )
        return target

    load(changed())
    for name in arrays:
        with pytest.raises(UserError, match="its tensor"):
            load(changed(**{name: arrays[name][:-1]}))
    back = arrays["offsets"].copy()
    back[1:3] = back[2:0:-1]
    for wrong in (back, arrays["offsets"] + 1):
        with pytest.raises(UserError, match='its tensor "offsets" does not'):
            load(changed(offsets=wrong))
    with pytest.raises(UserError, match="expected cooccurrence"):
        from nlpkit.stages.tokenizer_train import train

        train([text], tmp_path / "tok", kind="char")
        load(tmp_path / "tok")
    assert cooccurrence.KIND == "cooccurrence"
