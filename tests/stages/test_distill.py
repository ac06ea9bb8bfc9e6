"""Distillation: it learns and agrees with its teacher, from either kind of teacher, and ends in the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from making import dying_after
from torch.nn import functional as F

import nlpkit
from nlpkit import objectives, tasks
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.cli.app import run
from nlpkit.compression import objectives as distillation
from nlpkit.compression.objectives import LanguageDistillation, TaskDistillation
from nlpkit.compression.student import spaced
from nlpkit.data import labelled
from nlpkit.exchange.opening import load
from nlpkit.stages.pretrain import vocabulary
from nlpkit.tasks.reading import reader

SHORT: dict[str, Any] = {"lr": 3e-3, "steps": 6, "batch_tokens": 256, "threads": 1}
PLAIN = {"mask_ratio": 0.4, "mask_mix": None, "masks": None, "mask_copies": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("distill")
    toys.model(made / "bert.safetensors", n_layers=3)
    toys.model(made / "gpt2.safetensors", "gpt2", n_layers=3)
    toys.texts(made / "train.jsonl", 400)
    toys.texts(made / "dev.jsonl", 100, seed=1)
    rows = [{"text": row["text"]} for row in toys.lines(made / "train.jsonl")]
    (made / "unlabelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (made / "corpus.txt").write_text("\n".join(row["text"] for row in rows) + "\n")
    nlpkit.tokens([made / "corpus.txt"], made / "tokens.safetensors", tokenizer=made / "bert.safetensors")
    nlpkit.finetune(
        made / "bert.safetensors",
        made / "train.jsonl",
        made / "clf.safetensors",
        lr=2e-3,
        epochs=12,
        batch_tokens=256,
        threads=1,
    )
    return made


pytestmark = pytest.mark.usefixtures("one_thread")


def same(left: Path, right: Path, ours: str, theirs: str) -> bool:
    return bool(np.array_equal(file.read(left).array(ours), file.read(right).array(theirs)))


def test_layers_are_every_other_one_with_both_ends() -> None:
    assert spaced(12, 6) == [0, 2, 4, 7, 9, 11]  # DistilBERT's (Sanh et al. 2019, their code)
    assert spaced(4, 2) == [0, 3] and spaced(3, 3) == [0, 1, 2] and spaced(5, 1) == [0]


@pytest.mark.parametrize("teacher", ["bert", "gpt2", "clf"])
def test_a_student_begins_with_its_teachers_layers(folder: Path, tmp_path: Path, teacher: str) -> None:
    data = folder / ("train.jsonl" if teacher == "clf" else "tokens.safetensors")
    made, given = tmp_path / "s.safetensors", folder / f"{teacher}.safetensors"
    nlpkit.distill(given, data, made, n_layers=2, steps=0, threads=1)
    stack = "decoder" if teacher == "gpt2" else "encoder"
    for name in file.read(made).tensors:
        source = name.replace(f"{stack}.layers.1.", f"{stack}.layers.2.")
        assert same(made, given, name, source), name
    assert load(made).config["n_layers"] == 2
    assert file.read(made).config.get("task") == file.read(given).config.get("task")


@pytest.mark.parametrize(("labels", "reached"), [(True, 0.95), (False, 0.95)])
def test_a_student_agrees_with_its_teacher_through_the_command_line(
    folder: Path, tmp_path: Path, labels: bool, reached: float, capsys: Any
) -> None:
    target, log = tmp_path / "s.safetensors", tmp_path / "log.jsonl"
    data = folder / ("train.jsonl" if labels else "unlabelled.jsonl")
    words = [
        *"--n-layers 1 --lr 3e-3 --epochs 6 --batch-tokens 256 --threads 1 --log-every 1 --log".split(),
        str(log),
    ]
    if not labels:
        words.append("--no-labels")
    assert (
        run(
            [
                "distill",
                str(folder / "clf.safetensors"),
                str(data),
                "-o",
                str(target),
                "--dev",
                str(folder / "dev.jsonl"),
                *words,
            ]
        )
        == 0
    )
    steps = [record for record in toys.lines(log) if record["event"] == "step"]
    assert set(steps[0]["losses"]) == ({"kl", "hard", "cos"} if labels else {"kl", "cos"})
    for name in steps[0]["losses"]:
        first, last = (np.mean([step["losses"][name] for step in part]) for part in (steps[:5], steps[-5:]))
        assert last < 0.8 * first, name
    capsys.readouterr()
    assert (
        run(
            ["evaluate", str(target), str(folder / "dev.jsonl"), "--against", str(folder / "clf.safetensors"), "--json"]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["difference"]["agreement"]["value"] > reached


@pytest.mark.parametrize("teacher", ["bert", "gpt2"])
def test_language_is_learnt_from_a_teacher(folder: Path, tmp_path: Path, teacher: str) -> None:
    """A random teacher knows nothing of the text, so that what is learnt is its answers: the divergence falls."""
    losses: list[dict[str, float]] = []
    listen = nlpkit.base.events.listen(
        lambda record: losses.append(record["losses"]) if record["event"] == "step" else None
    )
    options = {"lr": 3e-3, "steps": 60, "batch_tokens": 256, "threads": 1, "log_every": 1, "weight_hard": 0.0}
    with listen:
        nlpkit.distill(
            folder / f"{teacher}.safetensors",
            folder / "tokens.safetensors",
            tmp_path / "s.safetensors",
            n_layers=1,
            dropout=0.0,
            **options,
        )
    assert set(losses[0]) == {"kl", "cos"}
    for name in ("kl", "cos"):
        assert np.mean([loss[name] for loss in losses[-10:]]) < 0.8 * np.mean([loss[name] for loss in losses[:5]])


def language(folder: Path, name: str, weights: dict[str, float], temperature: float) -> tuple[Any, Any, Any, Any]:
    """A student that is not its teacher, and a batch: (student, objective, batch, target)."""
    teacher = load(folder / f"{name}.safetensors")
    base = objectives.build(teacher.family.objective, vocabulary(teacher.need_tokenizer()), PLAIN)
    objective = LanguageDistillation(teacher.model, base, temperature, weights)
    path = folder / f"other-{name}.safetensors"
    student = load(path if path.exists() else toys.model(path, name, seed=7)).model
    _, encoder = reader(load(folder / "clf.safetensors"), {})
    texts = [row["text"] for row in toys.lines(folder / "dev.jsonl")[:30]]
    batch, target = objective.corrupt(encoder.encode(texts, None).batch(np.arange(30)), Address(0, ("objective", 0)))
    return student, objective, batch, target


@pytest.mark.parametrize("name", ["bert", "gpt2"])
@pytest.mark.parametrize(("chunk", "temperature"), [(1024, 1.0), (1024, 2.0), (16, 2.0), (16, 4.0)])
def test_losses_are_those_of_the_textbook(
    folder: Path, name: str, temperature: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sanh et al. 2019, section 2: KL of softened answers times T^2, cross-entropy, 1 - cosine; gradients too."""
    monkeypatch.setattr(distillation, "CHUNK", chunk)
    weights = {"kl": 5.0, "hard": 2.0, "cos": 1.0}
    student, objective, batch, target = language(folder, name, weights, temperature)
    head = objective.base.heads[0]
    terms = objective.loss(student(batch), target)
    sum(weights[term] * value for term, value in terms.items()).backward()
    gradients = {key: value.grad.clone() for key, value in student.named_parameters() if value.grad is not None}
    student.zero_grad()

    output, places = student(batch), target.fields["positions"]
    with torch.no_grad():
        answer = objective.teacher(batch)
        soft = torch.softmax(answer.heads[head](answer.hidden[places]) / temperature, 1)
    logits = output.heads[head](output.hidden[places])
    known = {
        "kl": temperature**2 * (soft * (soft.log() - torch.log_softmax(logits / temperature, 1))).sum(),
        "hard": F.cross_entropy(logits, target.fields["labels"], reduction="sum"),
        "cos": sum(
            1 - left @ right / left.norm() / right.norm()
            for left, right in zip(output.hidden, answer.hidden, strict=True)
        ),
    }
    assert target.counts == {"kl": len(places), "hard": len(places), "cos": batch.packing.total}
    for term, value in known.items():
        assert terms[term].item() == pytest.approx(torch.as_tensor(value).item(), rel=1e-4), term
    torch.as_tensor(sum(weights[term] * value for term, value in known.items())).backward()
    largest = max(float(value.abs().max()) for value in gradients.values())
    for key, value in student.named_parameters():
        if value.grad is not None:
            assert torch.allclose(gradients[key], value.grad, rtol=1e-3, atol=1e-6 * largest), key


