"""nlpkit vectors glove: the paper's steps, in an order that no thread can change, and a stopped run goes on."""

import errno
import json
import math
import threading

import numpy as np
import pytest

from nlpkit.artifact import file, resume
from nlpkit.base import events
from nlpkit.base.errors import Interrupted, RunError, UserError
from nlpkit.base.seeds import Address
from nlpkit.cli import app
from nlpkit.stages import info as inspect
from nlpkit.stages.vectors_cooccur import cooccur
from nlpkit.stages.vectors_glove import glove
from nlpkit.stages.verify import verify
from nlpkit.vectors.file import load
from nlpkit.vectors.glove import cooccurrence, glove_cells
from nlpkit.vectors.glove import glove as module
from nlpkit.vectors.glove.glove import STRIPES, Learner, rounds
from nlpkit.vectors.glove.glove_cells import sort_in_blocks
from nlpkit.vectors.queries.query import nearest

TOPICS = ("bread butter cheese flour oven yeast", "anchor harbour keel mast rudder sail")
GLUE = ["the", "of", "and", "a", "in", "to"]


def table_file(path, table):
    """A file of counts that holds the upper half of a matrix; zeros are no cells."""
    upper = np.triu(table).astype(np.float32)
    rows, columns = np.nonzero(upper)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(table)))])
    tensors = {
        "offsets": offsets.astype(np.int64),
        "columns": columns.astype(np.uint16),
        "values": upper[rows, columns],
        "counts": np.arange(len(table), 0, -1).astype(np.int64),
    }
    config = {"words": [f"w{number}" for number in range(len(table))], "lowercase": True}
    file.write(
        path, tensors, kind="cooccurrence", config=config, provenance={"command": "test"}, history={}, determinism={}
    )
    return path


def random_table(size, *, seed=0, share=0.5):
    rng = np.random.default_rng(seed)
    table = np.triu(rng.pareto(1.0, (size, size)) + 0.1) * (rng.random((size, size)) < share)
    return table + np.triu(table, 1).T


def blocks_of(table, folder, **more):
    given = cooccurrence.load(table_file(folder / "table", table))
    asked = {"x_max": 10.0, "alpha": 0.75, "seed": Address(0, ("cells",)), "where": folder, **more}
    return sort_in_blocks(given.cells, target=folder / "target", **asked)


def test_every_two_stripes_meet_once_and_no_round_shares_one():
    seen = [rounds(Address(0), 1), rounds(Address(0), 2), rounds(Address(1), 1)]
    for epoch in seen:
        for meeting in epoch:
            assert sorted(words for words, _ in meeting) == sorted(contexts for _, contexts in meeting)
            assert len({words for words, _ in meeting}) == STRIPES
        assert len({pair for meeting in epoch for pair in meeting}) == STRIPES**2
    assert seen[0] != seen[1] and seen[0] != seen[2] and seen[0] == rounds(Address(0), 1)


def test_every_cell_is_in_one_block_with_its_logarithm_and_weight(tmp_path, monkeypatch):
    monkeypatch.setattr(glove_cells, "_CHUNK", 100)
    table = random_table(80)
    blocks = blocks_of(table, tmp_path)
    word_at = np.argsort(blocks.row_of_word)
    visited = np.zeros_like(table)
    for words in range(STRIPES):
        for contexts in range(words, STRIPES):
            cells = blocks.block(words, contexts)
            rows, columns = word_at[cells["word"]], word_at[cells["context"]]
            assert (rows % STRIPES == words).all() and (columns % STRIPES == contexts).all()
            np.add.at(visited, (rows, columns), 1)
            if words != contexts:
                np.add.at(visited, (columns, rows), 1)  # the block on the other side
            values = table[rows, columns].astype(np.float32).astype(float)
            np.testing.assert_array_equal(cells["log"], np.float32([math.log(x) for x in values]))
            np.testing.assert_array_equal(cells["weight"], np.float32([min(1, (x / 10) ** 0.75) for x in values]))
    np.testing.assert_array_equal(visited, table > 0)
    assert blocks.visits == (table > 0).sum()
    monkeypatch.setattr(glove_cells, "_CHUNK", 1 << 20)
    assert blocks_of(table, tmp_path).cells.tobytes() == blocks.cells.tobytes()
    other = blocks_of(table, tmp_path, seed=Address(1, ("cells",)))
    assert other.cells.tobytes() != blocks.cells.tobytes()


