"""Every flag of `finetune` on every family, those of CONTRIBUTING and of tests too: it does what it says, or it is
refused with a reason. What changes bytes changes them, what does not does not."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError

PLAIN: dict[str, Any] = {"steps": 3, "batch_tokens": 200, "threads": 1, "lr": 1e-2}
# What is tried of each flag, and with which others; and whether it changes the weights.
CHANGES: dict[str, dict[str, Any]] = {
    "pair": {"pair": "other"},
    "pooling": {"pooling": "mean"},
    "max_len": {"max_len": 8},
    "dropout": {"dropout": 0.5},
    "steps": {"steps": 4},
    "epochs": {"epochs": 1, "steps": None},
    "batch_tokens": {"batch_tokens": 60},
    "accumulate": {"accumulate": 2},
    "optimizer": {"optimizer": "muon"},
    "lr": {"lr": 2e-2},
    "schedule": {"schedule": "constant"},
    "warmup_fraction": {"warmup_fraction": 0.5},
    "decay_fraction": {"decay_fraction": 0.7, "schedule": "wsd"},
    "final_lr_fraction": {"final_lr_fraction": 0.5},
    "momentum": {"momentum": 0.5, "optimizer": "muon"},
    "beta1": {"beta1": 0.5},
    "beta2": {"beta2": 0.5},
    "adam_eps": {"adam_eps": 1e-3},
    "weight_decay": {"weight_decay": 0.5},
    "clip_norm": {"clip_norm": 0.01},
    "seed": {"seed": 1},
    "parts": {"parts": 2},
    "precision": {"precision": "bfloat16"},
    "text": {"text": "other"},
}
SAME: dict[str, dict[str, Any]] = {
    "label": {"label": "label"},
    "on_error": {"on_error": "skip"},
    "task": {"task": "classify"},
    "device": {"device": "auto"},
    "checkpointing": {"checkpointing": True},
    "threads": {"threads": 2},
    "log_every": {"log_every": 1},
    "save_every": {"save_every": 1},
    "force": {"force": True},
    "fresh": {"fresh": True},
    "format": {"format": "jsonl"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "compile": {"compile": True},
    "parallel": {"parallel": "ddp"},
    "eval_every": {"eval_every": 1},
    "patience": {"patience": 1},
    "metric": {"metric": "loss"},
}
OTHERWISE = ("freeze", "dev", "log", "dry_run")  # have a test below
FILES = ("model", "train", "output")


def test_every_flag_is_tried() -> None:
    flags = set(inspect.signature(nlpkit.finetune).parameters) - set(FILES)
    assert flags == CHANGES.keys() | SAME.keys() | REFUSED.keys() | set(OTHERWISE)


# The flags one by one: always on the family of most of them, and on the one whose blocks are of another kind.
SLOW = [name for name in families.NAMES if name not in ("bert", "shared")]
TRIED = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in families.NAMES]


@pytest.fixture(params=families.NAMES)
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    families.add(monkeypatch, tmp_path)
    toys.texts(tmp_path / "train.jsonl", 30, other="his sword and horse")
    return toys.model(tmp_path / "model.safetensors", request.param, n_layers=3)


def weights(model: Path, name: str, **options: Any) -> dict[str, np.ndarray]:
    output = model.with_name(f"{name}.safetensors")
    nlpkit.finetune(model, model.with_name("train.jsonl"), output, **{**PLAIN, **options})
    artifact = file.read(output)
    return {name: np.array(artifact.array(name)) for name in artifact.tensors}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> list[str]:
    assert left.keys() == right.keys()
    return [name for name in left if left[name].tobytes() == right[name].tobytes()]


@pytest.mark.parametrize("model", TRIED, indirect=True)
def test_every_flag_does_what_it_says_or_is_refused(model: Path) -> None:
    plain = weights(model, "plain")
    bases = {
        name: weights(model, f"base-{name}", **{key: value for key, value in options.items() if key != name})
        for name, options in CHANGES.items()
        if len(options) > 1 and name != "epochs"
    }
    for name, options in CHANGES.items():
        assert len(same(weights(model, name, **options), bases.get(name, plain))) < len(plain), name
    for name, options in SAME.items():
        assert len(same(weights(model, name, **options), plain)) == len(plain), name
    for name, options in REFUSED.items():
        with pytest.raises(UserError, match=name.replace("_", "[-_]")):
            weights(model, name, **options)
    log = model.with_name("run.jsonl")
    assert len(same(weights(model, "log", log=log), plain)) == len(plain) and log.stat().st_size
    dev = {"dev": model.with_name("train.jsonl"), "patience": 1, "eval_every": 1, "metric": "loss"}
    assert weights(model, "dev", **dev).keys() == plain.keys()


def test_freezing_leaves_what_it_names(model: Path) -> None:
    artifact = file.read(model)
    before = {name: np.array(artifact.array(name)) for name in artifact.tensors if not name.startswith("heads")}
    blocks = 1 + max(int(name.split(".")[2]) for name in before if ".layers." in name)
    for what in ("embeddings", *map(str, range(1, blocks + 1)), "all"):
        after = weights(model, f"frozen-{what}", freeze=what)
        kept = {name for name in before if before[name].tobytes() == after[name].tobytes()}
        layers = 0 if what == "embeddings" else blocks if what == "all" else int(what)
        expected = {name for name in before if name.startswith("embeddings.")}
        expected |= {name for name in before if ".layers." in name and int(name.split(".")[2]) < layers}
        learning = {name for name in before if ".layers." in name} - expected
        assert expected <= kept and not learning & kept - {name for name in kept if name.endswith("key.bias")}, what
    for wrong in ("0", str(blocks + 1), "none"):
        with pytest.raises(UserError, match=rf"freeze is '{wrong}', and the model has {blocks} layers"):
            weights(model, "wrong", freeze=wrong)


def test_a_plan_is_made_with_every_flag(model: Path) -> None:
    """Of memory and operations, on tensors without numbers; checkpointing holds less and computes more."""

    def planned(**options: Any) -> dict[str, Any]:
        output = model.with_name("planned.safetensors")
        return nlpkit.finetune(model, model.with_name("train.jsonl"), output, dry_run=True, **{**PLAIN, **options})

    plain, again = planned(), planned(checkpointing=True)
    assert again["operations_per_step"] > 1.1 * plain["operations_per_step"]
    more = planned(freeze="1", precision="bfloat16", optimizer="muon", accumulate=2, parts=2)
    assert more["operations_per_step"] > 0 and more["trained_parameters"] < plain["trained_parameters"]


def test_a_family_without_a_stack_refuses_what_needs_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nlpkit.layers import block

    model = toys.model(tmp_path / "model.safetensors")
    toys.texts(tmp_path / "train.jsonl", 30)
    for module in (block, nlpkit.training.adapt.freeze, nlpkit.stages.plan):
        monkeypatch.setattr(module, "stacks", lambda network: [])
    for options in ({"checkpointing": True}, {"freeze": "1"}):
        with pytest.raises(UserError, match="stack of blocks"):
            weights(model, "refused", **options)
    assert weights(model, "plain")
