"""Parity with transformers without it: directories and outputs that it wrote (tests/golden/make_parity.py)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import toys
from safetensors.torch import load_file

import nlpkit
from nlpkit.base.errors import UserError
from nlpkit.data.batch import Batch
from nlpkit.exchange import tokenizer_files
from nlpkit.exchange.export import export
from nlpkit.layers.packing import Packing

GOLDEN = Path(__file__).parents[1] / "golden" / "huggingface"
NAMES = sorted(path.name for path in GOLDEN.iterdir())
LOGITS = {"prediction_logits": "mlm", "seq_relationship_logits": "nsp", "logits": None}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_equal_transformers(name: str) -> None:
    loaded, expected = nlpkit.load(GOLDEN / name), load_file(GOLDEN / name / "expected.safetensors")
    lengths = expected["attention_mask"].sum(1).tolist()

    def packed(values: torch.Tensor) -> torch.Tensor:
        return torch.cat([row[:length] for row, length in zip(values, lengths, strict=True)])

    tokens = packed(expected["input_ids"])
    segments = packed(expected["token_type_ids"]) if "token_type_ids" in expected else None
    special = torch.zeros(len(tokens), dtype=torch.bool)
    with torch.no_grad():
        output = loaded.model(Batch(tokens, Packing.of(lengths), torch.arange(len(lengths)), special, segments))
        assert torch.allclose(output.hidden, packed(expected["hidden"]), rtol=0, atol=1e-5)
        for key, head in LOGITS.items():
            if key in expected:
                head = head or ("classify" if "classify" in name else loaded.family.objective)
                by_token = head in ("mlm", "clm")
                found = loaded.model.heads[head](output.hidden if by_token else output.pooled)
                assert torch.allclose(found, packed(expected[key]) if by_token else expected[key], rtol=0, atol=1e-5)
    assert list(loaded.model.heads) == {"bert": ["mlm", "nsp"], "roberta": ["mlm"], "gpt2": ["clm"]}.get(
        name, ["classify"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_written_as_they_were_read(name: str, tmp_path: Path) -> None:
    given = shutil.copytree(GOLDEN / name, tmp_path / "given")
    if name.startswith("roberta"):  # its positions count from the padding token's id
        with pytest.raises(UserError, match="count from the padding token's id") as caught:
            export(given, tmp_path / "again")
        assert caught.value.hint == "it has no tokenizer, whose pad token says it"
        tokenizer_files.write(toys.tokenizer(), given, max_len=10, template=None)
    export(given, tmp_path / "again")
    theirs, ours = (load_file(folder / "model.safetensors") for folder in (GOLDEN / name, tmp_path / "again"))
    assert set(theirs) == set(ours)
    assert all(torch.equal(value, ours[key]) for key, value in theirs.items())
