"""Every number that leaves is a number: of broken weights nothing is answered, one output is a score, no metric goes by
another's name, and every `--json` is JSON as other programs read it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toys
from making import token_file, vector_file

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.canonical import strict
from nlpkit.base.errors import RunError, UserError
from nlpkit.cli.app import run
from nlpkit.exchange.opening import load
from nlpkit.measure.intervals import Interval
from nlpkit.models.load import model_config, own_tensors, state_tensors

INPUTS = Path(__file__).parents[1] / "inputs"
FLAGS = json.loads((Path(__file__).parents[1] / "golden" / "flags.json").read_text("utf-8"))


def save(path: Path, loaded: Any, **more: Any) -> Path:
    config = {**model_config(loaded.model, loaded.family), **more}
    file.write(
        path,
        state_tensors(loaded.model),
        kind="model",
        config=config,
        tokenizer=loaded.tokenizer.to_json(),
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files of every kind, made by hand where that is quick."""
    made = tmp_path_factory.mktemp("numbers")
    toys.texts(made / "train.jsonl", 20)
    toys.model(made / "bert.safetensors")
    toys.model(made / "gpt2.safetensors", "gpt2")
    nlpkit.finetune(made / "bert.safetensors", made / "train.jsonl", made / "clf.safetensors", steps=1)
    (made / "corpus.txt").write_text("".join(row["text"] + "\n" for row in toys.lines(made / "train.jsonl")))
    token_file(made / "tokens.safetensors")
    vector_file(made / "vec.safetensors", ["king", "queen", "man", "woman"], np.eye(4))
    (made / "pairs.tsv").write_text("king\tqueen\t1\nking\tman\t2\nman\twoman\t3\n")
    return made