@pytest.mark.parametrize("without", ["kl", "hard", "cos"])
@pytest.mark.parametrize("teacher", ["bert", "clf"])
def test_each_weight_can_be_zero(folder: Path, tmp_path: Path, teacher: str, without: str) -> None:
    found: list[dict[str, float]] = []
    listen = nlpkit.base.events.listen(
        lambda record: found.append(record["losses"]) if record["event"] == "step" else None
    )
    data = folder / ("train.jsonl" if teacher == "clf" else "tokens.safetensors")
    with listen:
        nlpkit.distill(
            folder / f"{teacher}.safetensors",
            data,
            tmp_path / "s.safetensors",
            n_layers=1,
            **{f"weight_{without}": 0.0},
            **SHORT,
        )
    assert found and all(set(losses) == {"kl", "hard", "cos"} - {without} for losses in found)


@pytest.mark.parametrize("cos", [1.0, 0.0])
@pytest.mark.parametrize("teacher", ["bert", "clf"])
def test_a_student_may_have_another_width(folder: Path, tmp_path: Path, teacher: str, cos: float) -> None:
    data = folder / ("train.jsonl" if teacher == "clf" else "tokens.safetensors")
    made = tmp_path / "s.safetensors"
    summary = nlpkit.distill(folder / f"{teacher}.safetensors", data, made, size="tiny", weight_cos=cos, **SHORT)
    config = load(made).config
    assert (config["d_model"], config["n_heads"], config["d_ff"], config["n_layers"]) == (128, 2, 512, 2)
    assert not any("distill" in name for name in file.read(made).tensors)
    assert summary["parameters"] == sum(value.numel() for value in load(made).model.parameters())


