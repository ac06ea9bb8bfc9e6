"""`nlpkit evaluate` of a classifier: metrics, intervals, comparison, baselines, checks, and a result that repeats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

import nlpkit
from nlpkit.artifact.file import file_sha256
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run

LEARN: dict[str, Any] = {"lr": 5e-3, "batch_tokens": 256, "threads": 1, "dropout": 0.0}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def known() -> Any:
    """scikit-learn's metrics, when they are asked for: each worker collects this file, and one runs it."""
    from sklearn import metrics

    return metrics


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that knows its task, one that has hardly begun, and data."""
    made = tmp_path_factory.mktemp("evaluate")
    toys.model(made / "bert.safetensors")
    toys.texts(made / "train.jsonl", 300)
    toys.texts(made / "test.jsonl", 150, seed=1)
    for name, steps in (("good", 100), ("poor", 25)):
        nlpkit.finetune(
            made / "bert.safetensors", made / "train.jsonl", made / f"{name}.safetensors", steps=steps, **LEARN
        )
    return made


def evaluated(folder: Path, *words: str, capsys: Any, code: int = 0, model: str = "poor") -> dict[str, Any]:
    assert run(["evaluate", str(folder / f"{model}.safetensors"), str(folder / "test.jsonl"), "--json", *words]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def predicted(folder: Path, model: str) -> list[dict[str, Any]]:
    return list(nlpkit.predict(folder / f"{model}.safetensors", folder / "test.jsonl"))


def test_metrics_are_scikit_learns_on_the_same_predictions(folder: Path, known: Any, capsys: Any) -> None:
    found = evaluated(folder, capsys=capsys)["metrics"]
    truth = [row["label"] for row in toys.lines(folder / "test.jsonl")]
    records = predicted(folder, "poor")
    guess = [record["label"] for record in records]
    assert 0.3 < known.accuracy_score(truth, guess) < 1.0
    expected = {
        "accuracy": known.accuracy_score(truth, guess),
        "macro_f1": known.f1_score(truth, guess, average="macro"),
        "mcc": known.matthews_corrcoef(truth, guess),
        "loss": -np.mean(
            [np.log(record["probabilities"][label]) for record, label in zip(records, truth, strict=True)]
        ),
    }
    for label, value in zip(sorted(toys.KEYS), known.f1_score(truth, guess, average=None), strict=True):
        expected[f"f1.{label}"] = value
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-5), name
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name


def test_the_confusion_matrix_has_the_truth_in_rows(folder: Path, known: Any, capsys: Any) -> None:
    found = evaluated(folder, capsys=capsys)["confusion"]
    truth = [row["label"] for row in toys.lines(folder / "test.jsonl")]
    guess = [record["label"] for record in predicted(folder, "poor")]
    assert found["counts"] == known.confusion_matrix(truth, guess, labels=found["labels"]).tolist()


def test_intervals_are_a_function_of_the_seed(folder: Path, capsys: Any) -> None:
    one, again, other = (evaluated(folder, "--seed", seed, capsys=capsys)["metrics"] for seed in ("0", "0", "1"))
    assert one == again != other
    assert {name: item["value"] for name, item in one.items()} == {name: item["value"] for name, item in other.items()}
    few = evaluated(folder, "--resamples", "50", capsys=capsys)["metrics"]
    assert few["accuracy"] != one["accuracy"]


def test_two_models_are_compared_on_the_same_examples(folder: Path, capsys: Any) -> None:
    both = evaluated(folder, "--against", str(folder / "good.safetensors"), capsys=capsys)
    alone = evaluated(folder, capsys=capsys, model="good")
    assert both["against"]["metrics"] == alone["metrics"]
    guesses = [[record["label"] for record in predicted(folder, name)] for name in ("poor", "good")]
    for name in ("accuracy", "macro_f1", "mcc", "loss"):
        difference = both["metrics"][name]["value"] - alone["metrics"][name]["value"]
        assert both["difference"][name]["value"] == pytest.approx(difference, abs=1e-12), name
    agreement = np.mean([left == right for left, right in zip(*guesses, strict=True)])
    assert both["difference"]["agreement"]["value"] == pytest.approx(agreement)
    same = evaluated(folder, "--against", str(folder / "poor.safetensors"), capsys=capsys)["difference"]
    # Paired: a model and itself are right on the same draws, so that their difference has no width.
    assert same["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0} and same["agreement"]["low"] == 1.0


def test_baselines_are_taught_on_the_training_file(folder: Path, capsys: Any) -> None:
    result = evaluated(folder, "--train", str(folder / "train.jsonl"), capsys=capsys)
    found = result["baselines"]
    taught = [row["label"] for row in toys.lines(folder / "train.jsonl")]
    truth = [row["label"] for row in toys.lines(folder / "test.jsonl")]
    common = max(sorted(set(taught)), key=taught.count)
    assert found["majority"]["accuracy"]["value"] == pytest.approx(np.mean([label == common for label in truth]))
    assert found["bag_of_words"]["accuracy"]["value"] > 0.95  # one word tells
    for name, baseline in found.items():
        difference = result["metrics"]["accuracy"]["value"] - baseline["accuracy"]["value"]
        assert result["over_baselines"][name]["accuracy"]["value"] == pytest.approx(difference)


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ("good", "test.jsonl", "as good as a bag of words"),
        ("good", "test.jsonl", "better than the most frequent label"),
        ("poor", "test.jsonl", "worse than a bag of words"),
        ("bert", "corpus.txt", "loss"),
    ],
)
def test_the_first_line_says_who_wins(folder: Path, capsys: Any, model: str, data: str, said: str) -> None:
    (folder / "corpus.txt").write_text("the king goes out at night\n" * 9)
    more = [] if model == "bert" else ["--train", str(folder / "train.jsonl")]
    assert run(["evaluate", str(folder / f"{model}.safetensors"), str(folder / data), *more]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert said in first and first.startswith("loss" if model == "bert" else "accuracy")
    assert model != "bert" or "than guessing by frequencies" in first


def test_a_bound_that_is_not_kept_is_exit_3_and_writes_nothing(folder: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["evaluate", str(folder / "poor.safetensors"), str(folder / "test.jsonl")]
    target = tmp_path / "score.json"
    assert run([*words, "-o", str(target), "--min", "accuracy=1.0", "--max", "loss=0.0"]) == 3
    said = capsys.readouterr().err
    assert "accuracy is 0." in said and "less than the minimum 1" in said and "more than the maximum 0" in said
    assert not target.exists()
    assert run([*words, "-o", str(target), "--min", "accuracy=0.0", "--max", "loss=50"]) == 0
    assert [check["ok"] for check in json.loads(target.read_text())["checks"]] == [True, True]
    assert run([*words, "-o", str(target)]) == 2  # it is there already
    assert run([*words, "--min", "acuracy=0.5"]) == 2
    assert 'did you mean "accuracy"' in capsys.readouterr().err


def test_a_bound_on_what_this_data_does_not_have_is_an_error(folder: Path, tmp_path: Path, capsys: Any) -> None:
    """A label that neither occurs nor was guessed has no F1."""
    one = toys.texts(tmp_path / "one.jsonl", 5, classes=("comedy",))
    words = ["evaluate", str(folder / "good.safetensors"), str(one), "--min"]
    assert run([*words, "accuracy=0.9"]) == 0
    assert run([*words, "f1.history=0.5"]) == 2
    assert 'metric "f1.history" could not be measured on this data' in capsys.readouterr().err


def test_the_written_result_is_the_same_however_it_was_computed(folder: Path, tmp_path: Path) -> None:
    found = set()
    for number, words in enumerate(([], [], ["--threads", "2"], ["--batch-tokens", "1"], ["--batch-tokens", "97"])):
        target = tmp_path / f"{number}.json"
        assert (
            run(
                [
                    "evaluate",
                    str(folder / "poor.safetensors"),
                    str(folder / "test.jsonl"),
                    "-o",
                    str(target),
                    "--train",
                    str(folder / "train.jsonl"),
                    "--against",
                    str(folder / "good.safetensors"),
                    *words,
                ]
            )
            == 0
        )
        found.add(target.read_text())
    assert len(found) == 1
    result = json.loads(found.pop())
    assert "speed" not in result and "seconds" not in str(result)
    assert result["data"]["sha256"] == file_sha256(folder / "test.jsonl")
    assert result["model"]["sha256"] == file_sha256(folder / "poor.safetensors")
    assert str(folder) not in str(result)


def test_people_read_a_table(folder: Path, capsys: Any) -> None:
    assert (
        run(
            [
                "evaluate",
                str(folder / "poor.safetensors"),
                str(folder / "test.jsonl"),
                "--against",
                str(folder / "good.safetensors"),
                "--train",
                str(folder / "train.jsonl"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    for part in (
        "150 examples, intervals 95 %",
        "accuracy",
        "baseline bag of words",
        "difference, model minus other",
        "agreement",
        "(guessed)",
        "sequences a second",
    ):
        assert part in said


def test_a_length_that_is_given_is_for_both_models(folder: Path, capsys: Any) -> None:
    same = evaluated(folder, "--max-len", "5", "--against", str(folder / "poor.safetensors"), capsys=capsys)
    assert same["difference"]["agreement"]["low"] == 1.0 and same["settings"]["max_len"] == 5


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("good", "test.jsonl", {"cut": "blocks"}, "--cut changes nothing: the model is a classifier"),
    ("good", "test.jsonl", {"stride": 4}, "--stride changes nothing: the model is a classifier"),
    ("good", "test.jsonl", {"mask_ratio": 0.3, "mask_mix": "80/10/10"}, "--mask-ratio, --mask-mix change nothing"),
    ("good", "tokens.safetensors", {}, "is a tokens file, and the model a classifier"),
    ("good", "test.jsonl", {"against": "bert.safetensors"}, "does not have the same labels"),
    ("good", "test.jsonl", {"label": "labl"}, 'no field "labl"; did you mean "label"'),
    ("good", "farce.jsonl", {}, 'label "farce" is unknown'),
    ("good", "test.jsonl", {"train": "farce.jsonl"}, 'label "farce" is unknown'),
    ("good", "test.jsonl", {"min": ["mlm_accuracy=0.1"]}, "is a classifier, so mlm_accuracy cannot be measured"),
    ("good", "test.jsonl", {"max": ["perplexity=9"]}, "is a classifier, so perplexity cannot be measured"),
    ("good", "test.jsonl", {"min": ["macrof1=0.1"]}, 'metric "macrof1" is unknown; did you mean "macro_f1"?'),
    ("bert", "test.jsonl", {"min": ["f1=0.1"]}, "so f1 cannot be measured"),
    ("bert", "test.jsonl", {"min": ["acuracy=0.1"]}, 'metric "acuracy" is unknown; did you mean "mlm_accuracy"?'),
    ("bert", "test.jsonl", {}, 'the column "label" of test.jsonl has no use'),
    ("good", "corpus.txt", {"min": ["accuracy=0.1"]}, "is plain text, expected rows"),
    ("good", "test.jsonl", {"resamples": 0}, "resamples is 0"),
    ("good", "test.jsonl", {"output": "-"}, "cannot go to stdout"),
    ("good", "test.jsonl", {"max_len": 99}, "expected 4 to 24"),
    ("good", "bad.jsonl", {}, "is not JSON"),
    ("tokens", "test.jsonl", {}, "is a tokens file"),
]


@pytest.fixture(scope="module")
def wrong(folder: Path) -> Path:
    (folder / "corpus.txt").write_text("the king\n")
    nlpkit.tokens([folder / "corpus.txt"], folder / "tokens.safetensors", tokenizer=folder / "bert.safetensors")
    (folder / "farce.jsonl").write_text('{"text": "x", "label": "farce"}\n')
    (folder / "bad.jsonl").write_text('{"text": "x", "label": "comedy"}\nnonsense\n')
    return folder


@pytest.mark.parametrize(("model", "data", "options", "message"), REFUSED)
def test_what_is_refused(wrong: Path, model: str, data: str, options: dict[str, Any], message: str) -> None:
    given = {name: wrong / value if name in ("against", "train") else value for name, value in options.items()}
    with pytest.raises(UserError) as caught:
        nlpkit.evaluate(wrong / f"{model}.safetensors", wrong / data, **given)
    assert message in caught.value.what


def test_labelled_texts_are_a_language_models_when_it_is_asked_for(wrong: Path) -> None:
    found = nlpkit.evaluate(wrong / "bert.safetensors", wrong / "test.jsonl", text="text")
    assert set(found["metrics"]) == {"loss", "perplexity", "mlm_accuracy"}


def test_malformed_lines_can_be_left_out(wrong: Path) -> None:
    found = nlpkit.evaluate(wrong / "good.safetensors", wrong / "bad.jsonl", on_error="skip")
    assert found["data"]["examples"] == 1
