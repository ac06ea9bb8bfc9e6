"""Write golden Hugging Face directories and what transformers computes with them, so that parity can be checked where
transformers is not installed.

    python tests/golden/make_parity.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "huggingface"
LENGTHS = (7, 7, 3, 10)
SHAPE = {
    "vocab_size": 40,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
    "initializer_range": 0.1,
    "id2label": {0: "no", 1: "perhaps", 2: "yes"},
}


def models() -> dict[str, Any]:
    import transformers

    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
    bert = transformers.BertConfig(**SHAPE, **sizes, max_position_embeddings=10)
    roberta = transformers.RobertaConfig(**SHAPE, **sizes, max_position_embeddings=11, type_vocab_size=1)
    gpt2 = transformers.GPT2Config(**SHAPE, n_embd=12, n_layer=2, n_head=3, n_inner=20, n_positions=10)
    names = {
        "bert": ("BertForPreTraining", bert),
        "bert-classify": ("BertForSequenceClassification", bert),
        "roberta": ("RobertaForMaskedLM", roberta),
        "roberta-classify": ("RobertaForSequenceClassification", roberta),
        "gpt2": ("GPT2LMHeadModel", gpt2),
        "gpt2-classify": ("GPT2ForSequenceClassification", gpt2),
    }
    found = {}
    for name, (kind, config) in names.items():
        torch.manual_seed(len(name))
        found[name] = getattr(transformers, kind)(config).eval()
        with torch.no_grad():
            for parameter in found[name].parameters():  # biases and norms too
                parameter.add_(0.1 * torch.randn_like(parameter))
            for key, parameter in found[name].named_parameters():
                if name.startswith("roberta") and key.endswith("position_embeddings.weight"):
                    parameter[0] = 0  # padding's, which no token reads
    return found


@torch.no_grad()
def main() -> None:
    for name, model in models().items():
        folder = FOLDER / name
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        tokens = torch.randint(1, 40, (len(LENGTHS), max(LENGTHS)))
        mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
        inputs = {"input_ids": tokens * mask, "attention_mask": mask}
        if name.startswith("bert"):
            inputs["token_type_ids"] = torch.randint(0, 2, tokens.shape)
        output = model(**inputs, output_hidden_states=True)
        wanted = {key: value for key, value in output.items() if key.endswith("logits")}
        wanted["hidden"] = output.hidden_states[-1]
        tensors = {key: value.contiguous() for key, value in {**inputs, **wanted}.items()}
        save_file(tensors, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