def test_logarithms_and_powers_are_right_to_the_last_places():
    x = np.concatenate(
        [np.random.default_rng(0).pareto(0.3, 2000) + 1e-3, [1e-38, 1.0, 3e38, np.sqrt(2), np.sqrt(0.5)]]
    )
    np.testing.assert_allclose(glove_cells.log(x), [math.log(value) for value in x], rtol=5e-16, atol=1e-16)
    assert glove_cells.log(np.ones(1))[0] == 0
    for alpha in (0.0, 0.5, 0.75, 2.0):
        found = glove_cells.weight(glove_cells.log(x), 7.0, alpha)
        expected = [max(math.exp(-87), min(1.0, (value / 7.0) ** alpha)) for value in x]
        np.testing.assert_allclose(found, expected, rtol=1e-13)


def reference(blocks, dim, lr, seed, epochs):
    """The same steps in 64 bits, one number after the other, from the same first vectors."""
    start = Learner(blocks, dim, lr, seed).state
    w, c = (
        {
            "vector": start[side][:, 0, :dim].astype(float),
            "squares": np.ones((len(start[side]), dim)),
            "bias": np.zeros(len(start[side])),
            "bias_squares": np.ones(len(start[side])),
        }
        for side in ("words", "contexts")
    )
    losses = []
    for epoch in range(1, epochs + 1):
        loss = 0.0
        for meeting in rounds(seed, epoch):
            for words, contexts in meeting:
                for cell in blocks.block(*sorted((words, contexts))):
                    i, j = int(cell["word"]), int(cell["context"])
                    if words > contexts:
                        i, j = j, i
                    off = w["vector"][i] @ c["vector"][j] + w["bias"][i] + c["bias"][j] - float(cell["log"])
                    loss += float(cell["weight"]) * off**2
                    step = lr * float(cell["weight"]) * off
                    slope, slopes = step * c["vector"][j], step * w["vector"][i]
                    for side, place, gradient in ((w, i, slope), (c, j, slopes)):
                        side["vector"][place] -= gradient / np.sqrt(side["squares"][place])
                        side["squares"][place] += gradient**2
                        side["bias"][place] -= step / np.sqrt(side["bias_squares"][place])
                        side["bias_squares"][place] += step**2
        losses.append(loss / blocks.visits)
    return w, c, losses


@pytest.mark.parametrize("dim", [1, 5, 8, 24])
def test_the_steps_are_those_of_the_paper(tmp_path, dim):
    """Against plain numpy in the order of the rounds; widths that fill one, one and a half and three registers."""
    blocks, seed = blocks_of(random_table(50, share=0.3), tmp_path), Address(3)
    w, c, losses = reference(blocks, dim, 0.2, seed, 3)
    learner = Learner(blocks, dim, 0.2, seed)
    found = []
    for epoch in range(1, 4):
        for meeting in rounds(seed, epoch):
            learner.learn(meeting, 1, None)
        found.append(learner.loss(epoch))
    for side, bias, expected in (("words", "word_bias", w), ("contexts", "context_bias", c)):
        state = learner.state[side]
        np.testing.assert_allclose(state[:, 0, :dim], expected["vector"], atol=1e-5)
        np.testing.assert_allclose(state[:, 1, :dim], expected["squares"], rtol=1e-5)
        assert not state[:, 0, dim:].any() and (state[:, 1, dim:] == 1).all()
        np.testing.assert_allclose(learner.state[bias][:, 0], expected["bias"], atol=1e-5)
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    assert losses[2] < losses[0]


def test_a_log_bilinear_table_is_factored_until_nothing_is_left(tmp_path):
    """log X = U U' + b + b' of rank 6 has a solution of width 6 without any loss, and it is found (S5)."""
    rng = np.random.default_rng(0)
    vectors, bias = rng.normal(0, 0.6, (60, 6)), rng.normal(0, 0.5, 60)
    table = np.exp(vectors @ vectors.T + bias[:, None] + bias)
    heard = []
    with events.listen(heard.append):
        glove(table_file(tmp_path / "table", table), tmp_path / "vec", dim=6, epochs=60, lr=0.3, x_max=5.0)
    losses = [event["loss"] for event in heard if "loss" in event]
    assert len(losses) == 60 and losses[-1] < 1e-9 * losses[0]
    opened = file.read(tmp_path / "vec")
    total, context = opened.array("vectors"), opened.array("context")
    made = (total - context) @ context.T + opened.array("bias")[:, None] + opened.array("context_bias")
    np.testing.assert_allclose(made, np.log(table), atol=1e-3)
    narrow = glove(table_file(tmp_path / "table", table), tmp_path / "narrow", dim=2, epochs=30, lr=0.3, x_max=5.0)
    assert narrow["loss"] > 1000 * losses[-1]  # a rank too few cannot


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sentences about one of two topics, with words between that know neither."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    lines = []
    for number in range(1500):
        topic = TOPICS[number % 2].split()
        lines.append(" ".join(str(rng.choice(topic if rng.random() < 0.6 else GLUE)) for _ in range(10)) + ".")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def counts(corpus):
    path = corpus.with_name("cooc.safetensors")
    cooccur(corpus, path)
    return path


