"""Replay: a teacher that is asked once teaches what it would teach at every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys

import nlpkit
from nlpkit.artifact import file
from nlpkit.artifact.beside import predictions
from nlpkit.base.errors import Interrupted
from nlpkit.cli.app import run
from nlpkit.compression import replay
from nlpkit.compression.losses import soft_targets, soft_targets_of_top
from nlpkit.training import loop

SHORT: dict[str, Any] = {"lr": 3e-3, "batch_tokens": 256, "threads": 1}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("replay")
    toys.model(made / "bert.safetensors", n_layers=2)
    toys.model(made / "gpt2.safetensors", "gpt2", n_layers=2)
    toys.texts(made / "train.jsonl", 60)
    (made / "corpus.txt").write_text("\n\n".join(row["text"] for row in toys.lines(made / "train.jsonl")) + "\n")
    nlpkit.tokens([made / "corpus.txt"], made / "tokens.safetensors", tokenizer=made / "bert.safetensors")
    nlpkit.tokens([made / "corpus.txt"], made / "tokens2.safetensors", tokenizer=made / "gpt2.safetensors")
    nlpkit.finetune(made / "bert.safetensors", made / "train.jsonl", made / "clf.safetensors", epochs=1, **SHORT)
    return made


def tensors(path: Path) -> dict[str, Any]:
    artifact = file.read(path)
    return {name: artifact.array(name) for name in artifact.tensors}


def distance(left: Path, right: Path) -> float:
    a, b = tensors(left), tensors(right)
    assert a.keys() == b.keys()
    # The bias of keys has no gradient but rounding, of which AdamW makes steps.
    return max(float(np.abs(a[name] - b[name]).max()) for name in a if not name.endswith("key.bias"))


def test_a_classifiers_student_has_the_same_bytes_as_without(folder: Path, tmp_path: Path) -> None:
    given = (folder / "clf.safetensors", folder / "train.jsonl")
    nlpkit.distill(*given, tmp_path / "asked.safetensors", epochs=3, weight_cos=0.0, **SHORT)
    nlpkit.distill(*given, tmp_path / "replayed.safetensors", epochs=3, replay=1, **SHORT)
    assert distance(tmp_path / "asked.safetensors", tmp_path / "replayed.safetensors") == 0


@pytest.mark.parametrize(("teacher", "tokens"), [("bert", "tokens"), ("gpt2", "tokens2")])
def test_all_predictions_teach_what_the_teacher_does(folder: Path, tmp_path: Path, teacher: str, tokens: str) -> None:
    """In the first epoch, whose masks are the same; but for rounding."""
    given = (folder / f"{teacher}.safetensors", folder / f"{tokens}.safetensors")
    nlpkit.distill(*given, tmp_path / "asked.safetensors", steps=2, weight_cos=0.0, **SHORT)
    nlpkit.distill(*given, tmp_path / "all.safetensors", steps=2, replay=10**6, **SHORT)
    nlpkit.distill(*given, tmp_path / "some.safetensors", steps=2, replay=3, **SHORT)
    assert distance(tmp_path / "asked.safetensors", tmp_path / "all.safetensors") < 1e-4
    assert distance(tmp_path / "asked.safetensors", tmp_path / "some.safetensors") > 1e-4


def test_the_teacher_runs_once_its_masks_repeat_and_nothing_is_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[int] = []
    masks: list[tuple[int, torch.Tensor]] = []
    write = replay.write_predictions
    monkeypatch.setattr(replay, "write_predictions", lambda *args: (writes.append(1), write(*args)))
    corrupt = replay.Replay.corrupt

    def heard(self: Any, batch: Any, rng: Any) -> Any:
        found = corrupt(self, batch, rng)
        parts = found[0].tokens.split(list(batch.packing.lengths))
        masks.extend(zip(batch.examples.tolist(), parts, strict=True))
        return found

    monkeypatch.setattr(replay.Replay, "corrupt", heard)
    nlpkit.distill(
        folder / "bert.safetensors",
        folder / "tokens.safetensors",
        tmp_path / "s.safetensors",
        epochs=3,
        replay=4,
        lr=1e-3,
        batch_tokens=64,
        threads=1,
    )
    assert writes == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.safetensors"]
    seen: dict[int, Any] = {}
    for example, tokens in masks:
        assert torch.equal(seen.setdefault(example, tokens), tokens)
    assert len(masks) > 2 * len(seen)


def test_a_run_that_was_stopped_finds_the_predictions_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (folder / "bert.safetensors", folder / "tokens.safetensors")
    nlpkit.distill(*files, tmp_path / "whole.safetensors", steps=8, replay=4, **SHORT)
    target = tmp_path / "s.safetensors"
    update = loop.update
    calls: list[int] = []

    def stopping(*args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise Interrupted("stopped")
        return update(*args, **named)

    monkeypatch.setattr(loop, "update", stopping)
    with pytest.raises(Interrupted):
        nlpkit.distill(*files, target, steps=8, replay=4, save_every=2, **SHORT)
    assert predictions(target).exists()
    writes: list[int] = []
    monkeypatch.setattr(replay, "write_predictions", lambda *args: writes.append(1))
    nlpkit.distill(*files, target, steps=8, replay=4, save_every=2, **SHORT)
    assert not writes
    assert target.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_the_loss_of_the_top_is_that_of_two_coarser_distributions() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(5, 9) * 2, torch.randn(5, 9) * 2
    logs = torch.log_softmax(teacher / 2, 1)
    best = logs.topk(3, dim=1)
    found = soft_targets_of_top(student, best.indices, best.values, 2.0)

    def coarse(logs_MV: torch.Tensor) -> torch.Tensor:
        kept = logs_MV.gather(1, best.indices).exp()
        return torch.cat([kept, 1 - kept.sum(1, keepdim=True)], 1)

    p, q = coarse(logs), coarse(torch.log_softmax(student / 2, 1))
    assert torch.allclose(found, 4 * (p * (p / q).log()).sum(), rtol=1e-5)
    whole = logs.topk(9, dim=1)
    every = soft_targets_of_top(student, whole.indices, whole.values, 2.0)
    assert torch.allclose(every, soft_targets(student, teacher, 2.0), rtol=1e-5) and found < every


def test_the_loss_of_the_top_has_the_same_bits_on_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    student, logs = torch.randn(300, 4001), torch.log_softmax(torch.randn(300, 4001), 1)
    best = logs.topk(8, dim=1)
    found: list[list[torch.Tensor]] = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = student.clone().requires_grad_()
            loss = soft_targets_of_top(leaf, best.indices, best.values, 2.0)
            found.append([loss.detach(), *torch.autograd.grad(loss, leaf)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(left, right) for left, right in zip(found[0], other, strict=True))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--replay", "4", "--weight-cos", "1"], "saves no hidden states"),
        (["--replay", "4", "--weight-kl", "0"], "the teacher's predictions are not used"),
    ],
)
def test_what_it_refuses(folder: Path, tmp_path: Path, given: list[str], words: str, capsys: Any) -> None:
    target = tmp_path / "s.safetensors"
    code = run(
        ["distill", str(folder / "bert.safetensors"), str(folder / "tokens.safetensors"), "-o", str(target), *given]
    )
    assert code == 2 and words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
