"""Vectors of texts: the model's own numbers, whatever shares their batch, as the texts come, and as a file."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toys

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.cli.app import run
from nlpkit.layers.view import View
from nlpkit.models.load import to_inference
from nlpkit.stages.embed import pooler, vectors
from nlpkit.tasks.pooling import POOLINGS
from nlpkit.tasks.reading import encoder_of

OPTIONS: dict[str, Any] = {
    "text": "text",
    "pooling": None,
    "layer": None,
    "normalize": False,
    "on_error": "error",
    "format": None,
    "max_len": None,
    "batch_tokens": 4096,
    "int8": False,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("embed")
    for name in ("bert", "gpt2"):
        toys.model(made / f"{name}.safetensors", name)
    toys.texts(made / "texts.jsonl", 40, seed=1)
    return made


def matrix(folder: Path, model: str, data: str = "texts.jsonl", threads: int | None = 1, **options: Any) -> Any:
    loaded = to_inference(nlpkit.load(folder / f"{model}.safetensors"), int8=False, device="cpu")
    found = vectors(loaded, folder / data, {**OPTIONS, **options}, threads=threads)
    return np.stack([record["embedding"] for records in found for record in records])


@pytest.mark.parametrize("name", ["bert", "gpt2"])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layer", [None, 0, 1, 2])
def test_a_vector_is_what_the_model_computes(folder: Path, name: str, pooling: str, layer: int | None) -> None:
    """By hand, text by text: the layer's token vectors, and what the pooling's name says."""
    if pooling == "pooler" and layer in (0, 1):
        with pytest.raises(UserError, match=f"reads the last layer, not layer {layer}"):
            matrix(folder, name, pooling=pooling, layer=layer)
        return
    found = matrix(folder, name, pooling=pooling, layer=layer)
    loaded = nlpkit.load(folder / f"{name}.safetensors")
    encoder = encoder_of(loaded, None)
    for row, vector in zip(toys.lines(folder / "texts.jsonl")[:4], found, strict=False):
        with torch.no_grad():
            output = loaded.model(encoder.encode([row["text"]], None).batch(np.array([0])), layers=True)
        hidden = output.hidden if layer in (None, 2) else output.layers[layer]
        expected = {
            "pooler": output.pooled[0],
            "cls": hidden[0],
            "last": hidden[-1],
            "mean": hidden.mean(0),
            "max": hidden.amax(0),
        }[pooling]
        assert np.allclose(vector, expected.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_no_vector_depends_on_its_batch_or_on_threads(folder: Path, name: str) -> None:
    """Bit by bit; an empty text, which is one token to GPT-2, too."""
    texts = [row["text"] for row in toys.lines(folder / "texts.jsonl")] + [""]
    (folder / "all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "empty.jsonl").write_text('{"text": ""}\n')
    whole = matrix(folder, name, "all.jsonl")
    assert np.array_equal(matrix(folder, name, "empty.jsonl")[0], whole[-1])
    for threads in (1, 2):
        for size in (1, 30, 1000):
            assert np.array_equal(matrix(folder, name, "all.jsonl", threads, batch_tokens=size), whole)


def test_the_default_pooling_is_the_familys(folder: Path) -> None:
    assert np.array_equal(matrix(folder, "bert"), matrix(folder, "bert", pooling="mean"))
    assert np.array_equal(matrix(folder, "gpt2"), matrix(folder, "gpt2", pooling="last"))
    assert not np.array_equal(matrix(folder, "gpt2"), matrix(folder, "gpt2", pooling="mean"))


def test_normalised_vectors_have_length_one_and_the_same_direction(folder: Path) -> None:
    plain, unit = matrix(folder, "bert"), matrix(folder, "bert", normalize=True)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    assert np.allclose(unit * np.linalg.norm(plain, axis=1, keepdims=True), plain, atol=1e-5)


def test_a_vector_of_zeros_stays_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = replace(POOLINGS["pooler"], pool=lambda output: output.pooled * 0)
    monkeypatch.setitem(POOLINGS, "mean", nothing)
    assert not matrix(folder, "bert", normalize=True).any()


def test_printed_numbers_give_the_same_bits_with_the_fewest_digits(folder: Path, capsys: Any) -> None:
    assert run(["embed", str(folder / "bert.safetensors"), str(folder / "texts.jsonl")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(40))
    whole = matrix(folder, "bert")
    printed = np.array([json.loads(line)["embedding"] for line in lines])
    assert np.array_equal(printed.astype(np.float32), whole)
    for text, number in zip(lines[0].partition("[")[2].rstrip("]}").split(", "), whole[0], strict=True):
        assert float(text) == float(str(number)) and len(text.strip("-").replace(".", "")) <= 14
    assert [record["embedding"] for record in nlpkit.embed(folder / "bert.safetensors", folder / "texts.jsonl")] == [
        json.loads(line)["embedding"] for line in lines
    ]


def test_texts_from_stdin(folder: Path, capsys: Any, monkeypatch: Any) -> None:
    content = '{"text": "the king"}\n{"id": "x", "title": "the sword", "text": "the king"}\n'
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content.encode())))
    assert run(["embed", str(folder / "gpt2.safetensors")]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert list(first) == ["embedding"] and list(second) == ["id", "embedding"]
    assert first["embedding"] == second["embedding"] and len(first["embedding"]) == 32


def test_cut_texts_are_counted_and_said(folder: Path, capsys: Any) -> None:
    (folder / "long.txt").write_text("the king\n" + "the king of france " * 20 + "\n")
    assert run(["embed", str(folder / "bert.safetensors"), str(folder / "long.txt"), "--max-len", "8"]) == 0
    assert "1 of 2 texts is longer than 8 tokens and was cut" in capsys.readouterr().err


def test_a_file_of_vectors_holds_them_and_can_be_proven(folder: Path, capsys: Any) -> None:
    model, data, target = folder / "bert.safetensors", folder / "texts.jsonl", folder / "vectors.safetensors"
    assert run(["embed", str(model), str(data), "-o", str(target), "--normalize", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "vectors.safetensors: embeddings, " in printed.err
    made = file.read(target, kind="embeddings")
    assert np.array_equal(made.array("embeddings"), matrix(folder, "bert", normalize=True))
    assert made.config == {
        "family": "bert",
        "d_model": 32,
        "n_texts": 40,
        "pooling": "mean",
        "layer": None,
        "normalize": True,
    }
    assert nlpkit.verify(target)["proven"]
    assert run(["embed", str(model), str(data), "-o", str(target)]) == 2
    assert "exists" in capsys.readouterr().err
    (summary,) = nlpkit.embed(model, data, output=target, force=True, normalize=True, threads=2)
    assert summary["sha256"] == made.sha256, "threads change no byte"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pooling", "men"], 'pooling "men" is unknown; did you mean "mean"?'),
        (["--layer", "3"], "layer is 3, expected 0 (what the first block reads) to 2"),
        (["--max-len", "100"], "max-len is 100, expected 4 to 24"),
        (["--text", "txt"], 'has no field "txt"; did you mean "text"?'),
        (["--force"], "--force changes nothing: no file is written"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, capsys: Any, options: list[str], said: str) -> None:
    assert run(["embed", str(folder / "bert.safetensors"), str(folder / "texts.jsonl"), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_file_without_texts_makes_no_vectors(folder: Path, capsys: Any) -> None:
    (folder / "none.txt").write_text("")
    assert run(["embed", str(folder / "bert.safetensors"), str(folder / "none.txt")]) == 0
    assert run(["embed", str(folder / "bert.safetensors"), str(folder / "none.txt"), "-o", str(folder / "n")]) == 2
    assert "holds no texts" in capsys.readouterr().err


def test_a_pooling_reads_the_layer_it_is_given(folder: Path) -> None:
    loaded = nlpkit.load(folder / "gpt2.safetensors")
    batch = encoder_of(loaded, None).encode(["the king"], None).batch(np.array([0]))
    with torch.no_grad():
        assert torch.equal(
            pooler(loaded, "cls", 0)(batch)[0], loaded.model.embeddings(batch.tokens, View.of(batch.packing))[0]
        )
