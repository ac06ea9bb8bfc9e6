"""Pre-training through the command line: what is learnt, what each option does, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import OPTIONS, VOCABULARY, make_batch, sentences_file, token_file, vector_file

import nlpkit
from nlpkit import objectives
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.base.seeds import Address
from nlpkit.cli.app import run
from nlpkit.data.framing import ENCODER, framing
from nlpkit.data.pretraining import pairs
from nlpkit.data.tokenfile import TokenFiles
from nlpkit.exchange.opening import load
from nlpkit.tokenizers.base import DEFAULT_SPECIAL
from nlpkit.tokenizers.word import Word
from nlpkit.training import loop
from nlpkit.training.settings import Settings

SHAPE = ["--threads", "1", "--n-layers", "1", "--d-model", "32", "--n-heads", "2", "--max-len", "32"]
SMALL: dict[str, Any] = {
    "n_layers": 1,
    "d_model": 16,
    "n_heads": 2,
    "max_len": 32,
    "batch_tokens": 256,
    "threads": 1,
    "steps": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pretrain")
    token_file(made / "tokens.safetensors")
    token_file(made / "dev.safetensors", documents=20, seed=5)
    nlpkit.pretrain([made / "tokens.safetensors"], made / "bert.safetensors", **SMALL)
    nlpkit.pretrain([made / "tokens.safetensors"], made / "gpt2.safetensors", **SMALL, model="gpt2")
    return made


def words_file(path: Path, documents: list[list[list[int]]], n_words: int) -> Path:
    """A token file of sentences of word numbers."""
    made = Word(
        [*dict.fromkeys(DEFAULT_SPECIAL.values()), *(f"w{number}" for number in range(n_words))], DEFAULT_SPECIAL
    )
    first = made.vocab_size - n_words
    sentences = [np.array(sentence) + first for document in documents for sentence in document]
    document_ends = np.cumsum([len(document) for document in documents])
    return sentences_file(path, made, sentences, document_ends, token_bytes=3)


FIRST = [0.6, 0.1, 0.1, 0.1, 0.1]


def topics(path: Path, documents: int, seed: int) -> Path:
    """Documents that speak of one of four topics each, five words a topic: whether B follows A can be seen."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(documents):
        topic = int(rng.integers(4))
        made.append([(5 * topic + rng.choice(5, int(rng.integers(4, 8)), p=FIRST)).tolist() for _ in range(8)])
    return words_file(path, made, 20)


MOVES = np.array([[0.0, 0.9, 0.1, 0.0], [0.0, 0.0, 0.5, 0.5], [0.7, 0.0, 0.0, 0.3], [1.0, 0.0, 0.0, 0.0]])


def markov(path: Path, tokens: int, seed: int) -> Path:
    """One long document of a Markov chain."""
    rng = np.random.default_rng(seed)
    state, made = 0, []
    for _ in range(tokens):
        made.append(state)
        state = int(rng.choice(4, p=MOVES[state]))
    return words_file(path, [[made]], 4)


def entropy() -> float:
    """Nats a token of the chain: the moves' entropies, by how often each state is visited."""
    values, vectors = np.linalg.eig(MOVES.T)
    visits = np.real(vectors[:, np.argmax(np.real(values))])
    logs = np.log(MOVES, out=np.zeros_like(MOVES), where=MOVES > 0)
    return float(-(visits / visits.sum()) @ (MOVES * logs).sum(1))


def last_evaluation(log: Path) -> dict[str, float]:
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return [record["metrics"] for record in records if record["event"] == "evaluation"][-1]