def test_a_size_of_the_teachers_width_keeps_its_shape(folder: Path, tmp_path: Path) -> None:
    """A teacher whose feed-forward is not 4 x d_model has layers that a student of its width can begin with."""
    teacher = toys.model(tmp_path / "t.safetensors", d_model=128, n_layers=4)
    made = tmp_path / "s.safetensors"
    nlpkit.distill(teacher, folder / "tokens.safetensors", made, size="tiny", steps=0, threads=1)
    assert load(made).config["d_ff"] == 256 and load(made).config["n_layers"] == 2
    assert same(made, teacher, "encoder.layers.1.feedforward.up.weight", "encoder.layers.3.feedforward.up.weight")


def test_a_student_may_begin_with_another_model(folder: Path, tmp_path: Path) -> None:
    narrow = toys.model(tmp_path / "narrow.safetensors", d_model=16, n_layers=1, seed=3)
    made = tmp_path / "s.safetensors"
    nlpkit.distill(folder / "bert.safetensors", folder / "tokens.safetensors", made, init=narrow, steps=0, threads=1)
    assert all(same(made, narrow, name, name) for name in file.read(made).tensors)
    nlpkit.distill(folder / "clf.safetensors", folder / "train.jsonl", tmp_path / "c.safetensors", init=narrow, **SHORT)
    assert load(tmp_path / "c.safetensors").config["task"]["labels"] == sorted(toys.KEYS)


def test_a_classifier_of_other_labels_is_not_gone_on_with(folder: Path, tmp_path: Path) -> None:
    other = toys.texts(tmp_path / "other.jsonl", 60, classes=("comedy", "history"))
    begun = tmp_path / "begun.safetensors"
    nlpkit.finetune(folder / "bert.safetensors", other, begun, steps=2, threads=1)
    made = tmp_path / "s.safetensors"
    nlpkit.distill(folder / "clf.safetensors", folder / "train.jsonl", made, init=begun, **SHORT)
    assert load(made).model.heads["classify"].weight.shape[0] == 3


def test_temperature_changes_what_is_learnt(folder: Path, tmp_path: Path) -> None:
    found = set()
    for temperature in (1.0, 2.0):
        target = tmp_path / f"{temperature}.safetensors"
        nlpkit.distill(folder / "clf.safetensors", folder / "train.jsonl", target, temperature=temperature, **SHORT)
        found.add(file.read(target).array("heads.classify.weight").tobytes())
    assert len(found) == 2


