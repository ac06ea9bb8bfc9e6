"""Products of 8-bit numbers: near the float's, exact sums, and the same for a row whatever else there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toys

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.exchange.opening import load
from nlpkit.layers import int8
from nlpkit.layers.linear import Linear
from nlpkit.models.load import to_inference

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("width", [16, 24, 13])
def test_a_product_is_near_and_its_sums_are_exact(width: int) -> None:
    linear = Linear(width, 50)
    product, x = int8.Product(linear.weight, linear.bias), torch.randn(37, width) * 3
    x[5] = 0
    found = product(x)
    assert (found - linear(x)).abs().max() < 0.02 * linear(x).abs().max()
    whole, scale = int8._rounded(x)
    exact = (whole.long() @ product.whole.long().T).float() * (scale[:, None] * product.scale) + linear.bias
    assert torch.allclose(found, exact, rtol=1e-5, atol=0.02 if width % 8 == 0 else 1e-5)
    assert torch.equal(found[5], linear.bias)


def test_a_row_is_the_same_alone_in_company_and_on_any_number_of_threads() -> None:
    linear = Linear(64, 4096)
    product, x = int8.Product(linear.weight, None), torch.randn(300, 64)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(product(x))
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
        for rows in (slice(0, 1), slice(7, 9), slice(100, 290)):
            assert torch.equal(product(x[rows]), found[0][rows])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("width", "rows", "columns"), [(48, 1, 8), (48, 2, 7), (64, 131, 50), (40, 67, 9), (1024, 65, 4)]
)
def test_torchs_products_and_ours_are_the_same(
    width: int, rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums are exact either way."""
    product = int8.Product(Linear(width, columns).weight * 100, torch.randn(columns))
    x = torch.randn(rows, width) * 3
    x[0] = 5.0
    whole, scale = int8.inference.rounded(x)
    sums = (whole.long() @ product.whole.long().T).int()
    expected = int8.inference.scaled(sums, scale, product.scale, product.bias)
    monkeypatch.setattr(int8, "torch_multiplies", lambda: False)
    assert torch.equal(product(x), expected)
    monkeypatch.undo()
    assert torch.equal(product(x), expected)


@pytest.mark.parametrize("ours", [False, True])
def test_extreme_numbers_are_not_cut_off(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if ours:
        monkeypatch.setattr(int8, "torch_multiplies", lambda: False)
    linear = Linear(512, 16, bias=False)
    with torch.no_grad():
        linear.weight.fill_(1.0)
    product = int8.Product(linear.weight, None)
    assert torch.allclose(product(torch.ones(3, 512)), torch.full((3, 16), 512.0), rtol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("int8")
    toys.model(made / "bert.safetensors")
    toys.model(made / "gpt2.safetensors", "gpt2")
    toys.texts(made / "train.jsonl", 200)
    nlpkit.finetune(
        made / "bert.safetensors",
        made / "train.jsonl",
        made / "clf.safetensors",
        lr=3e-3,
        epochs=8,
        batch_tokens=256,
        threads=1,
    )
    return made


def answers(capsys: Any, *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(list(arguments)) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_commands_answer_nearly_the_same(folder: Path, capsys: Any) -> None:
    clf, data = str(folder / "clf.safetensors"), str(folder / "train.jsonl")
    plain, quick = (answers(capsys, "predict", clf, data, *given) for given in ([], ["--int8"]))
    assert plain != quick
    assert sum(a["label"] == b["label"] for a, b in zip(plain, quick, strict=True)) > 0.97 * len(plain)
    small = answers(capsys, "predict", clf, data, "--int8", "--batch-tokens", "64")
    assert small == quick  # to the last digit: no answer depends on its batch
    vectors = [
        torch.tensor([row["embedding"] for row in answers(capsys, "embed", clf, data, *given)])
        for given in ([], ["--int8"])
    ]
    assert not torch.equal(*vectors) and torch.cosine_similarity(*vectors).min() > 0.99
    gpt2 = str(folder / "gpt2.safetensors")
    greedy = ["generate", gpt2, "--prompt", "a", "--temperature", "0", "--max-new-tokens", "8", "--json", "--int8"]
    assert answers(capsys, *greedy) == answers(capsys, *greedy)


def test_evaluate_says_what_it_costs(folder: Path, capsys: Any) -> None:
    clf, data = str(folder / "clf.safetensors"), str(folder / "train.jsonl")
    (found,) = answers(capsys, "evaluate", clf, data, "--int8", "--against", clf, "--resamples", "50", "--json")
    assert found["settings"]["int8"] is True
    assert found["model"]["parameters"] == found["against"]["parameters"]
    assert found["difference"]["loss"]["value"] != 0
    assert abs(found["difference"]["accuracy"]["value"]) < 0.03
    (folder / "corpus.txt").write_text("".join(row["text"] + "\n" for row in toys.lines(folder / "train.jsonl")))
    for name in ("bert", "gpt2"):
        model, text = str(folder / f"{name}.safetensors"), str(folder / "corpus.txt")
        (found,) = answers(capsys, "evaluate", model, text, "--int8", "--against", model, "--resamples", "50", "--json")
        assert 0 < abs(found["difference"]["loss"]["value"]) < 0.05


def test_it_is_for_a_processor(folder: Path) -> None:
    with pytest.raises(UserError, match="for a CPU"):
        to_inference(load(folder / "bert.safetensors"), int8=True, device="cuda")