def test_a_causal_model_comes_near_the_entropy_of_its_source(tmp_path: Path, capsys: Any) -> None:
    tokens, held = markov(tmp_path / "t.safetensors", 6000, 0), markov(tmp_path / "d.safetensors", 3000, 1)
    target = tmp_path / "gpt2.safetensors"
    assert (
        run(
            [
                "pretrain",
                str(tokens),
                "-o",
                str(target),
                "--model",
                "gpt2",
                *SHAPE,
                *"--steps 150 --lr 1e-2 --dropout 0 --batch-tokens 512".split(),
            ]
        )
        == 0
    )
    assert run(["evaluate", str(target), str(held), "--json", "--stride", "8", "--threads", "1"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert entropy() < 0.6
    assert entropy() - 0.05 < metrics["loss"]["value"] < entropy() + 0.05


def test_masked_words_and_next_sentences_are_learnt(tmp_path: Path, capsys: Any) -> None:
    tokens, held = topics(tmp_path / "t.safetensors", 120, 0), topics(tmp_path / "d.safetensors", 60, 1)
    target, log = tmp_path / "bert.safetensors", tmp_path / "log.jsonl"
    words = ["--steps", "300", "--lr", "5e-3", "--dropout", "0", "--batch-tokens", "1024", "--log", str(log)]
    assert (
        run(["pretrain", str(tokens), "-o", str(target), *SHAPE, "--objective", "mlm+nsp", "--dev", str(held), *words])
        == 0
    )
    assert last_evaluation(log)["dev_nsp_loss"] < 0.55 < np.log(2)
    made = load(target)
    assert made.tokenizer is not None
    data = pairs(TokenFiles.open([held]), framing(ENCODER, made.tokenizer), max_len=32, batch_tokens=4096, seed=9)
    batch = data.make(np.arange(len(data.lengths)), 0)
    with torch.no_grad():
        output = made.model(batch)
        right = output.heads["nsp"](output.pooled).argmax(1) == batch.labels["nsp"]
    # Another document speaks of the same topic once in four: about an eighth of the pairs cannot be told.
    assert right.float().mean() > 0.75 and 0.3 < batch.labels["nsp"].float().mean() < 0.75
    capsys.readouterr()
    assert run(["evaluate", str(target), str(held), "--json", "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    beside = found["baselines"]["unigram"]["mlm_accuracy"]
    assert found["metrics"]["mlm_accuracy"]["low"] > beside["high"] + 0.2


def test_a_model_goes_on_from_another(folder: Path, tmp_path: Path) -> None:
    tokens, start = folder / "tokens.safetensors", folder / "bert.safetensors"
    options = {"steps": 30, "lr": 5e-3, "batch_tokens": 512, "threads": 1, "log_every": 1}
    losses: list[float] = []
    listen = nlpkit.base.events.listen(
        lambda record: losses.append(record["loss"]) if record["event"] == "step" else None
    )
    with listen:
        nlpkit.pretrain([tokens], tmp_path / "a.safetensors", **options, init=start)
        nlpkit.pretrain([tokens], tmp_path / "b.safetensors", **options, init=tmp_path / "a.safetensors")
    assert losses[30] < losses[0] - 0.3  # the second begins where the first ended
    made = file.read(tmp_path / "b.safetensors")
    assert made.config["max_len"] == 32 and made.config["d_model"] == 16
    assert [item["role"] for item in made.provenance["inputs"]] == ["tokens", "init"]
    nlpkit.pretrain([tokens], tmp_path / "c.safetensors", init=start, steps=0, dropout=0.3, threads=1)
    changed = file.read(tmp_path / "c.safetensors")
    assert changed.config["dropout"] == 0.3
    before = file.read(start)
    assert all(np.array_equal(before.array(name), changed.array(name)) for name in before.tensors)


def test_no_steps_write_the_initialised_model(folder: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "m.safetensors"
    assert run(["pretrain", str(folder / "tokens.safetensors"), "-o", str(target), "--steps", "0", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    made = load(target)
    assert summary["steps"] == 0 and made.config["training"]["steps"] == 0
    assert (made.config["n_layers"], made.config["d_model"], made.config["max_len"]) == (2, 128, 128)
    weight = made.model.state_dict()["encoder.layers.0.attention.query.weight"]
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_the_best_of_dev_is_kept(folder: Path, tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    options = {**SMALL, "steps": 60, "eval_every": 10, "lr": 3e-2, "schedule": "constant", "mask_ratio": 0.3}
    with nlpkit.base.events.listen(lambda record: found.append(record) if record["event"] == "evaluation" else None):
        nlpkit.pretrain(
            [folder / "tokens.safetensors"], tmp_path / "m.safetensors", dev=folder / "dev.safetensors", **options
        )
    best = min(found, key=lambda record: record["metrics"]["dev_mlm_loss"])
    assert file.read(tmp_path / "m.safetensors").config["training"]["best_step"] == best["step"]
    measured = nlpkit.evaluate(tmp_path / "m.safetensors", folder / "dev.safetensors", mask_ratio=0.3)
    assert measured["metrics"]["loss"]["value"] == pytest.approx(best["metrics"]["dev_mlm_loss"], rel=1e-6)


CHANGES: dict[str, dict[str, Any]] = {
    "model": {"model": "gpt2"},
    "size": {"size": "mini", "n_layers": None, "d_model": None, "n_heads": None},
    "objective": {"objective": "mlm+nsp"},
    "n_layers": {"n_layers": 2},
    "d_model": {"d_model": 32},
    "n_heads": {"n_heads": 1},
    "d_ff": {"d_ff": 24},
    "max_len": {"max_len": 24},
    "dropout": {"dropout": 0.4},
    "short_fraction": {"short_fraction": 0.5},
    "precision": {"precision": "bfloat16"},
    "cut": {"cut": "sentences"},
    "mask_ratio": {"mask_ratio": 0.5},
    "mask_mix": {"mask_mix": "0/0/100"},
    "masks": {"masks": "static"},
    "epochs": {"steps": None, "epochs": 1},
    "steps": {"steps": 4},
    "batch_tokens": {"batch_tokens": 128},
    "accumulate": {"accumulate": 2},
    "lr": {"lr": 2e-3},
    "optimizer": {"optimizer": "muon"},
    "recipe": {"recipe": "fast"},
    "decay_fraction": {"schedule": "wsd", "decay_fraction": 0.9},
    "final_lr_fraction": {"final_lr_fraction": 0.5},
    "momentum": {"optimizer": "muon", "momentum": 0.5},
    "schedule": {"schedule": "cosine"},
    "warmup_fraction": {"warmup_fraction": 1.0},
    "beta1": {"beta1": 0.5},
    "beta2": {"beta2": 0.5},
    "adam_eps": {"adam_eps": 1e-3},
    "weight_decay": {"weight_decay": 0.5},
    "clip_norm": {"clip_norm": 1e-3},
    "seed": {"seed": 1},
    "init": {},
    "vectors": {},
    "embeddings": {"embeddings": "word2vec"},
    "parts": {"parts": 2},
}


def test_every_option_changes_something(folder: Path, tmp_path: Path) -> None:
    """Apart from those that only watch or measure (--dev and its own are tested above)."""
    import inspect

    watching = {
        "tokens",
        "output",
        "dev",
        "eval_every",
        "patience",
        "mask_copies",
        "device",
        "parallel",
        "threads",
        "compile",
        "checkpointing",
        "log_every",
        "save_every",
        "log",
        "force",
        "fresh",
        "dry_run",
    }
    assert set(inspect.signature(nlpkit.pretrain).parameters) == watching | set(CHANGES)

    def bytes_of(name: str, **options: Any) -> str:
        given = {**SMALL, **options}
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / f"{name}.safetensors", **given)
        made = file.read(tmp_path / f"{name}.safetensors")
        return str({key: made.array(key).tobytes() for key in sorted(made.tensors)}) + str(made.config["dropout"])

    plain = bytes_of("plain")
    assert bytes_of("plain2") == plain
    for name, options in CHANGES.items():
        if name not in ("init", "vectors"):
            assert bytes_of(name, **options) != plain, name
    shapeless = {"n_layers": None, "d_model": None, "n_heads": None, "max_len": None}
    assert bytes_of("init", init=folder / "bert.safetensors", **shapeless) != plain
    vectors = vector_file(tmp_path / "v.safetensors", ["t"], np.ones((1, 16)))
    assert bytes_of("vectors", vectors=vectors) != plain


def test_static_masks_repeat_and_so_do_their_pairs(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """S34: static masks are those of epoch 0, 1, ... again after --mask-copies; dynamic ones never; nothing is kept."""
    seen: dict[int, dict[int, list[int]]] = {}
    forward_backward = loop.forward_backward

    def watching(model: Any, objective: Any, read: Any, settings: Settings, *more: Any) -> Any:
        ((part,),) = read.parts
        batch = part.batch
        corrupted, _ = objective.corrupt(batch, Address(settings.seed, ("objective", read.epoch)))
        rows = corrupted.tokens.split(list(batch.packing.lengths))
        for example, row in zip(batch.examples.tolist(), rows, strict=True):
            seen.setdefault(read.epoch, {})[example] = row.tolist()
        return forward_backward(model, objective, read, settings, *more)

    monkeypatch.setattr(loop, "forward_backward", watching)
    for objective in ("mlm", "mlm+nsp"):
        for masks, copies in (("static", 2), ("static", 1), ("dynamic", None)):
            seen.clear()
            options = {**SMALL, "steps": None, "epochs": 3, "batch_tokens": 4096, "objective": objective}
            target = tmp_path / f"{objective}-{masks}-{copies}.safetensors"
            nlpkit.pretrain([folder / "dev.safetensors"], target, masks=masks, mask_copies=copies, **options)
            assert set(seen) == {0, 1, 2} and len(seen[0]) == len(seen[2]) > 5
            assert (seen[0] == seen[1]) == (copies == 1)
            assert (seen[0] == seen[2]) == (masks == "static")


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.8])
@pytest.mark.parametrize("mix", ["100/0/0", "80/10/10", "80/20/0", "0/0/100", "33.3/33.3/33.4"])
def test_any_ratio_and_mix_are_what_happens(ratio: float, mix: str) -> None:
    """S41: within four standard deviations of a binomial; the ratio itself is exact."""
    batch = make_batch([102] * 80)
    task = objectives.build("mlm", VOCABULARY, {**OPTIONS, "mask_ratio": ratio, "mask_mix": mix})
    corrupted, target = task.corrupt(batch, Address(3, ("objective", 0)))
    positions = target.fields["positions"]
    n = len(positions)
    assert n == 80 * round(ratio * 100)
    now, before = corrupted.tokens[positions], batch.tokens[positions]
    masked, random, kept = (float(part) / 100 for part in mix.split("/"))
    by_chance = random / VOCABULARY.size  # a random piece that happens to be [MASK], or the one that stood there
    for share, found in ((masked + by_chance, now == 4), (kept + by_chance, now == before)):
        assert abs(found.float().mean().item() - share) <= 4 * (share * (1 - share) / n) ** 0.5 + 1e-9


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": "gpt2", "mask_ratio": 0.15}, '--mask-ratio changes nothing: objective "clm"'),
    ({"model": "gpt2", "mask_mix": "80/10/10", "masks": "dynamic"}, "--mask-mix, --masks change nothing"),
    ({"mask_copies": 3}, "--mask-copies changes nothing: dynamic masks never repeat"),
    ({"masks": "dynamic", "mask_copies": 3}, "--mask-copies changes nothing"),
    ({"masks": "static", "mask_copies": 0}, "mask-copies is 0"),
    ({"patience": 2}, "--patience changes nothing"),
    ({"eval_every": 2}, "--eval-every changes nothing"),
    ({"cut": "pairs"}, 'objective "mlm" reads blocks, cut is pairs'),
    ({"objective": "mlm+nsp", "cut": "blocks"}, 'objective "mlm+nsp" reads pairs, cut is blocks'),
    ({"cut": "block"}, 'did you mean "blocks"'),
    ({"objective": "clm"}, 'model "bert" cannot be trained with objective "clm"'),
    ({"model": "gpt2", "objective": "mlm"}, 'model "gpt2" cannot be trained'),
    ({"steps": 1, "epochs": 1}, "both steps and epochs"),
    ({"momentum": 0.9}, "--momentum changes nothing: adamw does not read it"),
    ({"optimizer": "adafactor", "beta2": 0.9}, "--beta2 changes nothing: adafactor does not read it"),
    ({"decay_fraction": 0.1}, "--decay-fraction changes nothing: schedule linear"),
    ({"schedule": "constant", "final_lr_fraction": 0.1}, "--final-lr-fraction changes nothing: schedule constant"),
    ({"recipe": "fats"}, 'recipe "fats" is unknown; did you mean "fast"'),
    ({"beta1": 1.0}, "beta1 is 1.0, expected 0 to less than 1"),
    ({"adam_eps": -1.0}, "adam-eps is -1.0"),
    ({"accumulate": 0}, "accumulate is 0, expected at least 1"),
    ({"max_len": 3}, "max-len 3 is too short"),
    ({"batch_tokens": 16}, "batch-tokens 16 is less than max-len 32"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_is_refused(folder: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", **{**SMALL, **options})
    assert message in caught.value.what
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "options", "message"),
    [
        ("bert", {"model": "bert"}, "--model changes nothing: --init has"),
        ("bert", {"size": "tiny", "d_ff": 64}, "--size, --d-ff change nothing"),
        ("bert", {"n_layers": 1}, "--n-layers changes nothing"),
        ("bert", {"max_len": 64}, "max-len is 64, expected 4 to 32"),
        ("bert", {"objective": "mlm+nsp"}, 'has no head "nsp"'),
        ("gpt2", {"mask_ratio": 0.2}, "--mask-ratio changes nothing"),
        ("gpt2", {"objective": "mlm"}, 'model "gpt2" cannot be trained'),
    ],
)
def test_what_is_refused_with_init(
    folder: Path, tmp_path: Path, start: str, options: dict[str, Any], message: str, capsys: Any
) -> None:
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert (
        run(
            [
                "pretrain",
                str(folder / "tokens.safetensors"),
                "-o",
                str(tmp_path / "m.safetensors"),
                "--steps",
                "1",
                "--init",
                str(folder / f"{start}.safetensors"),
                *words,
            ]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert message in said and "hint: " in said


def test_token_files_of_another_tokenizer_are_refused(folder: Path, tmp_path: Path) -> None:
    other = markov(tmp_path / "other.safetensors", 200, 0)
    tokens = [folder / "tokens.safetensors"]
    for options in ({"dev": other}, {"dev": other, "dry_run": True}):
        with pytest.raises(UserError, match=r"another tokenizer \(\d+ pieces\) than the training text's") as caught:
            nlpkit.pretrain(tokens, tmp_path / "m.safetensors", **SMALL, **options)
        assert caught.value.where == str(other)
    with pytest.raises(UserError, match="is not the token file's"):
        nlpkit.pretrain([other], tmp_path / "m.safetensors", steps=1, init=folder / "bert.safetensors")


@pytest.mark.parametrize("cut", ["blocks", "sentences"])
@pytest.mark.parametrize("model", ["bert", "gpt2"])
def test_each_cut_trains(folder: Path, tmp_path: Path, cut: str, model: str) -> None:
    options = {**SMALL, "steps": 40, "lr": 1e-2, "model": model, "cut": cut, "log_every": 1}
    losses: list[float] = []
    listen = nlpkit.base.events.listen(
        lambda record: losses.append(record["loss"]) if record["event"] == "step" else None
    )
    with listen:
        nlpkit.pretrain([folder / "tokens.safetensors"], tmp_path / "m.safetensors", **options)
    assert np.mean(losses[-5:]) < losses[0] - 0.3
