"""Language models measured on text: equal to a plain loop, the same in any batch, bits per byte by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toys
from torch import Tensor

import nlpkit
from nlpkit.artifact import file
from nlpkit.artifact.file import file_sha256
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.data.batch import Batch
from nlpkit.exchange.opening import load
from nlpkit.layers.packing import Packing

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("perplexity")
    for name in ("gpt2", "bert"):
        toys.model(made / f"{name}.safetensors", name)
        toys.model(made / f"other-{name}.safetensors", name, seed=1, max_len=32)
    rng = np.random.default_rng(0)
    documents = ["\n".join(toys.sentence(rng) for _ in range(int(rng.integers(1, 6)))) for _ in range(8)]
    (made / "text.txt").write_text("\n\n".join(documents) + "\n")
    nlpkit.tokens([made / "text.txt"], made / "tokens.safetensors", tokenizer=made / "gpt2.safetensors")
    return made


def logits(model: Any, tokens: list[int]) -> Tensor:
    packing = Packing.of([len(tokens)])
    batch = Batch(
        torch.tensor(tokens), packing, torch.zeros(1, dtype=torch.int64), torch.zeros(len(tokens), dtype=bool)
    )
    with torch.no_grad():
        output = model(batch)
        found: Tensor = output.heads["clm"](output.hidden).double()
    return found


def stream_of(folder: Path) -> tuple[list[int], int]:
    """End of text, then each document and one after it; and the id of the end of text."""
    kept = file.read(folder / "tokens.safetensors")
    tokens, sentences, documents = (kept.array(name).tolist() for name in ("tokens", "sentence_ends", "document_ends"))
    loaded = load(folder / "gpt2.safetensors")
    assert loaded.tokenizer is not None
    end = loaded.tokenizer.role("eos")
    assert end is not None
    stream, start = [end], 0
    for document in documents:
        stream += [*tokens[start : sentences[document - 1]], end]
        start = sentences[document - 1]
    return stream, end


@pytest.mark.parametrize(("max_len", "stride"), [(24, None), (24, 1), (24, 7), (24, 24), (8, 3), (10, None)])
def test_perplexity_is_that_of_a_plain_loop(folder: Path, max_len: int, stride: int | None) -> None:
    """Each token once, from all of its window before it: the window begins at a multiple of the stride."""
    stream, end = stream_of(folder)
    model = load(folder / "gpt2.safetensors").model
    step = stride or max_len
    losses, right = [], []
    for place in range(1, len(stream)):
        if stream[place] == end:
            continue
        # The first window whose inputs reach place - 1: windows are inputs [k * step, k * step + max_len).
        number = max(0, -(-(place - max_len) // step))
        row = logits(model, stream[number * step : place])[-1]
        losses.append(float(torch.logsumexp(row, 0) - row[stream[place]]))
        right.append(int(row.argmax()) == stream[place])
    found = nlpkit.evaluate(folder / "gpt2.safetensors", folder / "tokens.safetensors", max_len=max_len, stride=stride)
    assert found["data"]["answers"] == len(losses) == file.read(folder / "tokens.safetensors").config["n_tokens"]
    assert found["metrics"]["loss"]["value"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert found["metrics"]["perplexity"]["value"] == pytest.approx(math.exp(np.mean(losses)), rel=1e-6)
    assert found["metrics"]["clm_accuracy"]["value"] == pytest.approx(np.mean(right))


def test_bits_per_byte_by_hand(folder: Path, tmp_path: Path) -> None:
    """Seven tokens in 31 bytes: the line end inside a document belongs to its text, those between documents do not."""
    (tmp_path / "tiny.txt").write_text("the king goes out\nat night\n\nsword\n")
    found = nlpkit.evaluate(folder / "gpt2.safetensors", tmp_path / "tiny.txt")
    n_bytes = len("the king goes out\nat night") + len("sword")
    assert found["data"]["bytes"] == n_bytes == 31 and found["data"]["answers"] == found["data"]["tokens"] == 7
    bits = found["metrics"]["loss"]["value"] * 7 / math.log(2) / n_bytes
    assert found["metrics"]["bits_per_byte"]["value"] == pytest.approx(bits, rel=1e-12)
    loaded = load(folder / "gpt2.safetensors")
    assert loaded.tokenizer is not None
    end = loaded.tokenizer.role("eos")
    words = [loaded.tokenizer.ids[word] for word in ["the", "king", "goes", "out", "at", "night"]]
    stream = [end, *words, end, loaded.tokenizer.ids["sword"]]
    rows = torch.log_softmax(logits(loaded.model, stream[:-1]), 1)
    nats = -sum(float(rows[place - 1, stream[place]]) for place in (1, 2, 3, 4, 5, 6, 8))
    assert found["metrics"]["bits_per_byte"]["value"] == pytest.approx(nats / math.log(2) / 31, rel=1e-6)
    one = found["metrics"]["loss"]
    assert one["low"] <= one["value"] <= one["high"]


def test_bytes_are_those_of_utf8(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the käng\n", "utf-8")
    assert nlpkit.evaluate(folder / "gpt2.safetensors", tmp_path / "t.txt")["data"]["bytes"] == 9


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_text_is_its_token_file(folder: Path, name: str, capsys: Any) -> None:
    found = []
    for data in ("text.txt", "tokens.safetensors"):
        assert run(["evaluate", str(folder / f"{name}.safetensors"), str(folder / data), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["metrics"] == found[1]["metrics"] and found[0]["baselines"] == found[1]["baselines"]
    assert found[0]["data"]["sha256"] == file_sha256(folder / "text.txt") and found[0]["data"]["name"] == "text.txt"
    assert found[0]["data"]["answers"] == found[1]["data"]["answers"]


def test_columns_of_a_corpus_are_found(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"body": "the king"}\nnonsense\n{"body": "goes out"}\n')
    model = folder / "gpt2.safetensors"
    found = nlpkit.evaluate(model, tmp_path / "c.jsonl", text="body", on_error="skip")
    assert found["data"]["answers"] == 4
    with pytest.raises(UserError, match="is not JSON"):
        nlpkit.evaluate(model, tmp_path / "c.jsonl", text="body")
    with pytest.raises(UserError, match='did you mean "body"'):
        nlpkit.evaluate(model, tmp_path / "c.jsonl", text="bdy")


def test_a_pipe_is_read_once_and_hashed_as_it_was_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys
    from types import SimpleNamespace

    text = (folder / "text.txt").read_bytes()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    found = nlpkit.evaluate(folder / "gpt2.safetensors", Path("-"))
    assert found["data"]["sha256"] == file_sha256(folder / "text.txt") and found["data"]["name"] == "-"


@pytest.mark.parametrize(
    ("name", "words"),
    [("gpt2", ["--stride", "5"]), ("bert", []), ("gpt2", []), ("bert", ["--cut=sentences"]), ("bert", ["--cut=pairs"])],
)
def test_the_written_result_is_the_same_however_it_was_computed(
    folder: Path, tmp_path: Path, name: str, words: list[str]
) -> None:
    found = set()
    for number, how in enumerate(([], [], ["--threads", "2"], ["--batch-tokens", "1"], ["--batch-tokens", "100"])):
        target = tmp_path / f"{number}.json"
        assert (
            run(
                [
                    "evaluate",
                    str(folder / f"{name}.safetensors"),
                    str(folder / "text.txt"),
                    "-o",
                    str(target),
                    "--against",
                    str(folder / f"other-{name}.safetensors"),
                    *words,
                    *how,
                ]
            )
            == 0
        )
        found.add(target.read_text())
    assert len(found) == 1
    result = json.loads(found.pop())
    assert "speed" not in result and str(folder) not in str(result)


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_two_models_answer_the_same_questions(folder: Path, name: str) -> None:
    first, second = folder / f"{name}.safetensors", folder / f"other-{name}.safetensors"
    both = nlpkit.evaluate(first, folder / "tokens.safetensors", against=second)
    alone = nlpkit.evaluate(second, folder / "tokens.safetensors", max_len=24)
    assert both["against"]["metrics"] == alone["metrics"]
    for metric, value in both["difference"].items():
        expected = both["metrics"][metric]["value"] - alone["metrics"][metric]["value"]
        assert value["value"] == pytest.approx(expected, abs=1e-9), metric
        assert value["low"] <= value["value"] <= value["high"]


@pytest.mark.parametrize("cut", ["blocks", "sentences", "pairs"])
def test_a_masked_model_is_that_of_a_plain_loop(folder: Path, cut: str) -> None:
    """Every sequence by itself, the masks those of epoch 0 of the seed."""
    from nlpkit import objectives
    from nlpkit.base.seeds import Address
    from nlpkit.data.framing import ENCODER, framing
    from nlpkit.data.pretraining import source
    from nlpkit.data.tokenfile import TokenFiles
    from nlpkit.stages.pretrain import vocabulary

    loaded = load(folder / "bert.safetensors")
    made = loaded.need_tokenizer()
    options = {"mask_ratio": 0.4, "mask_mix": "100/0/0", "masks": None, "mask_copies": None}
    task = objectives.build("mlm", vocabulary(made), options)
    files = TokenFiles.open([folder / "tokens.safetensors"])
    data = source(cut, files, framing(ENCODER, made), max_len=24, batch_tokens=24, seed=3)
    losses = []
    for example in range(len(data.lengths)):
        batch, target = task.corrupt(data.make(np.array([example]), 0), Address(3, ("objective", 0)))
        with torch.no_grad():
            output = loaded.model(batch)
            rows = torch.log_softmax(output.heads["mlm"](output.hidden).double(), 1)
        places, labels = target.fields["positions"], target.fields["labels"]
        losses += (-rows[places, labels]).tolist()
    found = nlpkit.evaluate(
        folder / "bert.safetensors", folder / "tokens.safetensors", seed=3, mask_ratio=0.4, mask_mix="100/0/0", cut=cut
    )
    assert found["metrics"]["loss"]["value"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert found["data"]["answers"] == len(losses) and "bits_per_byte" not in found["metrics"]
    assert found["settings"]["mask_ratio"] == 0.4 and found["settings"]["cut"] == cut


@pytest.mark.parametrize(
    ("asked", "cut"), [({}, "blocks"), ({"cut": "sentences"}, "sentences"), ({"objective": "mlm+nsp"}, "pairs")]
)
def test_a_masked_model_is_measured_on_what_it_was_taught(
    folder: Path, tmp_path: Path, asked: dict[str, Any], cut: str
) -> None:
    model, student = tmp_path / "m.safetensors", tmp_path / "s.safetensors"
    text = folder / "tokens.safetensors"
    nlpkit.pretrain([text], model, n_layers=1, d_model=32, n_heads=2, max_len=24, batch_tokens=128, steps=0, **asked)
    assert load(model).config["training"]["cut"] == cut
    found = {name: nlpkit.evaluate(model, text, cut=name) for name in (None, "blocks", "sentences", "pairs")}
    assert found[None]["settings"] == found[cut]["settings"] and found[None]["metrics"] == found[cut]["metrics"]
    assert len({result["metrics"]["loss"]["value"] for result in found.values()}) == 3
    nlpkit.distill(model, text, student, steps=0, n_layers=1, batch_tokens=128)
    assert nlpkit.evaluate(student, text)["settings"]["cut"] == "blocks"  # which is what a student reads


def test_the_unigram_baseline_is_counting(folder: Path) -> None:
    found = nlpkit.evaluate(folder / "gpt2.safetensors", folder / "tokens.safetensors")
    tokens = file.read(folder / "tokens.safetensors").array("tokens").astype(np.int64)
    counts = 1 + np.bincount(tokens, minlength=load(folder / "gpt2.safetensors").config["vocab_size"])
    expected = -np.log(counts / counts.sum())[tokens].mean()
    assert found["baselines"]["unigram"]["loss"]["value"] == pytest.approx(expected)
    assert found["baselines"]["unigram"]["clm_accuracy"]["value"] == pytest.approx((tokens == counts.argmax()).mean())
    other = nlpkit.evaluate(folder / "gpt2.safetensors", folder / "tokens.safetensors", train=folder / "text.txt")
    assert other["baselines"] == found["baselines"]  # the same text, as it is


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    (
        "gpt2",
        "tokens.safetensors",
        {"mask_ratio": 0.2},
        '--mask-ratio changes nothing: the model\'s objective is "clm"',
    ),
    ("gpt2", "tokens.safetensors", {"cut": "blocks"}, "--cut changes nothing: the model's objective is"),
    ("bert", "tokens.safetensors", {"cut": "block"}, 'cut "block" is unknown; did you mean "blocks"?'),
    ("bert", "tokens.safetensors", {"stride": 3}, "--stride changes nothing"),
    ("gpt2", "tokens.safetensors", {"label": "x"}, "--label changes nothing: the model is no classifier"),
    ("gpt2", "tokens.safetensors", {"text": "x"}, "--text changes nothing: tokens.safetensors is no text"),
    ("gpt2", "tokens.safetensors", {"stride": 25}, "stride is 25, expected 1 to 24"),
    ("gpt2", "tokens.safetensors", {"max_len": 64}, "expected 4 to 24"),
    ("gpt2", "bert.safetensors", {}, "is a model file"),
    ("gpt2", "tokens.safetensors", {"against": "bert.safetensors"}, "has the objective mlm, the first model clm"),
    ("other-gpt2", "tokens.safetensors", {"against": "gpt2.safetensors"}, "reads at most 24 tokens"),
    ("headless", "tokens.safetensors", {}, "has neither a classifier nor a head"),
    ("gpt2", "foreign.safetensors", {}, "than the model's"),
    ("gpt2", "tokens.safetensors", {"train": "foreign.safetensors"}, "than the model's"),
    ("gpt2", "tokens.safetensors", {"min": ["bits=1"]}, 'metric "bits" is unknown'),
]


@pytest.mark.parametrize(("model", "data", "options", "message"), REFUSED)
def test_what_is_refused(folder: Path, model: str, data: str, options: dict[str, Any], message: str) -> None:
    from making import token_file

    if not (folder / "foreign.safetensors").exists():
        token_file(folder / "foreign.safetensors", documents=5)
        kept = file.read(folder / "bert.safetensors")
        tensors = {name: kept.array(name) for name in kept.tensors if not name.startswith("heads.")}
        file.write(
            folder / "headless.safetensors",
            tensors,
            kind="model",
            config={**kept.config, "heads": []},
            tokenizer=kept.tokenizer,
            provenance={"command": "test"},
            history={},
            determinism={},
        )
    given = {name: folder / value if name in ("against", "train") else value for name, value in options.items()}
    with pytest.raises(UserError) as caught:
        nlpkit.evaluate(folder / f"{model}.safetensors", folder / data, **given)
    assert message in caught.value.what
