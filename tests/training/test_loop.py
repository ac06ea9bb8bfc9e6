"""The loop: it learns, resumes exactly, weighs answers rightly, and stops with a clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import OPTIONS, VOCABULARY, dying_after, make_batch, token_file

import nlpkit
from nlpkit.artifact import file
from nlpkit.base import events
from nlpkit.base.errors import Interrupted, RunError, UserError
from nlpkit.data.order import Part, Read
from nlpkit.training import loop
from nlpkit.training.parallel.reduction import Local

SMALL: dict[str, Any] = {"n_layers": 1, "d_model": 32, "n_heads": 2, "max_len": 32, "batch_tokens": 256, "threads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("loop")
    token_file(made / "tokens.safetensors")
    token_file(made / "dev.safetensors", documents=10, seed=5)
    return made


def pretrain(folder: Path, output: Path, **options: Any) -> dict[str, Any]:
    return nlpkit.pretrain([folder / "tokens.safetensors"], output, **{**SMALL, **options})


def recorded(kind: str) -> tuple[list[dict[str, Any]], Any]:
    found: list[dict[str, Any]] = []
    return found, events.listen(lambda record: found.append(record) if record["event"] == kind else None)


@pytest.mark.parametrize(
    ("options", "reached"),
    [
        ({"model": "gpt2", "steps": 120, "lr": 1e-2}, 1.0),
        # Masked words are always learnt in tests/stages/test_pretrain.py.
        pytest.param(
            {"model": "bert", "steps": 500, "lr": 5e-3, "mask_ratio": 0.3, "batch_tokens": 512, "dropout": 0.0},
            2.3,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_it_learns(folder: Path, tmp_path: Path, options: dict[str, Any], reached: float) -> None:
    found, listening = recorded("evaluation")
    with listening:
        pretrain(folder, tmp_path / "m.safetensors", dev=folder / "dev.safetensors", eval_every=50, **options)
    losses = [-record["score"] for record in found]
    assert losses[-1] < reached < losses[0]


@pytest.mark.parametrize("objective", ["mlm", "mlm+nsp"])
def test_interrupted_anywhere_it_ends_in_the_same_bytes(folder: Path, tmp_path: Path, objective: str) -> None:
    options = {
        "objective": objective,
        "steps": 14,
        "accumulate": 2,
        "save_every": 3,
        "dropout": 0.3,
        "dev": folder / "dev.safetensors",
        "eval_every": 4,
    }
    whole = pretrain(folder, tmp_path / "whole.safetensors", **options)["sha256"]
    for cut in (1, 3, 4, 11, 13):
        target = tmp_path / f"cut{cut}.safetensors"
        with dying_after(cut):
            pretrain(folder, target, **options)
        assert not target.exists()
        assert (tmp_path / f"cut{cut}.safetensors.resume").exists() == (cut >= 3)
        assert pretrain(folder, target, **options)["sha256"] == whole
        assert not (tmp_path / f"cut{cut}.safetensors.resume").exists()


def test_a_first_interrupt_waits_for_the_step_and_saves(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    target = tmp_path / "m.safetensors"
    update = loop.update
    seen = 0

    def interrupting(*args: Any) -> float:
        nonlocal seen
        seen += 1
        if seen == 5:
            signal.raise_signal(signal.SIGINT)
        return float(update(*args))

    with monkeypatch.context() as patch:
        patch.setattr(loop, "update", interrupting)
        with pytest.raises(Interrupted, match="step 5 of 12") as caught:
            pretrain(folder, target, steps=12)
    assert caught.value.exit_code == 130
    assert file.read(tmp_path / "m.safetensors.resume", kind="resume").config["step"] == 5
    resumed = pretrain(folder, target, steps=12)["sha256"]
    assert resumed == pretrain(folder, tmp_path / "w.safetensors", steps=12)["sha256"]


def test_another_commands_unfinished_run_is_refused_by_name(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "due", lambda step, settings: (_ for _ in ()).throw(MemoryError()) if step == 4 else False)
        with pytest.raises(MemoryError):
            pretrain(folder, target, steps=6, save_every=2, dev=folder / "dev.safetensors")
    with pytest.raises(UserError, match=r"lr was 0\.001, is 0\.002; steps was 6, is 7"):
        pretrain(folder, target, steps=7, lr=2e-3, dev=folder / "dev.safetensors")
    with pytest.raises(UserError, match=r"dev dev\.safetensors is missing"):
        pretrain(folder, target, steps=6)
    fresh = pretrain(folder, target, steps=6, fresh=True)
    assert fresh["steps"] == 6


def test_accumulated_batches_weigh_every_answer_the_same() -> None:
    """Q-B7: gradients of two unequal batches together equal those of one batch with all their sequences."""
    from nlpkit import objectives
    from nlpkit.models import family
    from nlpkit.models.sizes import config_for
    from nlpkit.training.settings import Settings

    bert = family("bert")
    config = config_for(bert, "tiny", vocab_size=1000, max_len=128, dropout=0.0, n_layers=1, d_model=32, n_heads=2)
    torch.manual_seed(0)
    model = bert.build(config, ("mlm",))
    task = objectives.build("mlm", VOCABULARY, OPTIONS)
    settings = Settings(steps=1)

    def gradients(batches: list[Any]) -> tuple[dict[str, float], list[torch.Tensor]]:
        model.zero_grad()
        read = Read([[Part(batch) for batch in batches]], 0, {})
        computed = loop.forward_backward(model, task, read, settings, 0, Local(model, 1))
        grads = [value.grad.clone() for value in model.parameters() if value.grad is not None]
        return {name: value / computed.counts[name] for name, value in computed.sums.items()}, grads

    together = gradients([make_batch([100, 12, 7, 3])])
    apart = gradients([make_batch([100]), make_batch([12, 7, 3], [1, 2, 3])])
    assert apart[0]["mlm"] == pytest.approx(together[0]["mlm"], rel=1e-6)
    assert len(apart[1]) == len(together[1]) > 10
    for one, other in zip(apart[1], together[1], strict=True):
        assert torch.allclose(one, other, atol=1e-7, rtol=1e-5)


def test_a_loss_that_is_not_a_number_stops_the_run(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.safetensors"
    with pytest.raises(RunError, match="not a number at step") as caught:
        pretrain(folder, target, steps=40, lr=1e6, clip_norm=0.0, schedule="constant", warmup_fraction=0.0)
    assert caught.value.exit_code == 1 and not target.exists()


def test_no_steps_writes_the_initialised_model(folder: Path, tmp_path: Path) -> None:
    first = pretrain(folder, tmp_path / "a.safetensors", steps=0)
    second = pretrain(folder, tmp_path / "b.safetensors", steps=0, lr=1.0)
    tensors = [file.read(tmp_path / f"{name}.safetensors") for name in "ab"]
    assert first["sha256"] != second["sha256"]  # another option was asked for, and is recorded
    assert all(np.array_equal(tensors[0].array(name), tensors[1].array(name)) for name in tensors[0].tensors)
    other = pretrain(folder, tmp_path / "c.safetensors", steps=0, seed=1)
    found = file.read(tmp_path / "c.safetensors")
    assert other["parameters"] == first["parameters"]
    assert not np.array_equal(found.array("embeddings.token.weight"), tensors[0].array("embeddings.token.weight"))


def test_training_goes_on_from_a_model(folder: Path, tmp_path: Path) -> None:
    start = tmp_path / "a.safetensors"
    pretrain(folder, start, steps=5)
    nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "b.safetensors", steps=0, init=start, threads=1)
    before, after = file.read(start), file.read(tmp_path / "b.safetensors")
    assert all(np.array_equal(before.array(name), after.array(name)) for name in before.tensors)


def test_patience_stops_early_and_the_best_weights_are_kept(folder: Path, tmp_path: Path) -> None:
    found, listening = recorded("evaluation")
    with listening:
        summary = pretrain(
            folder,
            tmp_path / "m.safetensors",
            steps=400,
            lr=5e-2,
            schedule="constant",
            eval_every=5,
            patience=2,
            dev=folder / "dev.safetensors",
        )
    config = file.read(tmp_path / "m.safetensors").config["training"]
    scores = {record["step"]: record["score"] for record in found}
    assert summary["steps"] == max(scores) < 400
    assert config["best_step"] == max(scores, key=lambda step: (scores[step], -step))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "brt"}, 'did you mean "bert"'),
        ({"size": "tinny"}, 'did you mean "tiny"'),
        ({"objective": "clm"}, "cannot be trained with"),
        ({"model": "gpt2", "objective": "mlm"}, "cannot be trained with"),
        ({"steps": 3, "epochs": 1}, "both steps and epochs"),
        ({"max_len": 3}, "is too short for text"),
        ({"batch_tokens": 8}, "less than max-len"),
        ({"d_model": 33, "n_heads": 2}, "cannot be divided by 2 heads"),
        ({"cut": "pairs"}, "reads blocks, cut is pairs"),
        ({"cut": "blokcs"}, 'did you mean "blocks"'),
    ],
)
def test_what_is_refused(folder: Path, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        pretrain(folder, tmp_path / "m.safetensors", **{"steps": 2, **options})
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_touches_nothing(folder: Path, tmp_path: Path) -> None:
    plan = pretrain(folder, tmp_path / "m.safetensors", steps=100, dry_run=True)
    assert plan["options"]["steps"] == 100 and plan["steps"] == 100
    assert plan["parameters"] > 10_000 and plan["memory_bytes"] > plan["parameters"] * 16 and plan["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_what_it_is_and_where_it_goes_on(folder: Path, tmp_path: Path) -> None:
    """The first thing in a log, also of a run that never ends."""
    import json
    import signal

    def interrupt(record: dict[str, Any]) -> None:
        if record["event"] == "step" and record["step"] == 3:
            signal.raise_signal(signal.SIGINT)

    log, options = tmp_path / "log.jsonl", {"steps": 4, "log_every": 1}
    with events.listen(interrupt), pytest.raises(Interrupted):
        pretrain(folder, tmp_path / "m.safetensors", log=log, **options)
    pretrain(folder, tmp_path / "m.safetensors", log=log, **options)
    first, again = (record for record in map(json.loads, log.read_text().splitlines()) if record["event"] == "training")
    assert first["command"] == "pretrain" and first["output"] == "m.safetensors" and first["options"]["steps"] == 4
    assert first["parameters"] > 1000 and first["inputs"][0]["name"] == "tokens.safetensors"
    assert (first.pop("step"), again.pop("step")) == (0, 3) and first == again


def test_a_report_counts_the_operations_of_its_steps(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch's own counter does, of the products in forward and backward, which torch computes here."""
    from torch.utils.flop_counter import FlopCounterMode

    found, listening = recorded("step")
    options = {"model": "gpt2", "steps": 2, "log_every": 2, "d_model": 64, "d_ff": 256, "dropout": 0.0}
    monkeypatch.setattr("nlpkit.kernels.product.usable", lambda *tensors: False)
    with listening, FlopCounterMode(display=False) as counter:
        pretrain(folder, tmp_path / "m.safetensors", **options)
    assert found[0]["operations"] == pytest.approx(counter.get_total_flops(), rel=0.15)


@pytest.mark.parametrize(("name", "objective"), [("bert", "mlm"), ("gpt2", "clm")])
def test_operations_are_those_of_what_is_wanted(name: str, objective: str) -> None:
    """As they are counted where the products are called."""
    from nlpkit import objectives
    from nlpkit.models import family
    from nlpkit.models.sizes import config_for
    from nlpkit.training.planning import simulate
    from nlpkit.training.settings import Settings

    chosen, settings = family(name), Settings(steps=1)
    config = config_for(chosen, "tiny", vocab_size=1000, max_len=128, dropout=0.0)
    model, task = chosen.build(config, (objective,)), objectives.build(objective, VOCABULARY, OPTIONS)
    pieces = [Part(make_batch([100, 100, 40, 7])), Part(make_batch([64] * 3))]
    counted = simulate.update(model, task, pieces, settings).operations
    computed = loop.forward_backward(model, task, Read([pieces], 0, {}), settings, 0, Local(model, 1))
    assert computed.operations == pytest.approx(counted, rel=0.05)
