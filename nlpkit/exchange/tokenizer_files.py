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
from pathlib import Path

from nlpkit.base import events
from nlpkit.base.errors import UserError
from nlpkit.data.framing import TEXTS, Template
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


def write(tokenizer: Tokenizer, folder: Path, *, max_len: int, template: Template | None) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where customary, vocabulary files into ``folder``.

    ``max_len`` is the model's longest sequence; ``template`` says the framing that the tokenizer adds, None: nothing.
    A pipeline's tokenizer.json is written unchanged, its own framing included. Errors: UserError.
    """
    if isinstance(tokenizer, Pipeline):
        text, extra = (
            tokenizer.document,
            {} if tokenizer.chat_template is None else {"chat_template": tokenizer.chat_template},
        )
        if tokenizer.split_special:
            extra["split_special_tokens"] = True
    else:
        text, extra = _json(_document(tokenizer, template)), {}
        if not tokenizer.finds_special:
            extra[MARK] = {"special_pieces": "text"}
    typed = template is not None and template.segments
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


def _document(tokenizer: Tokenizer, template: Template | None) -> Json:
    """tokenizer.json of a tokenizer of ours."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(tokenizer),
        "post_processor": None if template is None else _processor(tokenizer, template),
        **describe(tokenizer),
    }


def _json(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _processor(tokenizer: Tokenizer, template: Template) -> Json:
    """The post-processor that adds a template's framing tokens; type id 1 for B and what follows it, where the model
    reads segments."""
    pieces = {role: tokenizer.special.get(role) for role in template.roles()}
    if lacking := [role for role, piece in pieces.items() if piece is None]:
        raise UserError(f"the model's tokenizer needs a {' and a '.join(lacking)} token; this one has none")

    def parts(words: str) -> list[Json]:
        kind, said = 0, []
        for word in words.split():
            kind = 1 if word == "B" and template.segments else kind
            name, key = ("Sequence", word) if word in TEXTS else ("SpecialToken", pieces[word])
            said.append({name: {"id": key, "type_id": kind}})
        return said

    framing = sorted({piece for piece in pieces.values() if piece is not None})
    return {
        "type": "TemplateProcessing",
        "single": parts(template.single),
        "pair": parts(template.pair),
        "special_tokens": {piece: {"id": piece, "ids": [tokenizer.ids[piece]], "tokens": [piece]} for piece in framing},
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