def test_the_task_s_losses_are_those_of_the_textbook(folder: Path) -> None:
    teacher = load(folder / "clf.safetensors")
    task, encoder = reader(teacher, {})
    student = load(toys.model(folder / "student.safetensors", seed=5)).model
    from nlpkit.models.load import add_classifier

    add_classifier(student, 3)
    student.eval()
    sequences = task.encode(labelled.read(folder / "dev.jsonl"), encoder)
    objective = TaskDistillation(teacher.model, task, 2.0, {"kl": 5.0, "hard": 2.0, "cos": 1.0})
    batch, target = objective.corrupt(sequences.batch(np.arange(20)), Address(0, ("objective", 0)))
    output, answer = student(batch), teacher.model(batch)
    terms = objective.loss(output, target)
    ours, theirs = task.scores(output), task.scores(answer)
    soft = torch.softmax(theirs / 2, 1)
    assert terms["kl"].item() == pytest.approx(4 * (soft * (soft.log() - torch.log_softmax(ours / 2, 1))).sum().item())
    labels = torch.from_numpy(sequences.labels["classify"][:20])
    assert terms["hard"].item() == pytest.approx(F.cross_entropy(ours, labels, reduction="sum").item(), rel=1e-5)
    assert target.counts == {"kl": 20, "hard": 20, "cos": batch.packing.total}
    assert tasks.kind("classify").restore(teacher.config["task"]) == task


@pytest.mark.parametrize("teacher", ["bert", pytest.param("gpt2", marks=pytest.mark.slow), "clf"])
def test_killed_anywhere_it_ends_in_the_same_bytes(folder: Path, tmp_path: Path, teacher: str) -> None:
    data = folder / ("train.jsonl" if teacher == "clf" else "tokens.safetensors")
    options = {**SHORT, "save_every": 2, "dropout": 0.3}
    if teacher == "bert":  # the layer that widens is no part of the result, and of every state
        options["init"] = toys.model(tmp_path / "narrow.safetensors", d_model=16, n_layers=1)

    def teach(target: Path, **more: Any) -> str:
        return str(nlpkit.distill(folder / f"{teacher}.safetensors", data, target, **{**options, **more})["sha256"])

    whole = teach(tmp_path / "whole.safetensors")
    assert teach(tmp_path / "two.safetensors", threads=2) == whole
    for cut in (1, 3):
        target = tmp_path / f"cut{cut}.safetensors"
        with dying_after(cut):
            teach(target)
        assert not target.exists() and teach(target) == whole


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("bert", "train.jsonl", {}, "is not a token file, and the teacher has no classifier"),
    ("clf", "tokens.safetensors", {}, "is a tokens file; a fine-tuned teacher teaches on texts"),
    ("bert", "tokens.safetensors", {"text": "text"}, "--text changes nothing: a pre-trained teacher"),
    ("bert", "tokens.safetensors", {"labels": False}, "--no-labels changes nothing"),
    ("bert", "tokens.safetensors", {"on_error": "skip"}, "--on-error changes nothing"),
    ("gpt2", "tokens.safetensors", {"mask_ratio": 0.2}, "--mask-ratio changes nothing: the teacher fills no masks"),
    ("clf", "train.jsonl", {"mask_mix": "80/10/10"}, "--mask-mix changes nothing: the teacher is a classifier"),
    ("clf", "train.jsonl", {"metric": "accuracy"}, "--metric changes nothing"),
    ("clf", "train.jsonl", {"patience": 1}, "--patience changes nothing"),
    ("clf", "train.jsonl", {"labels": False, "weight_hard": 1.0}, "weight-hard is 1.0, but the labels are not read"),
    ("clf", "train.jsonl", {"labels": False, "weight_kl": 0.0, "weight_cos": 0.0}, "all weights are 0"),
    ("clf", "train.jsonl", {"weight_kl": -1.0}, "weight-kl is -1.0"),
    ("clf", "train.jsonl", {"weight_cos": float("nan")}, "weight-cos is nan"),
    ("clf", "train.jsonl", {"temperature": 0.0}, "temperature is 0.0"),
    ("clf", "train.jsonl", {"n_layers": 4}, "n-layers is 4, expected 1 to 3"),
    ("clf", "train.jsonl", {"size": "tinny"}, 'did you mean "tiny"'),
    ("clf", "unlabelled.jsonl", {}, 'no field "label"'),
    ("clf", "train.jsonl", {"init": "gpt2.safetensors"}, "is a gpt2 model, the teacher bert"),
    ("clf", "train.jsonl", {"init": "bert.safetensors", "n_layers": 1}, "--n-layers changes nothing"),
    ("bert", "tokens.safetensors", {"init": "clf.safetensors"}, 'has no head "mlm"'),
    ("clf", "train.jsonl", {"init": "short.safetensors"}, "reads at most 8 tokens"),
    ("clf", "train.jsonl", {"init": "bare.safetensors"}, "has no pooler"),
    ("clf", "train.jsonl", {"max_len": 99}, "expected 4 to 24"),
    ("clf", "farce.jsonl", {}, 'label "farce" is unknown'),
    ("bert", "foreign.safetensors", {}, "than the teacher's"),
]


