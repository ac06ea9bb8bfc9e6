"""Less memory: checkpointing, reduced precision, freezing, and a plan of what a run needs. Bytes are counted, not seen:
`nlpkit.training.planning.simulate` follows every tensor of an update (Q-B7, E10)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from making import OPTIONS, VOCABULARY, make_batch, token_file

import nlpkit
from nlpkit import objectives
from nlpkit.artifact import file
from nlpkit.base.errors import RunError, UserError
from nlpkit.base.world import World
from nlpkit.cli.app import run
from nlpkit.data.order import Part, Read
from nlpkit.layers.block import use_checkpointing
from nlpkit.models import family
from nlpkit.models.sizes import config_for
from nlpkit.stages import plan
from nlpkit.training import loop, precision
from nlpkit.training.adapt.freeze import freeze
from nlpkit.training.parallel.reduction import Local
from nlpkit.training.planning import simulate
from nlpkit.training.resume import Progress
from nlpkit.training.settings import Settings

SHAPE: dict[str, Any] = {
    "n_layers": 2,
    "d_model": 32,
    "n_heads": 2,
    "max_len": 32,
    "batch_tokens": 256,
    "threads": 1,
    "steps": 4,
    "dropout": 0.2,
}
LENGTHS = [3, 9, 17, 32, 60, 60, 64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("memory")
    token_file(made / "tokens.safetensors")
    toys.model(made / "bert.safetensors", n_layers=3)
    toys.texts(made / "train.jsonl", 80)
    return made


def made(name: str, objective: str, *, layers: int = 4, **more: Any) -> tuple[Any, Any]:
    chosen = family(name)
    torch.manual_seed(0)
    config = config_for(chosen, "tiny", vocab_size=1000, max_len=64, dropout=0.1, n_layers=layers, d_model=64, **more)
    return chosen.build(config, (objective,)), objectives.build(objective, VOCABULARY, OPTIONS)


def gradients(model: Any, objective: Any, settings: Settings) -> dict[str, np.ndarray]:
    use_checkpointing(model, settings.checkpointing)
    model.train()
    found = Local(model, 1)
    loop.forward_backward(model, objective, Read([[Part(make_batch(LENGTHS))]], 0, {}), settings, 0, found)
    grads = {name: value.grad.numpy().copy() for name, value in found.parameters.items() if value.grad is not None}
    model.zero_grad()
    return grads


@pytest.mark.parametrize(("name", "objective"), [("bert", "mlm"), ("gpt2", "clm")])
@pytest.mark.parametrize("precise", ["float32", "bfloat16"])
def test_checkpointing_gives_the_same_gradients_to_the_bit(name: str, objective: str, precise: str) -> None:
    """With dropout, of the residual branches and of attention, and sequences of many lengths."""
    model, task = made(name, objective)
    for block in (module for module in model.modules() if hasattr(module, "query")):
        block.dropout.rate = 0.1
    found = [gradients(model, task, Settings(steps=1, precision=precise, checkpointing=on)) for on in (False, True)]
    assert len(found[0]) > 50 and found[0].keys() == found[1].keys()
    assert all(found[0][name].tobytes() == found[1][name].tobytes() for name in found[0])


def test_checkpointing_holds_one_block_at_a_time() -> None:
    """Four layers more cost four inputs of a block, and not what four blocks compute."""
    batch = make_batch([64] * 16)
    inputs = 4 * batch.packing.total * 64

    def grown(checkpointing: bool) -> float:
        found = []
        for layers in (2, 6):
            model, task = made("bert", "mlm", layers=layers)
            settings = Settings(steps=1, checkpointing=checkpointing)
            update = simulate.update(model, task, [Part(batch)], settings)
            weights = sum(value.numel() for value in model.parameters())
            found.append((update.peak - 16 * weights) / inputs)
        return (found[1] - found[0]) / 4

    assert grown(True) < 2.5 < 15 < grown(False)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_is_simulated_is_what_is_held(checkpointing: bool) -> None:
    """The numbers of the tensors that a real backward is left with, against those of the simulated one."""
    model, task = made("gpt2", "clm")
    weights = sum(value.numel() * 4 for value in model.parameters())
    settings = Settings(steps=1, checkpointing=checkpointing)
    small, large = (simulate.update(model, task, [Part(make_batch([64] * count))], settings) for count in (8, 32))
    assert small.weights == large.weights == weights and small.persistent == pytest.approx(3 * weights, rel=1e-3)
    kept: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage()._cdata)
        sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    held = []
    for count in (8, 32):
        sizes: dict[int, int] = {}
        model.train()
        use_checkpointing(model, False)
        batch, target = task.corrupt(make_batch([64] * count), loop.Address(0, ("objective", 0)))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = task.loss(model(batch), target)
        held.append(sum(sizes.values()))
        del loss
    saved = held[1] - held[0]
    if checkpointing:
        assert large.peak - small.peak < saved / 2
    else:  # a backward holds a little more than what was saved for it
        assert saved < large.peak - small.peak < 1.3 * saved
    with torch.no_grad():
        assert all(torch.isfinite(value).all() for value in model.parameters())  # none of it touched the model


def test_frozen_layers_have_no_gradient_no_state_and_no_backward(folder: Path, tmp_path: Path) -> None:
    def trained(what: str | None) -> dict[str, np.ndarray]:
        target = tmp_path / f"{what}.safetensors"
        nlpkit.finetune(folder / "bert.safetensors", folder / "train.jsonl", target, freeze=what, threads=1, steps=3)
        found = file.read(target)
        return {name: found.array(name) for name in found.tensors}

    before = file.read(folder / "bert.safetensors")
    for what, still in (("embeddings", 0), ("2", 2), ("all", 3)):
        after = trained(what)
        same = {name for name in after if name in before.tensors and np.array_equal(before.array(name), after[name])}
        expected = {name for name in after if name.startswith("embeddings.")}
        expected |= {name for name in after for layer in range(still) if name.startswith(f"encoder.layers.{layer}.")}
        assert same == expected and len(after) - len(expected) >= 4
    for wrong in ("0", "4", "encoder", "-1"):
        with pytest.raises(UserError, match="and the model has 3 layers"):
            trained(wrong)


def test_freezing_saves_memory_and_operations() -> None:
    batch, found = make_batch([64] * 8), []
    for what in (None, "embeddings", "2", "4"):
        model, task = made("bert", "mlm")
        freeze(model, what)
        found.append(simulate.update(model, task, [Part(batch)], Settings(steps=1)))
    assert [item.peak for item in found] == sorted((item.peak for item in found), reverse=True)
    assert [item.operations for item in found] == sorted((item.operations for item in found), reverse=True)
    assert found[-1].peak < 0.5 * found[0].peak and found[-1].operations < 0.6 * found[0].operations
    assert found[-1].persistent < 0.5 * found[0].persistent


@pytest.mark.parametrize(("name", "objective"), [("bert", "mlm"), ("gpt2", "clm")])
def test_half_of_the_bits_give_nearly_the_gradients(name: str, objective: str) -> None:
    model, task = made(name, objective)
    whole = gradients(model, task, Settings(steps=1))
    half = gradients(model, task, Settings(steps=1, precision="bfloat16"))
    for key, value in whole.items():
        assert half[key].dtype == np.float32
        if ".key.bias" not in key:  # which is nothing but rounding
            assert np.linalg.norm(half[key] - value) < 0.05 * np.linalg.norm(value), key
    full, less = (
        simulate.update(model, task, [Part(make_batch([64] * 32))], Settings(steps=1, precision=kind)).peak
        for kind in ("float32", "bfloat16")
    )
    assert less < (0.85 if name == "bert" else 1.02) * full  # GPT-2's GELU has a kernel in float32


def test_precision_is_another_result_on_any_threads(folder: Path, tmp_path: Path) -> None:
    found = {}
    for kind, threads in (("float32", 1), ("bfloat16", 1), ("bfloat16", 3)):
        made = nlpkit.pretrain(
            [folder / "tokens.safetensors"],
            tmp_path / f"{kind}{threads}.safetensors",
            precision=kind,
            **{**SHAPE, "threads": threads},
        )
        found[kind, threads] = made["sha256"]
    assert found["bfloat16", 1] == found["bfloat16", 3] != found["float32", 1]


def test_float16_is_refused_where_it_is_slow(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(precision, "_has", lambda kind: kind == "bf16")
    with pytest.raises(UserError, match="precision is float16, for which this CPU has no instructions"):
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", precision="float16", **SHAPE)
    with pytest.raises(UserError, match='did you mean "bfloat16"'):
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", precision="bfloat", **SHAPE)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_in_float16_is_scaled_and_an_overflow_left_out(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(precision, "_has", lambda kind: True)  # slow is slow, and right
    scales: list[tuple[float, bool]] = []
    unscale = precision.unscale

    def watching(progress: Progress, *more: Any) -> bool:
        before = progress.scale
        scales.append((before, unscale(progress, *more)))
        return scales[-1][1]

    monkeypatch.setattr(precision, "first_scale", lambda kind: 2.0**30 if kind == "float16" else 1.0)
    monkeypatch.setattr(precision, "unscale", watching)
    options = {**SHAPE, "steps": 24, "dropout": 0.0, "save_every": 10}
    nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "half.safetensors", precision="float16", **options)
    fits = [right for _, right in scales]
    assert len(fits) == 24 and not fits[0] and sum(fits) > 4  # too large at first; halved whenever it is
    assert [scale for scale, _ in scales] == [2.0**30 / 2 ** fits[:place].count(False) for place in range(24)]
    assert file.read(tmp_path / "half.safetensors").config["training"]["steps"] == 24

    progress, weight = Progress(scale=8.0), torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.tensor([8.0, 16.0, -8.0])
    assert unscale(progress, {"w": weight}, loop.grads.row_norms) and weight.grad.tolist() == [1.0, 2.0, -1.0]
    progress.steady = precision.STEADY - 1
    assert unscale(progress, {"w": weight}, loop.grads.row_norms) and (progress.scale, progress.steady) == (16.0, 0)
    weight.grad[0] = torch.inf
    progress.scale = 1.0
    with pytest.raises(RunError, match="not a number at step 1"):
        unscale(progress, {"w": weight}, loop.grads.row_norms)


def test_a_plan_fits_a_run_in_less_memory(folder: Path, tmp_path: Path, capsys: Any) -> None:
    shape = "--n-layers 2 --d-model 64 --n-heads 2 --max-len 32 --batch-tokens 256 --steps 3 --threads 1".split()
    words = ["pretrain", str(folder / "tokens.safetensors"), "-o", str(tmp_path / "m.safetensors"), *shape]
    assert run(["plan", "--json", *words]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert asked["trained_parameters"] == asked["parameters"] > 1e5 and asked["steps"] == 3 and "tried" not in asked
    assert asked["memory_bytes"] > 1e8 and asked["seconds"] > 0 and asked["operations_per_step"] > 1e8
    assert (
        nlpkit.pretrain(
            [folder / "tokens.safetensors"],
            tmp_path / "m.safetensors",
            dry_run=True,
            n_layers=2,
            d_model=64,
            n_heads=2,
            max_len=32,
            batch_tokens=256,
            steps=3,
            threads=1,
        )["operations_per_step"]
        == asked["operations_per_step"]
    )
    assert list(tmp_path.iterdir()) == []
    assert run(["plan", *words]) == 0
    assert "all trained" in capsys.readouterr().out
    assert run(["plan", "--memory", "1M", *words]) == 2
    assert "GB even with --checkpointing --batch-tokens" in capsys.readouterr().err
    assert run(["plan", "--memory", "lots", *words]) == 2
    assert "expected a size such as 800M" in capsys.readouterr().err
    assert run(["plan", "evaluate", "x"]) == 2 and "command" in capsys.readouterr().err


def test_a_plan_is_made_by_one_process(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "world", lambda: World(0, 2))
    with pytest.raises(UserError, match="a plan is made by one process, and 2 were started"):
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", dry_run=True, **SHAPE)


def test_ways_are_tried_in_the_order_of_what_they_change() -> None:
    from nlpkit.data.order import Epochs

    lengths = np.array([40, 12, 33, 7] * 50)
    data = Epochs(lengths, lambda examples, epoch: make_batch(lengths[examples].tolist()), batch_tokens=256, seed=0)
    found = [
        (way.batch_tokens, way.accumulate, settings.checkpointing)
        for way, settings in plan.ways(data, Settings(steps=1))
    ]
    assert found == [(256, 1, False), (256, 1, True), (128, 2, False), (128, 2, True), (64, 4, False), (64, 4, True)]
    for way, _ in plan.ways(data, Settings(steps=1)):  # all make the same updates
        assert all(np.array_equal(one, other) for one, other in zip(way.plan(3), data.plan(3), strict=True))
    model, task = made("bert", "mlm", layers=2)
    bytes_ = [
        simulate.update(model, task, [Part(way.make(piece, 0)) for piece in plan.largest(way, 1)], settings).peak
        for way, settings in plan.ways(data, Settings(steps=1))
    ]
    assert bytes_[1] < bytes_[0] and bytes_[3] < bytes_[2] and bytes_[4] < bytes_[2] < bytes_[0]


@pytest.mark.parametrize(
    ("text", "size"), [("2G", 2_000_000_000), ("800M", 800_000_000), ("1.5gb", 1_500_000_000), ("2GiB", 2**31)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert plan.size_of(text) == size
    for wrong in ("", "2", "G", "-1G", "nanG", "0M"):
        with pytest.raises(UserError, match="expected a size"):
            plan.size_of(wrong)
