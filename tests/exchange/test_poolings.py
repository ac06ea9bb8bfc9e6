"""Classifiers of every pooling as directories of a class that has one pooling: equal outputs, or a refusal that was
said when the classifier was trained."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys

import nlpkit
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.exchange import huggingface, poolings
from nlpkit.exchange.export import export
from nlpkit.exchange.opening import load
from nlpkit.models import FAMILIES, family
from nlpkit.tasks.pooling import POOLINGS

CLOSE = 1e-5
LEARN: dict[str, Any] = {"lr": 3e-3, "batch_tokens": 256, "threads": 1, "steps": 12}
EXPORTED = [(name, pooling) for name in FAMILIES for pooling in family(name).huggingface.pooling]
REFUSED = [("bert", "last"), ("bert", "max"), ("gpt2", "mean"), ("gpt2", "max")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("poolings")
    for name in FAMILIES:
        toys.model(made / f"{name}.safetensors", name)
    toys.texts(made / "train.jsonl", 60)
    toys.texts(made / "dev.jsonl", 40, seed=1)
    return made


def notes(action: Any) -> list[str]:
    heard: list[str] = []
    with events.listen(lambda event: heard.append(event["text"]) if event["event"] == "note" else None):
        action()
    return heard


def probabilities(model: Path, data: Path) -> list[list[float]]:
    return [list(row["probabilities"].values()) for row in nlpkit.predict(model, data)]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "pooling"), EXPORTED)
def test_what_is_exported_and_imported_predicts_the_same(folder: Path, tmp_path: Path, name: str, pooling: str) -> None:
    clf, back = tmp_path / "clf.safetensors", tmp_path / "back.safetensors"
    heard = notes(
        lambda: nlpkit.finetune(
            folder / f"{name}.safetensors", folder / "train.jsonl", clf, pooling=pooling, max_len=20, **LEARN
        )
    )
    assert not any("cannot be exported" in text for text in heard)
    rewriting = family(name).huggingface.pooling[pooling]
    heard = notes(lambda: export(clf, tmp_path / "hf"))
    assert any("not in float16" in text for text in heard) == (rewriting is not None)
    nlpkit.import_(tmp_path / "hf", back)
    expected = probabilities(clf, folder / "dev.jsonl")
    for model in (tmp_path / "hf", back):
        assert np.allclose(probabilities(model, folder / "dev.jsonl"), expected, rtol=0, atol=CLOSE)
    before, after = load(clf), load(back)
    assert after.config["task"]["labels"] == before.config["task"]["labels"]
    assert after.config["task"]["pooling"] == "pooler" and after.config["max_len"] == before.config["max_len"]
    assert after.config["n_layers"] == before.config["n_layers"] + (pooling == "mean")
    side = json.loads((tmp_path / "hf" / "nlpkit.json").read_text())
    done = {"pooling": pooling, "as": "pooler", "by": rewriting}
    assert side.get("rewritten") == (done if rewriting else None)
    assert side["config"]["task"]["pooling"] == pooling
    assert nlpkit.verify(back)["proven"]
    export(back, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "hf" / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(("name", "pooling"), REFUSED)
def test_what_cannot_be_exported_is_said_before_the_training(
    folder: Path, tmp_path: Path, name: str, pooling: str
) -> None:
    clf = tmp_path / "clf.safetensors"
    options: dict[str, Any] = {"pooling": pooling, **LEARN, "steps": 1}
    source, train = folder / f"{name}.safetensors", folder / "train.jsonl"
    for run in ({"dry_run": True}, {}):
        heard = notes(partial(nlpkit.finetune, source, train, clf, **options, **run))
        said = [text for text in heard if "export" in text]
        assert len(said) == 1 and f'"{pooling}"' in said[0]
    with pytest.raises(UserError) as caught:
        export(clf, tmp_path / "hf")
    way = "fine-tune with " + {"bert": "--pooling pooler, cls or mean", "gpt2": "--pooling pooler or last"}[name]
    assert str(caught.value.what) in said[0] and way in said[0] and str(caught.value.hint).startswith(way)
    assert not (tmp_path / "hf").exists()


def test_every_rewriting_of_a_table_is_one_and_every_pooling_has_a_test() -> None:
    for name in FAMILIES:
        table = family(name).huggingface.pooling
        assert next(iter(table.values())) is None and table.keys() <= POOLINGS.keys()
        assert {rewriting for rewriting in table.values() if rewriting} <= poolings.REWRITINGS.keys()
        same = "bert" if name == "roberta" else name  # a network of BERT's, with its poolings
        refused = {pooling for other, pooling in REFUSED if other == same} | {"cls"}  # of GPT-2, finetune refuses it
        assert table.keys() | refused == POOLINGS.keys()


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 2.0**-80])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_hidden_states_and_logits_of_any_size_are_exported(tmp_path: Path, pooling: str, eps: float) -> None:
    loaded, batch = toys.classifier(pooling, norm_eps=eps), toys.batch()
    huggingface.write(tmp_path, loaded, None)
    back = huggingface.read(tmp_path)
    exact = toys.logits(loaded.model, batch, pooling, exact=True)
    unrewritten, rewritten = (
        (toys.logits(model, batch, how) - exact).abs().max()
        for model, how in ((loaded.model, pooling), (back.model, "pooler"))
    )
    assert exact.abs().max() > 50
    assert rewritten <= 2 * unrewritten + CLOSE  # no more than the rounding errors of 32 bits
    with torch.no_grad():
        output, again = loaded.model(batch), back.model(batch)
        assert output.hidden.abs().max() > 100
        assert (POOLINGS["cls"](output) - POOLINGS["mean"](output)).abs().max() > 10
        if pooling == "mean":  # the new layer's output is the mean, at every token
            means = POOLINGS["mean"](output).repeat_interleave(torch.tensor(batch.packing.lengths), 0)
            assert torch.allclose(again.hidden, means, atol=CLOSE, rtol=1e-6)
        else:
            assert torch.equal(again.hidden, output.hidden)


def test_an_epsilon_without_room_for_the_mean_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="norm_eps is 1e-30, and pooling") as caught:
        huggingface.write(tmp_path, toys.classifier("mean", norm_eps=1e-30), None)
    assert caught.value.where == "model.safetensors" and "another --pooling" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())
