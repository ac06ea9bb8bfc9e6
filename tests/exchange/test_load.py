"""Models from files: what comes back, and what is said when something does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from making import tokenizer
from safetensors.numpy import load_file, save_file

import nlpkit
from nlpkit.artifact import file
from nlpkit.base.errors import UserError
from nlpkit.exchange.export import export, import_
from nlpkit.models import FAMILIES, family
from nlpkit.models.load import add_classifier, model_config, state_tensors
from nlpkit.models.sizes import config_for

GOLDEN = Path(__file__).parents[1] / "golden" / "huggingface"


def write(path: Path, name: str = "bert", *, task: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A model file with random weights; ``changes`` are to the config, or (``tensors``) to the tensors."""
    chosen = family(name)
    torch.manual_seed(0)
    shape = config_for(chosen, "tiny", vocab_size=tokenizer().vocab_size, max_len=32, dropout=0.1, n_layers=1)
    network = chosen.build(shape, chosen.heads)
    if task:
        add_classifier(network, len(task.get("labels", ())))
    tensors = state_tensors(network) | changes.pop("tensors", {})
    tensors = {key: value for key, value in tensors.items() if value is not None}
    config = model_config(network, chosen, task=task) | changes
    file.write(
        path,
        tensors,
        kind="model",
        config=config,
        tokenizer=tokenizer().to_json(),
        provenance={"command": "test"},
        history={},
        determinism={},
    )
    return path


TASK = {"name": "classify", "labels": ["no", "yes"], "pooling": "pooler"}


