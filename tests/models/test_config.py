"""Fields of a config that may be absent or 0: made, written, read, shown, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shared_family
import toys
from making import make_batch

import nlpkit
from nlpkit import models
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.base.limits import MAX_LAYERS, MAX_SIZE
from nlpkit.cli.app import run
from nlpkit.exchange.opening import load
from nlpkit.models.base import Config, or_none
from nlpkit.models.load import build, model_config, state_tensors
from nlpkit.models.sizes import config_for

SHAPE: dict[str, Any] = {"vocab_size": 40, "d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 64, "max_len": 24}


@dataclass(frozen=True, kw_only=True)
class Optional(Config):
    n_kv_heads: int | None = None
    factor: float | None = None
    note: str | None = None
    n_memories: int = or_none()


def test_a_field_may_be_absent_or_0_where_it_says_so() -> None:
    config = Optional(**SHAPE)
    assert config.n_kv_heads is None and config.n_memories == 0 and Optional(**config.to_json()) == config
    assert Optional(**json.loads(json.dumps(Optional(**SHAPE, n_kv_heads=1, factor=2).to_json()))).factor == 2
    positive, natural = f"a positive int, at most {MAX_SIZE:,}", f"an int of at least 0, at most {MAX_SIZE:,}"
    layers = f"a positive int, at most {MAX_LAYERS:,}"
    for name, value, expected in (
        ("n_kv_heads", 0, f"{positive} or null$"),
        ("n_kv_heads", "1", f"{positive} or null$"),
        ("n_memories", -1, f"{natural}$"),
        ("n_memories", None, f"{natural}$"),
        ("n_layers", 0, f"{layers}$"),
        ("n_layers", None, f"{layers}$"),
        ("n_layers", MAX_LAYERS + 1, f"{layers}$"),
        ("note", 3, "a text or null$"),
        ("factor", True, "a number or null$"),
    ):
        with pytest.raises(UserError, match=f"{name} is .*, expected {expected}"):
            Optional(**{**SHAPE, name: value})


def test_it_goes_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from dataclasses import replace

    family = replace(shared_family.FAMILY, config=Optional)
    monkeypatch.setitem(models.FAMILIES, "shared", "shared_family")
    monkeypatch.setattr(shared_family, "FAMILY", family)
    path = toys.model(tmp_path / "m.safetensors", "shared")
    assert load(path).model.config.n_kv_heads is None  # type: ignore[attr-defined]
    assert run(["info", str(path), "--json"]) == 0
    config = json.loads(capsys.readouterr().out)["config"]
    assert config["n_kv_heads"] is None and config["n_memories"] == 0
    assert run(["info", str(path)]) == 0 and run(["ls", "sizes", "--json"]) == 0
    assert config_for(family, "tiny", vocab_size=9, max_len=8, dropout=0.0).n_kv_heads is None


def test_a_bert_without_segments_and_pooler_is_read_written_and_exported(tmp_path: Path) -> None:
    chosen, words = models.family("bert"), toys.tokenizer()
    network, family = build(
        {"family": "bert", "heads": ["mlm"], **SHAPE, "vocab_size": words.vocab_size, "n_segments": 0, "pooler": False}
    )
    assert network.embeddings.segment is None and family == chosen
    path = tmp_path / "m.safetensors"
    file.write(
        path,
        state_tensors(network),
        kind="model",
        config=model_config(network, family),
        tokenizer=words.to_json(),
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    alone = nlpkit.embed(path, ["the king goes out"])
    nlpkit.export(path, tmp_path / "theirs")
    assert json.loads((tmp_path / "theirs" / "config.json").read_text())["type_vocab_size"] == 0
    again = nlpkit.embed(tmp_path / "theirs", ["the king goes out"])
    assert np.array_equal(alone, again) and alone.shape == (1, 32)
    batch = make_batch([5])
    assert network(batch.with_tokens(batch.tokens % words.vocab_size)).hidden.shape == (5, 32)
