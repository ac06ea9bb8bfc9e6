"""Sentence-transformers directories: their vectors are what they say, in every form of the model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nlpkit
from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.exchange.export import export

SOURCE = Path(__file__).parent / "data" / "cls_pooling"
TEXT = "the fox hears the river on the fox hears"
# What transformers 5.23 gives: BertModel's first token of 8, divided by its length.
GOLDEN = [-0.02676715, 0.318793, 0.06728466, 0.01402368, 0.64740503, -0.4833777, -0.48750097, -0.04986057]


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SOURCE, tmp_path / "st"))


def vector(model: Path, **options: Any) -> tuple[list[float], str]:
    """The vector of the text, and what was said of it."""
    data = model.parent / "text.txt"
    data.write_text(TEXT + "\n")
    lines: list[str] = []
    with events.listen(lambda record: lines.append(str(record))):
        (record,) = nlpkit.embed(model, data, **options)
    return record["embedding"], "\n".join(lines)


def test_embed_does_what_the_directory_says(folder: Path, tmp_path: Path) -> None:
    made, said = vector(folder)
    assert np.allclose(made, GOLDEN, atol=1e-6)
    assert "pooling cls (its own)" in said and "max-len 8 (its own)" in said
    nlpkit.import_(folder, tmp_path / "st.safetensors")
    assert vector(tmp_path / "st.safetensors")[0] == made
    export(tmp_path / "st.safetensors", tmp_path / "out")
    assert vector(tmp_path / "out")[0] == made


@pytest.mark.oracle
def test_the_vector_is_transformers(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder).eval()
    first = model(**tokenizer(TEXT, return_tensors="pt", truncation=True, max_length=8)).last_hidden_state[0, 0]
    assert np.allclose(vector(folder)[0], (first / first.norm()).tolist(), atol=1e-6)


def test_options_override_and_it_is_said(folder: Path) -> None:
    made, said = vector(folder, pooling="mean", normalize=False, max_len=10)
    assert abs(np.linalg.norm(made) - 1) > 0.1
    assert "pooling mean (given), normalize False (given), max-len 10 (given)" in said


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_cls_token": True},
        {"pooling_mode_weightedmean_tokens": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode": "elsewhere"},
    ],
)
def test_other_poolings_are_refused_unless_one_is_given(folder: Path, config: dict[str, Any]) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"need the pooling of 1_Pooling/config\.json"):
        vector(folder)
    vector(folder, pooling="cls")


def test_other_modules_and_malformed_files_are_refused(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, dense]))
    with pytest.raises(UserError, match="module Dense"):
        vector(folder)
    for text in ("{", "{}", "[3]", '[{"type": 1, "path": ""}]', "[]", '[{"type": "a.Transformer", "path": "../x"}]'):
        (folder / "modules.json").write_text(text)
        with pytest.raises(UserError) as caught:
            vector(folder)
        assert "modules.json" in str(caught.value.where)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": "8"}')
    with pytest.raises(UserError, match="max_seq_length"):
        vector(folder)


@pytest.mark.parametrize(
    ("architecture", "name", "copy"),
    [
        ("bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("bert", "cls.predictions.bias", "cls.predictions.decoder.bias"),
        ("gpt2", "transformer.wte.weight", "lm_head.weight"),
    ],
)
def test_tied_weights_are_read_under_either_name(tmp_path: Path, architecture: str, name: str, copy: str) -> None:
    from nlpkit.artifact import safetensors
    from nlpkit.exchange import huggingface
    from nlpkit.models import family
    from nlpkit.models.load import Loaded, model_config, state_tensors
    from nlpkit.models.sizes import config_for

    known = family(architecture)
    config = config_for(known, "tiny", vocab_size=30, max_len=8, dropout=0.0, d_model=16, n_heads=2, d_ff=16)
    network = known.build(config, known.heads[:1])
    (tmp_path / "model").mkdir()
    huggingface.write(tmp_path / "model", Loaded(network, None, known, model_config(network, known), tmp_path), None)
    path = tmp_path / "model" / "model.safetensors"
    reader = safetensors.read(path)
    tensors = {key: np.array(reader.array(key)) for key in reader.tensors}
    tensors[copy] = tensors.pop(name)
    with open(path, "wb") as target:
        safetensors.write(target, tensors, {"format": "pt"})
    again = state_tensors(huggingface.read(tmp_path / "model").model)
    for key, value in state_tensors(network).items():
        assert np.array_equal(again[key], value)
