"""Hugging Face tokenizer directories: `write` makes one that gives the same ids, `read` opens one as ours.

Two things to know (docs/file-format.md):

- ``tokenizer_config.json`` names ``PreTrainedTokenizerFast``. Without it transformers picks a class by the model's
  type, and that class rebuilds the pipeline: a cased BERT vocabulary would be lower-cased without a word.
- A special piece written in a text, such as "[MASK]", is that special token to Hugging Face and ordinary text to us.
  ``AutoTokenizer.from_pretrained(folder, split_special_tokens=True)`` reads it as we do (but for unigram and word
  vocabularies, whose models find it in their table all the same).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlpkit.artifact import atomic
from nlpkit.errors import UserError, choose
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.unigram import SPACE, Unigram

Json = dict[str, Any]
_STEP_TYPES = {
    "nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD", "strip_accents": "StripAccents",
    "lowercase": "Lowercase",
}  # fmt: skip
_METASPACE = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}


def write(tokenizer: Tokenizer, folder: Path, *, max_len: int, framing: str, segments: bool = True) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where customary, vocabulary files into ``folder``.

    ``max_len`` is the model's longest sequence. ``framing`` "encoder" adds [CLS] A [SEP] B [SEP], "decoder" nothing.
    ``segments`` False is for encoders that know no segment ids (DistilBERT). Errors: UserError.
    """
    pipeline = choose(_PIPELINES, tokenizer.kind, field="tokenizer kind")(tokenizer)
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": tokenizer.pieces[number], "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for number in sorted({tokenizer.ids[piece] for piece in tokenizer.special.values()})
        ],
        **pipeline,
        "post_processor": choose(_TEMPLATES, framing, field="framing")(tokenizer),
    }  # fmt: skip
    typed = framing == "encoder" and segments
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_len,
        "model_input_names": ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": piece for role, piece in sorted(tokenizer.special.items()) if role in _ROLES},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=folder) from None
    _write_json(folder / "tokenizer.json", document)
    _write_json(folder / "tokenizer_config.json", config)


_ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")


def _write_json(path: Path, value: Json) -> None:
    atomic.write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", force=True)


def _unigram(tokenizer: Any) -> Json:
    return {
        "normalizer": _normalizer(tokenizer.steps),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE]},
        "model": {
            "type": "Unigram", "unk_id": tokenizer.role("unk"), "byte_fallback": False,
            "vocab": [list(pair) for pair in zip(tokenizer.pieces, tokenizer.scores, strict=True)],
        },
        "decoder": _METASPACE,
    }  # fmt: skip


def _normalizer(steps: list[str]) -> Json | None:
    chain: list[Json] = []
    for step in steps:
        if step == "quotes":
            chain += [{"type": "Replace", "pattern": {"String": old}, "content": '"'} for old in ("``", "''")]
        else:
            chain.append({"type": _STEP_TYPES[step]})
    return {"type": "Sequence", "normalizers": chain} if chain else None


_PIPELINES: dict[str, Callable[[Any], Json]] = {"unigram": _unigram}


def _encoder_template(tokenizer: Tokenizer) -> Json:
    """[CLS] A [SEP] and [CLS] A [SEP] B [SEP], type id 1 for B and its [SEP]."""
    first, last = tokenizer.special.get("cls"), tokenizer.special.get("sep")
    if first is None or last is None:
        raise UserError("an encoder's tokenizer needs cls and sep tokens; this one has none")

    def mark(piece: str, kind: int) -> Json:
        return {"SpecialToken": {"id": piece, "type_id": kind}}

    single = [mark(first, 0), {"Sequence": {"id": "A", "type_id": 0}}, mark(last, 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}, mark(last, 1)],
        "special_tokens": {
            piece: {"id": piece, "ids": [tokenizer.ids[piece]], "tokens": [piece]} for piece in sorted({first, last})
        },
    }


_TEMPLATES: dict[str, Callable[[Tokenizer], Json | None]] = {
    "encoder": _encoder_template,
    "decoder": lambda tokenizer: None,
}


def read(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory. Errors: UserError for a missing or malformed file, and for a pipeline
    that none of our kinds repeats exactly."""
    path = folder / "tokenizer.json"
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except ValueError:
        raise UserError("is not a JSON file", where=path) from None
    model = document["model"]
    special = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    roles = {role: special[f"{role}_token"] for role in _ROLES if special.get(f"{role}_token")}
    return Unigram([piece for piece, _ in model["vocab"]], [score for _, score in model["vocab"]], roles)
