"""Weights of others' directories: every kind of number, and headers that are checked before the library sees them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from nlpkit.base.errors import UserError
from nlpkit.exchange import huggingface

SOURCE = Path(__file__).parent / "data" / "cls_pooling"


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_numbers_of_every_kind_become_floats(tmp_path: Path, kind: torch.dtype) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(SOURCE, tmp_path / "model"))
    tensors = {name: value.to(kind) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    weight = huggingface.read(folder).model.state_dict()["embeddings.token.weight"]
    theirs = next(value for name, value in tensors.items() if name.endswith("word_embeddings.weight"))
    assert weight.dtype == torch.float32
    assert torch.equal(weight, theirs.float())


def test_a_file_that_is_cut_is_refused_by_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SOURCE, tmp_path / "model"))
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="not a valid safetensors file"):
        huggingface.read(folder)