def test_topics_are_learnt_through_the_command_line(corpus, tmp_path, capsys):
    cooc, vec = str(tmp_path / "cooc.safetensors"), tmp_path / "vec.safetensors"
    assert app.run(["vectors", "cooccur", str(corpus), "-o", cooc, "--window", "5"]) == 0
    arguments = ["--dim", "16", "--epochs", "40", "--threads", "2", "--json"]
    assert app.run(["vectors", "glove", cooc, "-o", str(vec), *arguments]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["kind"] == "vectors" and summary["vocab_size"] == 18 and 0 < summary["loss"] < 0.1
    for topic in TOPICS:
        words = topic.split()
        for found in nearest(vec, words, k=5)["nearest"]:
            assert {near["word"] for near in found["words"]} == set(words) - {found["word"]}
    assert app.run(["vectors", "analogy", str(vec), "bread", "butter", "keel"]) == 0
    assert app.run(["export", str(vec), "-o", str(tmp_path / "vec.txt"), "--to", "word2vec"]) == 0
    assert verify(vec, chain=True, inputs=corpus.parent)["proven"]
    behind = inspect.lineage(vec)["inputs"][0]
    assert behind["command"] == "vectors cooccur" and behind["inputs"][0]["name"] == "corpus.txt"


def test_the_file_holds_both_sides_and_what_it_came_from(counts, tmp_path):
    glove(counts, tmp_path / "vec", dim=6, epochs=2, x_max=50.0)
    opened = file.read(tmp_path / "vec", kind="vectors")
    shapes = {"vectors": (18, 6), "context": (18, 6), "bias": (18,), "context_bias": (18,), "counts": (18,)}
    assert {name: opened.array(name).shape for name in opened.tensors} == shapes
    assert opened.config["method"] == "glove" and opened.config["x_max"] == 50 and opened.config["window"] == 10
    given = cooccurrence.load(counts)
    assert load(tmp_path / "vec").words == given.words
    assert set(opened.provenance["versions"]) == {"nlpkit", "numba", "numpy"}


def test_the_first_vectors_are_small_and_the_seeds_own(counts, tmp_path):
    for seed in (0, 1):
        assert glove(counts, tmp_path / f"{seed}", dim=10, epochs=0, seed=seed)["loss"] is None
    one, other = load(tmp_path / "0").vectors, load(tmp_path / "1").vectors
    assert (np.abs(one) <= 0.1).all() and one.std() > 0.03 and not (one == other).any()


def test_the_same_bytes_on_any_number_of_threads(tmp_path, monkeypatch):
    """Large enough that blocks are learnt at the same time, which is looked at too."""
    table = table_file(tmp_path / "table", random_table(700, seed=4))
    at_work, most, used = [], [0], set()

    class Watched:
        def learn(self, *given, learn=module.KERNELS.learn):
            at_work.append(0)
            most[0] = max(most[0], len(at_work))
            used.add(threading.get_ident())
            value = learn(*given)
            at_work.pop()
            return value

    monkeypatch.setattr(module, "KERNELS", Watched())
    shas = set()
    for number, threads in enumerate([1, 2, 3, 40]):
        most[0] = 0
        used.clear()
        shas.add(glove(table, tmp_path / f"{number}", dim=50, epochs=3, threads=threads)["sha256"])
        assert most[0] > 1 if threads > 1 else len(used) == most[0] == 1
    assert len(shas) == 1


def test_the_seed_changes_the_order_and_the_bytes(counts, tmp_path):
    shas = {glove(counts, tmp_path / f"{seed}", dim=4, epochs=1, seed=seed)["sha256"] for seed in range(3)}
    assert len(shas) == 3


def stopped(counts, target, monkeypatch, after, **options):
    """Run until so many rounds are learnt, then be interrupted as by Ctrl-C."""
    with monkeypatch.context() as patch:
        done = []

        def learn(self, *given, whole=Learner.learn):
            done.append(0)
            whole(self, *given)
            stop.requested = len(done) == after

        class Stop(module.StopSignal):
            def __init__(self):
                super().__init__()
                nonlocal stop
                stop = self

        stop = None
        patch.setattr(Learner, "learn", learn)
        patch.setattr(module, "StopSignal", Stop)
        with pytest.raises(Interrupted, match="interrupted in epoch"):
            glove(counts, target, **options)


@pytest.mark.parametrize("after", [1, 40, 64, 95])
def test_a_stopped_run_goes_on_to_the_same_bytes(counts, tmp_path, monkeypatch, after):
    """In the middle of an epoch, at its end, and one round before the end of all; the losses are the same too."""
    options = {"dim": 12, "epochs": 3, "threads": 2}
    whole = glove(counts, tmp_path / "whole", **options)
    stopped(counts, tmp_path / "vec", monkeypatch, after, **options)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "vec.resume"}
    heard = []
    with events.listen(heard.append):
        again = glove(counts, tmp_path / "vec", **options)
    assert again["sha256"] == whole["sha256"] and again["loss"] == whole["loss"]
    assert any("resuming vec in epoch" in event.get("text", "") for event in heard)
    rest = sum(event["event"] == "progress" and event["unit"] == "steps" for event in heard)
    assert rest == 3 * STRIPES - after  # it did not begin anew
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "vec"}


