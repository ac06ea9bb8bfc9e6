"""Hugging Face tokenizer directories: `write` writes one that gives the same ids, `read` opens one as ours.

Two things to know (docs/file-format.md):

- ``tokenizer_config.json`` names ``PreTrainedTokenizerFast``. Without it transformers picks a class by the model's
  type, and that class rebuilds the pipeline: a cased BERT vocabulary would be lower-cased silently.
- A special piece written in a text, such as "[MASK]", is that special token to Hugging Face, and so it is to a
  tokenizer that is read from elsewhere; to our own it is ordinary text. ``nlpkit`` in tokenizer_config.json records
  this, and ``AutoTokenizer.from_pretrained(folder, split_special_tokens=True)`` reads it as we do (but for unigram and
  word vocabularies, whose models find it in their table all the same).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from nlpkit.base import events
from nlpkit.base.errors import UserError, choose
from nlpkit.exchange.pipelines import build
from nlpkit.exchange.tokenizer_directory import FILES, MARK, Directory, resolve
from nlpkit.tokenizers.base import ROLES, Tokenizer
from nlpkit.tokenizers.describe import Json, added_tokens, describe
from nlpkit.tokenizers.pipeline import Pipeline
from nlpkit.tokenizers.special import FindsSpecial

# Roles of the usual pieces, for files that name no roles: GPT-2's, BERT's, and those of RoBERTa, T5 and XLNet.
_USUAL = {
    "<|endoftext|>": ("bos", "eos", "unk"),
    "[PAD]": ("pad",),
    "[UNK]": ("unk",),
    "[CLS]": ("cls",),
    "[SEP]": ("sep",),
    "[MASK]": ("mask",),
    "<s>": ("bos", "cls"),
    "</s>": ("eos", "sep"),
    "<pad>": ("pad",),
    "<unk>": ("unk",),
    "<mask>": ("mask",),
    "<cls>": ("cls",),
    "<sep>": ("sep",),
}


def write(tokenizer: Tokenizer, folder: Path, *, max_len: int, framing: str, segments: bool = True) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where customary, vocabulary files into ``folder``.

    ``max_len`` is the model's longest sequence. ``framing`` "encoder" adds [CLS] A [SEP] B [SEP], "decoder" nothing,
    "decoder-end" the end of text.
    ``segments`` False is for encoders that know no segment ids (DistilBERT). A pipeline's tokenizer.json is written
    unchanged, its own framing included. Errors: UserError.
    """
    if isinstance(tokenizer, Pipeline):
        text, extra = (
            tokenizer.document,
            {} if tokenizer.chat_template is None else {"chat_template": tokenizer.chat_template},
        )
        if tokenizer.split_special:
            extra["split_special_tokens"] = True
    else:
        text, extra = _json(_document(tokenizer, framing)), {}
        if not tokenizer.finds_special:
            extra[MARK] = {"special_pieces": "text"}
    typed = framing == "encoder" and segments
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_len,
        "model_input_names": ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": tokenizer.special[role] for role in ROLES if role in tokenizer.special},
        **extra,
    }
    for name, content in {"tokenizer.json": text, "tokenizer_config.json": _json(config)}.items():
        (folder / name).write_text(content, "utf-8")


def _document(tokenizer: Tokenizer, framing: str) -> Json:
    """tokenizer.json of a tokenizer of ours."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokenizer),
        "post_processor": choose(_TEMPLATES, framing, field="framing")(tokenizer),
        **describe(tokenizer),
    }


def _json(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


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


def _end_template(tokenizer: Tokenizer) -> Json:
    """A and A, end of text, B; end of text after both: what a decoder's classifier reads."""
    last = tokenizer.special.get("eos")
    if last is None:
        raise UserError("a decoder's tokenizer needs an eos token; this one has none")
    end = {"SpecialToken": {"id": last, "type_id": 0}}
    single = [{"Sequence": {"id": "A", "type_id": 0}}, end]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 0}}, end],
        "special_tokens": {last: {"id": last, "ids": [tokenizer.ids[last]], "tokens": [last]}},
    }


_TEMPLATES: dict[str, Callable[[Tokenizer], Json | None]] = {
    "encoder": _encoder_template,
    "decoder": lambda tokenizer: None,
    "decoder-end": _end_template,
}


def read(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face directory, as transformers reads it: one of our kinds where one repeats it
    exactly, else a pipeline of the tokenizers library. Its ids are transformers' on any text; special pieces in a text
    are found, unless the directory says split_special_tokens or was written by nlpkit.

    Errors: UserError for a missing, malformed or contradictory file.
    """
    directory = resolve(folder)
    where = folder / next(name for name in FILES if (folder / name).is_file())
    try:
        pipeline = Pipeline(
            directory.text,
            _named(directory),
            directory.settings.get("split_special_tokens") is True,
            directory.chat_template,
        )
        tokenizer = _ours(directory, pipeline)
    except UserError as error:
        raise UserError(error.what, where=error.where or where, hint=error.hint) from None
    if tokenizer is None:
        return pipeline
    if directory.chat_template is not None:
        events.note(f"{folder}: its chat template is not saved")
    return tokenizer if directory.ours or pipeline.split_special else FindsSpecial(tokenizer)


def _named(directory: Directory) -> dict[str, str]:
    """Role -> piece; an added special token without a role has its own name as key."""
    document, special = directory.document, dict(directory.special)
    model, added = document["model"], document.get("added_tokens") or []
    vocab = model["vocab"]
    if isinstance(vocab, list):
        vocab = {piece: number for number, (piece, _) in enumerate(vocab)}
    ids = {**vocab, **{token["content"]: token["id"] for token in added}}
    for role, piece in special.items():
        if piece not in ids:
            raise UserError(f"its {role}_token {piece!r} has no id")
    if not special:
        special = {role: piece for piece in ids if piece in _USUAL for role in _USUAL[piece]}
    if model.get("unk_id") is not None:
        special["unk"] = next(piece for piece, number in vocab.items() if number == model["unk_id"])
    elif model.get("unk_token") is not None:
        special["unk"] = model["unk_token"]
    return special | {
        token["content"]: token["content"]
        for token in added
        if token.get("special") and token["content"] not in special.values()
    }


def _ours(directory: Directory, pipeline: Pipeline) -> Tokenizer | None:
    """The same tokenizer as one of our kinds; None where none gives its ids on every text."""
    added = directory.document.get("added_tokens") or []
    normalizer = directory.document.get("normalizer")
    for token in added:
        moved = token.get("lstrip") or token.get("rstrip") or token.get("single_word")
        if not token.get("special") or moved or (token.get("normalized") and normalizer is not None):
            return None
    reserved = set(pipeline.special.values())
    if not directory.ours and reserved != {token["content"] for token in added}:
        return None  # the library would not split a text at the pieces of roles
    if sorted(pipeline.ids.values()) != list(range(len(pipeline.ids))):
        return None
    try:
        tokenizer = build(directory.document, pipeline.pieces, pipeline.special)
    except UserError:
        return None
    if not directory.ours and _can_be_written(tokenizer, reserved):
        return None
    return tokenizer


def _can_be_written(tokenizer: Tokenizer, reserved: set[str]) -> bool:
    """Whether normalisation or the model may make a special piece of ordinary text: to ours it never is one."""
    if tokenizer.kind == "unigram":
        return bool(getattr(tokenizer, "steps", None))
    if tokenizer.kind == "bpe":
        return any(left + right in reserved for left, right in getattr(tokenizer, "merges", ()))
    return any(len(piece) == 1 or piece.removeprefix("##").isalnum() for piece in reserved)