@pytest.mark.parametrize("task", [None, TASK])
@pytest.mark.parametrize("name", FAMILIES)
def test_round_trip(name: str, task: dict[str, Any] | None, tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", name, task=task, training={"steps": 3})
    loaded, artifact = nlpkit.load(path), file.read(path)
    assert not loaded.model.training
    assert loaded.family.name == name and loaded.tokenizer is not None
    assert set(loaded.model.heads) == {*loaded.family.heads, *(["classify"] if task else [])}
    assert loaded.config["training"] == {"steps": 3}
    again = state_tensors(loaded.model)
    assert set(again) == set(artifact.tensors)
    assert all(np.array_equal(value, artifact.array(key)) for key, value in again.items())
    assert all(value.requires_grad and value.device.type == "cpu" for value in loaded.model.parameters())


def test_loading_draws_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors")
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    nlpkit.load(path)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tensors": {"pooler.dense.bias": None}}, 'no tensor "pooler.dense.bias"'),
        ({"tensors": {"pooler.dense.bias": np.zeros(3, np.float32)}}, r"bias\" is \[3\], expected \[128\]"),
        ({"tensors": {"extra": np.zeros(3, np.float32)}}, '"extra" that its config does not have'),
        ({"family": "bret"}, 'model "bret" is unknown; did you mean "bert"'),
        ({"heads": ["mml"]}, 'head of bert "mml" is unknown; did you mean "mlm"'),
        ({"n_layers": "two"}, "n_layers is 'two'"),
        ({"d_ff": 0}, "d_ff is 0"),
        ({"task": {"name": "classify"}}, "does not describe"),
        ({"vocab_size": 3}, r"expected \[3"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", **changes)
    with pytest.raises(UserError, match=said) as caught:
        nlpkit.load(path)
    if "family" not in changes:
        assert caught.value.where == str(path)


def test_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    file.write(
        path,
        {},
        kind="tokenizer",
        config={},
        tokenizer=tokenizer().to_json(),
        provenance={},
        history={},
        determinism={},
    )
    with pytest.raises(UserError, match="is a tokenizer file; expected model"):
        nlpkit.load(path)


def copy(tmp_path: Path, name: str = "bert", **changes: Any) -> Path:
    """A golden Hugging Face directory with a changed config.json."""
    folder = tmp_path / name
    shutil.copytree(GOLDEN / name, folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("bert", {"model_type": "brt"}, 'model_type "brt" is unknown; did you mean "bert"'),
        ("bert", {"position_embedding_type": "relative_key"}, "reads only 'absolute'"),
        ("bert", {"is_decoder": True}, "is_decoder is True"),
        ("bert", {"hidden_act": "quick_gelu"}, 'activation "quick_gelu" is unknown'),
        ("bert", {"num_hidden_layers": 1}, "does not have"),
        ("bert", {"num_hidden_layers": 3}, "which its config requires"),
        ("bert", {"num_attention_heads": 5}, "cannot be divided by 5 heads"),
        ("bert", {"architectures": ["BertForTokenClassification"]}, "architecture"),
        ("bert-classify", {"problem_type": "regression"}, "problem_type is regression"),
        ("bert-classify", {"id2label": dict.fromkeys("012", "a")}, "of which none is there twice"),
        ("bert-classify", {"id2label": {"0": ""}}, "of which none is empty"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "reads only False"),
        ("gpt2", {"tie_word_embeddings": False}, "tie_word_embeddings"),
    ],
)
def test_a_directory_nlpkit_cannot_compute_is_refused(
    name: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        nlpkit.load(copy(tmp_path, name, **changes))


def test_pickles_are_refused(tmp_path: Path) -> None:
    folder = copy(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin.*never opens"):
        nlpkit.load(folder)


def test_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        nlpkit.load(tmp_path)


def rewrite(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors")


def test_old_names_half_floats_and_untied_copies(tmp_path: Path) -> None:
    folder, expected = copy(tmp_path), nlpkit.load(GOLDEN / "bert").model.state_dict()

    def old(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        renamed = {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for key, value in tensors.items()
        }
        renamed["bert.embeddings.position_ids"] = np.arange(10)[None]
        renamed["cls.predictions.decoder.weight"] = renamed["bert.embeddings.word_embeddings.weight"].copy()
        return {key: value.astype(np.float16) for key, value in renamed.items()}

    rewrite(folder, old)
    found = nlpkit.load(folder).model.state_dict()
    assert all(value.dtype == torch.float32 for value in found.values())
    assert all(torch.equal(value, expected[key].half().float()) for key, value in found.items())

    def untied(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return tensors | {"cls.predictions.decoder.weight": tensors["cls.predictions.decoder.weight"] + 1}

    rewrite(folder, untied)
    with pytest.raises(UserError, match="differs from"):
        nlpkit.load(folder)


def test_bfloat16_and_shards(tmp_path: Path) -> None:
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    folder = copy(tmp_path, "gpt2")
    tensors = {key: value.bfloat16() for key, value in load_torch(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    names, half = sorted(tensors), len(tensors) // 2
    parts = {"a.safetensors": names[:half], "b.safetensors": names[half:]}
    for part, keys in parts.items():
        save_torch({key: tensors[key] for key in keys}, folder / part)
    index = {"weight_map": {key: part for part, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found, expected = (nlpkit.load(place).model.state_dict() for place in (folder, GOLDEN / "gpt2"))
    assert all(torch.equal(value, expected[key].bfloat16().float()) for key, value in found.items())
    (folder / "b.safetensors").unlink()
    with pytest.raises(UserError, match="cannot read"):
        nlpkit.load(folder)


def test_import_makes_a_file_that_is_the_directory(tmp_path: Path) -> None:
    summary = import_(GOLDEN / "bert", tmp_path / "m.safetensors")
    assert summary["kind"] == "model"
    file_model, folder_model = nlpkit.load(tmp_path / "m.safetensors"), nlpkit.load(GOLDEN / "bert")
    assert file_model.config == folder_model.config
    assert all(
        torch.equal(value, file_model.model.state_dict()[key]) for key, value in folder_model.model.state_dict().items()
    )
    second = import_(GOLDEN / "bert", tmp_path / "n.safetensors")
    assert second["sha256"] == summary["sha256"]


def test_export_and_import_keep_the_history(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors")
    export(path, tmp_path / "hf")
    import_(tmp_path / "hf", tmp_path / "back.safetensors")
    back, given = file.read(tmp_path / "back.safetensors"), file.read(path)
    (exported,) = set(back.metadata["history"]) - {given.sha256}
    assert back.metadata["history"][given.sha256] == {"command": "test"}
    assert back.metadata["history"][exported]["command"] == "export"
    assert all(np.array_equal(back.array(key), given.array(key)) for key in given.tensors)
    assert nlpkit.load(tmp_path / "back.safetensors").need_tokenizer().fingerprint == tokenizer().fingerprint
    # Weights that another tool changed have another history, which the side file does not know.
    rewrite(tmp_path / "hf", lambda tensors: {key: value + 1 for key, value in tensors.items()})
    import_(tmp_path / "hf", tmp_path / "changed.safetensors")
    assert file.read(tmp_path / "changed.safetensors").metadata["history"] == {}


def test_export_refuses_what_it_would_destroy(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors")
    export(path, tmp_path / "hf")
    assert export(path, tmp_path / "hf")["already_made"]
    export(path, tmp_path / "hf", force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    export(path, tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(UserError, match="is not a folder"):
        export(path, path, force=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["hf", "m.safetensors", "mine"]


def test_export_says_what_no_class_can_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", task=TASK | {"pooling": "mean"})
    with pytest.raises(UserError, match="heads mlm, nsp, classify"):
        export(path, tmp_path / "hf")
    assert not (tmp_path / "hf").exists() and not list(tmp_path.glob(".*"))
    with pytest.raises(UserError, match='format "hugingface" is unknown; did you mean "huggingface"'):
        export(path, tmp_path / "hf", to="hugingface")
    with pytest.raises(UserError, match="is a model file; expected vectors"):
        export(path, tmp_path / "vec.txt", to="word2vec")