COMMANDS = [
    ["predict", "M", "T"],
    ["embed", "M", "T"],
    ["evaluate", "M", "T"],
    ["evaluate", "M", "T", "--json"],
    ["finetune", "M", "T", "-o", "O"],
    ["distill", "M", "T", "-o", "O"],
    ["export", "M", "-o", "O"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_weights_that_are_not_numbers_are_named(words: list[str], folder: Path, tmp_path: Path, capsys: Any) -> None:
    given = {"M": str(INPUTS / "nan.safetensors"), "T": str(folder / "train.jsonl"), "O": str(tmp_path / "out")}
    assert run([given.get(word, word) for word in words]) == 1
    said = capsys.readouterr()
    assert 'nan.safetensors: its weights are not numbers: tensor "embeddings' in said.err and not said.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_number_of_any_tensor_is_found(value: float, folder: Path, tmp_path: Path, capsys: Any) -> None:
    loaded = load(folder / "gpt2.safetensors")
    with torch.no_grad():
        own_tensors(loaded.model)["decoder.layers.1.feedforward.down.bias"][-1] = value
    path = save(tmp_path / "broken.safetensors", loaded)
    for words in (["generate", str(path), "--prompt", "a"], ["evaluate", str(path), str(folder / "corpus.txt")]):
        assert run(words) == 1
        assert 'tensor "decoder.layers.1.feedforward.down.bias"' in capsys.readouterr().err


def test_answers_that_overflow_are_not_printed(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """Of weights that are numbers."""
    for name, commands in {"gpt2": (["generate"], ["evaluate"]), "clf": (["predict"], ["embed"], ["evaluate"])}.items():
        loaded = load(folder / f"{name}.safetensors")
        kept = {} if name == "gpt2" else {"task": loaded.config["task"]}
        with torch.no_grad():
            for key, tensor in own_tensors(loaded.model).items():
                if key.endswith(("embeddings.token.weight", "norm.weight", "heads.classify.weight")):
                    tensor.fill_(2e38)
        path, data = save(tmp_path / f"{name}.safetensors", loaded, **kept), folder / "train.jsonl"
        for words in commands:
            data = folder / "corpus.txt" if name == "gpt2" else data
            rest = [] if words == ["generate"] else [str(data)]
            assert run([*words, str(path), *rest]) == 1, words
            said = capsys.readouterr()
            assert "not numbers" in said.err and "NaN" not in said.out, words


def test_vectors_that_are_not_numbers_are_named(folder: Path, tmp_path: Path, capsys: Any) -> None:
    rows = np.eye(3)
    rows[1, 2] = np.nan
    path = vector_file(tmp_path / "vec.safetensors", ["king", "queen", "man"], rows)
    for words in (
        ["nearest", str(path), "king"],
        ["analogy", str(path), "king", "queen", "man"],
        ["evaluate", str(path), str(folder / "pairs.tsv")],
    ):
        assert run(["vectors", *words]) == 1
        assert 'holds NaN or infinity: the vector of "queen"' in capsys.readouterr().err


def test_one_output_is_a_score(tmp_path: Path, capsys: Any) -> None:
    """hf_one_label: by default what transformers' pipelines and sentence-transformers compute, a sigmoid."""
    source = INPUTS / "one_output"
    assert run(["predict", str(source), str(source / "vocab.txt")]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(set(answer) == {"score"} and 0 < answer["score"] < 1 for answer in answers) and len(answers) > 10
    config = json.loads((source / "config.json").read_text())
    identity, sigmoid = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"
    for more, raw in (
        ({"problem_type": "regression"}, True),
        ({"sentence_transformers": {"activation_fn": identity}}, True),
        ({"sbert_ce_default_activation_function": identity}, True),
        ({"problem_type": None}, False),
        ({"sentence_transformers": {"activation_fn": sigmoid}}, False),
        ({"problem_type": "multi_label_classification"}, False),
    ):
        (found,) = nlpkit.predict(_changed(source, tmp_path, config, more), ["the fox hears"])
        (plain,) = nlpkit.predict(source, ["the fox hears"])
        expected = np.log(plain["score"] / (1 - plain["score"])) if raw else plain["score"]
        assert found["score"] == pytest.approx(expected, abs=1e-5)
        nlpkit.import_(tmp_path / "changed", tmp_path / "ours.safetensors", force=True)
        nlpkit.export(tmp_path / "ours.safetensors", tmp_path / "theirs", force=True)
        assert list(nlpkit.predict(tmp_path / "theirs", ["the fox hears"])) == [found]
    for more in ({"problem_type": "single_label_classification"}, {"sentence_transformers": {"activation_fn": "Tanh"}}):
        with pytest.raises(UserError, match=r"one label|activation of its one output"):
            nlpkit.predict(_changed(source, tmp_path, config, more), ["the"])


def _changed(source: Path, tmp_path: Path, config: dict[str, Any], more: dict[str, Any]) -> Path:
    target = tmp_path / "changed"
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    (target / "config.json").write_text(json.dumps(config | more))
    return target


def test_a_score_is_not_measured_as_labels(folder: Path, tmp_path: Path) -> None:
    source = INPUTS / "one_output"
    with pytest.raises(UserError, match="a head for score, which has no labels"):
        nlpkit.evaluate(source, folder / "train.jsonl")
    with pytest.raises(UserError, match="a head for score, which has no labels"):
        nlpkit.distill(source, folder / "train.jsonl", tmp_path / "s.safetensors", max_len=16)
    old = save(tmp_path / "old.safetensors", load(source), task={"name": "classify", "labels": ["LABEL_0"]})
    with pytest.raises(UserError, match="its classifier has one output"):
        nlpkit.predict(old, ["the"])


def test_a_model_without_a_classifier_is_not_measured_by_labels(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data = str(folder / "bert.safetensors"), str(folder / "train.jsonl")
    for more in ([], ["--min", "accuracy=0.6"], ["--min", "f1.comedy=0.6"]):
        assert run(["evaluate", model, data, *more]) == 2
        said = capsys.readouterr().err
        assert "bert.safetensors: has no classifier" in said and "nlpkit finetune" in said
    with monkeypatch.context() as patched:  # the same data as a stream
        stream = SimpleNamespace(buffer=io.BytesIO((folder / "train.jsonl").read_bytes()))
        patched.setattr(sys, "stdin", stream)
        assert run(["evaluate", model, "-"]) == 2
    said = capsys.readouterr().err
    assert "bert.safetensors: has no classifier" in said and "stdin" in said
    assert run(["evaluate", model, str(folder / "corpus.txt"), "--min", "accuracy=0.6"]) == 2
    assert "mlm_accuracy" in capsys.readouterr().err
    assert run(["evaluate", model, data, "--max", "perplexity=1e9", "--min", "mlm_accuracy=0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert "mlm_accuracy" in found and "accuracy" not in found


def test_what_is_not_defined_is_null_with_a_reason(folder: Path, tmp_path: Path, capsys: Any) -> None:
    nan = float("nan")
    assert Interval(0.5, 0.25, 0.75).to_json() == {"value": 0.5, "low": 0.25, "high": 0.75}
    assert Interval(nan, nan, nan).to_json() == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "it is not defined on this data, or no float can hold it",
    }
    words = ["vectors", "evaluate", str(folder / "vec.safetensors"), str(folder / "pairs.tsv")]  # all cosines are 0
    assert run([*words, "--json"]) == 0
    (found,) = strictly(capsys.readouterr().out)[0]["metrics"].values()
    assert found["value"] is None and "not defined" in found["reason"]
    assert run(words) == 0 and "undefined" in capsys.readouterr().out
    with pytest.raises(RunError, match=r"metrics.loss is not a number"):
        strict({"metrics": {"loss": nan}})


def strictly(text: str) -> list[Any]:
    """Objects, one a line; NaN and Infinity, which are no JSON, are refused."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


# A short run of every command that has --json, or prints JSON; D is the folder, O a new file.
WALK = {
    "predict": "D/clf D/train.jsonl",
    "embed": "D/bert D/train.jsonl",
    "generate": "D/gpt2 --max-new-tokens 2 --json",
    "evaluate": "D/clf D/train.jsonl --json",
    "info": "D/clf --json",
    "lineage": "D/clf --json",
    "ls": "models --json",
    "diff": "D/clf D/clf --json",
    "pretrain": "D/tokens -o O --steps 1 --size tiny --json",
    "finetune": "D/bert D/train.jsonl -o O --steps 1 --json",
    "distill": "D/clf D/train.jsonl -o O --steps 1 --json",
    "tune pretrain": "D/tokens -o O --dev D/tokens --steps 1 --size tiny --json",
    "tune finetune": "D/bert D/train.jsonl -o O --dev D/train.jsonl --steps 1 --grid lr=1,2 --json",
    "tune distill": "D/clf D/train.jsonl -o O --dev D/train.jsonl --steps 1 --json",
    "plan": "--json finetune D/bert D/train.jsonl -o O",
    "export": "D/clf -o O.d --json",
    "import": "O.d -o O --json",
    "tokens": "D/corpus.txt --tokenizer D/bert -o O --json",
    "tokenizer train": "D/corpus.txt -o O --vocab-size 300 --json",
    "tokenizer encode": "D/bert D/corpus.txt --json",
    "tokenizer decode": "D/bert O.ids --json",
    "tokenizer compare": "D/bert D/gpt2 --text D/corpus.txt --json",
    "vectors train": "D/corpus.txt -o O --min-count 1 --json",
    "vectors nearest": "D/vec king --json",
    "vectors analogy": "D/vec king queen man --json",
    "vectors evaluate": "D/vec D/pairs.tsv --json",
    "vectors cooccur": "D/corpus.txt -o O.counts.safetensors --min-count 1 --json",
    "vectors glove": "O.counts.safetensors -o O --epochs 1 --dim 8 --json",
    "vectors map": "D/vec king queen man -o O.png --json",
    "verify": "O --inputs D --json",
    "report": "D/clf -o O.html --json",
}
NOT = {"demo"}  # runs for minutes; its stages are those above


def test_every_json_is_strict(folder: Path, tmp_path: Path, capsys: Any) -> None:
    assert WALK.keys() | NOT == {name for name, flags in FLAGS.items() if "--json" in str(flags)} | {"predict", "embed"}
    (tmp_path / "O.ids").write_text("5 6 7\n")
    for name, words in WALK.items():
        given = []
        for word in words.split():
            if word.startswith("D/"):
                word = str(folder / word[2:]) + ("" if Path(word).suffix else ".safetensors")
            given.append(str(folder) if word == "D" else word)
        output = str(tmp_path / f"{name.replace(' ', '-')}.safetensors")
        if name == "verify":
            given[0] = str(tmp_path / "tokenizer-train.safetensors")
        given = [output if word == "O" else str(tmp_path / word) if word.startswith("O.") else word for word in given]
        assert run([*name.split(), *given]) == 0, (name, capsys.readouterr().err)
        said = capsys.readouterr().out
        assert strictly(said), name