def test_another_commands_state_is_refused_and_fresh_starts_over(counts, tmp_path, monkeypatch):
    options = {"dim": 12, "epochs": 3}
    stopped(counts, tmp_path / "vec", monkeypatch, 40, **options)
    with pytest.raises(UserError, match=r"another command lies here: dim was 12, is 8; lr was 0\.05, is 0\.1"):
        glove(counts, tmp_path / "vec", dim=8, epochs=3, lr=0.1)
    fresh = glove(counts, tmp_path / "vec", fresh=True, **options)
    assert fresh["sha256"] == glove(counts, tmp_path / "whole", **options)["sha256"]


def test_states_are_saved_as_often_as_asked(counts, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(resume, "save", lambda run, arrays, config: saved.append((config["epoch"], config["round"])))
    glove(counts, tmp_path / "a", dim=4, epochs=7, save_every=2)
    assert saved == [(3, 0), (5, 0), (7, 0)]
    saved.clear()
    glove(counts, tmp_path / "b", dim=4, epochs=2)
    assert saved == []
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
    glove(counts, tmp_path / "c", dim=4, epochs=2)
    assert len(saved) == 2 * STRIPES - 1


def test_a_dry_run_says_what_it_needs_and_touches_nothing(counts, tmp_path):
    plan = glove(counts, tmp_path / "vec", dim=10, dry_run=True)
    assert plan["vocab_size"] == 18 and plan["cells"] == 18 * 19 // 2 - 6 * 6 and plan["parameters"] == 2 * 18 * 11
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim is 0, expected at least 1"),
        ({"epochs": -1}, "epochs is -1"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"x_max": -1.0}, "x-max is -1.0, expected at least 0"),
        ({"alpha": -0.5}, "alpha is -0.5"),
        ({"alpha": math.inf}, "alpha is inf"),
        ({"save_every": 0}, "save-every is 0, expected at least 1"),
    ],
)
def test_wrong_options_are_said(counts, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        glove(counts, tmp_path / "vec", **options)
    assert list(tmp_path.iterdir()) == []


def test_vectors_that_burst_stop_the_run(tmp_path):
    table = table_file(tmp_path / "table", random_table(40))
    with pytest.raises(RunError, match="not finite after epoch"):
        glove(table, tmp_path / "vec", dim=8, lr=1e3)
    assert [path.name for path in tmp_path.iterdir()] == ["table"]


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("columns", 5, 40),
        ("columns", -1, 3),
        ("values", 2, -1.0),
        ("values", 2, np.nan),
        ("values", 0, 0.0),
    ],
)
def test_cells_that_no_table_has_are_refused(tmp_path, name, place, value):
    whole = file.read(table_file(tmp_path / "table", random_table(40)))
    arrays = {key: np.array(whole.array(key)) for key in whole.tensors}
    arrays[name][place] = value
    file.write(
        tmp_path / "table",
        arrays,
        kind="cooccurrence",
        config=whole.config,
        provenance={"command": "x"},
        history={},
        determinism={},
    )
    with pytest.raises(
        UserError, match=r'table: (has cells with impossible columns or counts|its tensor "(columns|values)" has)'
    ):
        glove(tmp_path / "table", tmp_path / "vec")


def test_a_full_disk_is_said_with_the_targets_name(counts, tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(glove_cells.os, "pwrite", full)
    with pytest.raises(RunError, match="vec: cannot write: No space left on device"):
        glove(counts, tmp_path / "vec")
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_are_refused(counts, tmp_path):
    glove(counts, tmp_path / "vec", dim=4, epochs=0)
    with pytest.raises(UserError, match="is a vectors file; expected cooccurrence"):
        glove(tmp_path / "vec", tmp_path / "again")