@pytest.fixture(scope="module")
def wrong(folder: Path) -> Path:
    from making import token_file

    token_file(folder / "foreign.safetensors", documents=5)
    toys.model(folder / "short.safetensors", max_len=8)
    kept = file.read(folder / "bert.safetensors")
    tensors = {name: kept.array(name) for name in kept.tensors if not name.startswith("pooler.")}
    file.write(
        folder / "bare.safetensors",
        tensors,
        kind="model",
        config={**kept.config, "pooler": False},
        tokenizer=kept.tokenizer,
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    (folder / "farce.jsonl").write_text('{"text": "x", "label": "farce"}\n')
    return folder


@pytest.mark.parametrize(("teacher", "data", "options", "message"), REFUSED)
def test_what_is_refused(
    wrong: Path, tmp_path: Path, teacher: str, data: str, options: dict[str, Any], message: str
) -> None:
    given = {name: wrong / value if name == "init" else value for name, value in options.items()}
    with pytest.raises(UserError) as caught:
        nlpkit.distill(wrong / f"{teacher}.safetensors", wrong / data, tmp_path / "s.safetensors", **given)
    assert message in caught.value.what
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_the_teacher_and_touches_nothing(folder: Path, tmp_path: Path) -> None:
    teacher, target = folder / "bert.safetensors", tmp_path / "s.safetensors"
    plan = nlpkit.distill(teacher, folder / "tokens.safetensors", target, n_layers=1, steps=3, dry_run=True)
    alone = nlpkit.pretrain(
        [folder / "tokens.safetensors"],
        target,
        n_layers=1,
        d_model=32,
        n_heads=2,
        d_ff=64,
        max_len=24,
        steps=3,
        dry_run=True,
    )
    assert plan["parameters"] == alone["parameters"] < plan["teacher_parameters"]
    assert plan["operations_per_step"] > alone["operations_per_step"]  # the memory is that of the process: test_memory
    assert list(tmp_path.iterdir()) == []


def test_the_teacher_is_not_overwritten(folder: Path) -> None:
    teacher = folder / "clf.safetensors"
    before = teacher.read_bytes()
    with pytest.raises(UserError, match=r"is written \(output\), and the same command reads it \(teacher\)"):
        nlpkit.distill(teacher, folder / "train.jsonl", teacher, force=True, steps=1)
    assert teacher.read_bytes() == before


def test_a_pre_trained_student_is_measured_and_kept_at_its_best(folder: Path, tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    with nlpkit.base.events.listen(lambda record: found.append(record) if record["event"] == "evaluation" else None):
        nlpkit.distill(
            folder / "bert.safetensors",
            folder / "tokens.safetensors",
            tmp_path / "s.safetensors",
            dev=folder / "tokens.safetensors",
            eval_every=2,
            **SHORT,
        )
    assert [record["step"] for record in found] == [2, 4, 6]
    best = min(found, key=lambda record: record["metrics"]["dev_mlm_loss"])
    assert file.read(tmp_path / "s.safetensors").config["training"]["best_step"] == best["step"]


def test_a_student_of_a_hugging_face_teacher_opens_there_again(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    nlpkit.export(folder / "clf.safetensors", tmp_path / "teacher")
    made = tmp_path / "s.safetensors"
    nlpkit.distill(tmp_path / "teacher", folder / "train.jsonl", made, n_layers=1, **SHORT)
    nlpkit.export(made, tmp_path / "student")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "student").eval()
    task, encoder = reader(load(made), {})
    texts = [row["text"] for row in toys.lines(folder / "dev.jsonl")[:5]]
    for number, text in enumerate(texts):
        batch = encoder.encode(texts, None).batch(np.array([number]))
        with torch.no_grad():
            logits = theirs(input_ids=batch.tokens[None]).logits
            assert torch.allclose(task.scores(load(made).model(batch)), logits, atol=1e-5), text
    assert theirs.config.id2label == dict(enumerate(sorted(toys.KEYS)))
