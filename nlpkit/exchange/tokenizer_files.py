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
from nlpkit.base.errors import UserError, choose
from nlpkit.exchange.pipelines import Json, build, describe
from nlpkit.tokenizers.base import ROLES, Tokenizer
from nlpkit.tokenizers.bpe import BPE
from nlpkit.tokenizers.wordpiece import WordPiece

# What files that name no roles mean by the usual pieces: GPT-2's, BERT's, and those of RoBERTa, T5 and XLNet.
_USUAL = {
    "<|endoftext|>": ("bos", "eos", "unk"), "[PAD]": ("pad",), "[UNK]": ("unk",), "[CLS]": ("cls",),
    "[SEP]": ("sep",), "[MASK]": ("mask",), "<s>": ("bos", "cls"), "</s>": ("eos", "sep"), "<pad>": ("pad",),
    "<unk>": ("unk",), "<mask>": ("mask",), "<cls>": ("cls",), "<sep>": ("sep",),
}  # fmt: skip


def write(tokenizer: Tokenizer, folder: Path, *, max_len: int, framing: str, segments: bool = True) -> None:
    """Write tokenizer.json, tokenizer_config.json and, where customary, vocabulary files into ``folder``.

    ``max_len`` is the model's longest sequence. ``framing`` "encoder" adds [CLS] A [SEP] B [SEP], "decoder" nothing,
    "decoder-end" the end of text.
    ``segments`` False is for encoders that know no segment ids (DistilBERT). Errors: UserError.
    """
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": tokenizer.pieces[number], "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for number in sorted({tokenizer.ids[piece] for piece in tokenizer.special.values()})
        ],
        "post_processor": choose(_TEMPLATES, framing, field="framing")(tokenizer),
        **describe(tokenizer),
    }  # fmt: skip
    typed = framing == "encoder" and segments
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_len,
        "model_input_names": ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": tokenizer.special[role] for role in ROLES if role in tokenizer.special},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=folder) from None
    files = {"tokenizer.json": _json(document), "tokenizer_config.json": _json(config)}
    for name, text in files.items():
        atomic.write_text(folder / name, text, force=True)


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
    """The tokenizer of a Hugging Face directory: tokenizer.json, or vocab.txt, or vocab.json with merges.txt.

    Errors: UserError for a missing or malformed file, and for a pipeline that none of our kinds repeats exactly.
    """
    for name, reader in _READERS.items():
        if (folder / name).is_file():
            try:
                return reader(folder)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
                raise UserError(f"is not a file that the tokenizers library writes: {type(error).__name__} {error}",
                                where=folder / name) from None  # fmt: skip
            except UserError as error:
                if error.where is None:
                    error = UserError(error.what, where=folder / name, hint=error.hint)
                raise error from None
    raise UserError("holds no tokenizer", where=folder,
                    hint="expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt")  # fmt: skip


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except (ValueError, RecursionError):
        raise UserError("is not a JSON file", where=path) from None


def _settings(folder: Path) -> Json:
    """What tokenizer_config.json and special_tokens_map.json say, the first before the second."""
    found: Json = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            found.update(_load(folder / name))
    return found


def _tokenizer_json(folder: Path) -> Tokenizer:
    document = _load(folder / "tokenizer.json")
    model, added = document["model"], document.get("added_tokens") or []
    vocab = model["vocab"]
    ids = vocab if isinstance(vocab, dict) else {piece: number for number, (piece, _) in enumerate(vocab)}
    for token in added:
        if not token["special"]:
            raise UserError(f"cuts the added token {token['content']!r} out of texts before its pipeline, which nlpkit "
                            "does not", hint="only special tokens can be added to a vocabulary")  # fmt: skip
    ids = {**ids, **{token["content"]: token["id"] for token in added}}
    pieces = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise UserError("its ids are not 0, 1, 2, ... without gaps or repeats")
    special = _special(_settings(folder), [token["content"] for token in added], ids)
    unknown = pieces[model["unk_id"]] if model.get("unk_id") is not None else model.get("unk_token")
    if unknown is not None:
        special["unk"] = unknown
    return build(document, pieces, special)


def _special(settings: Json, added: list[str], ids: dict[str, int]) -> dict[str, str]:
    """Role -> piece; an added special token that has no role stands under its own name."""
    special: dict[str, str] = {}
    for role in ROLES:
        given = settings.get(f"{role}_token")
        piece = given.get("content") if isinstance(given, dict) else given
        if piece is not None:
            if piece not in ids:
                raise UserError(f"its {role}_token {piece!r} has no id")
            special[role] = piece
    if not special:
        special = {role: piece for piece in ids if piece in _USUAL for role in _USUAL[piece]}
    return special | {piece: piece for piece in added if piece not in special.values()}


def _vocab_txt(folder: Path) -> Tokenizer:
    """A BERT vocabulary, a piece a line; tokenizer_config.json says whether it lower-cases (by custom it does)."""
    settings = _settings(folder)
    lower = bool(settings.get("do_lower_case", True))
    if settings.get("tokenize_chinese_chars", True) is not True or settings.get("strip_accents") not in (None, lower):
        raise UserError("its tokenizer_config.json asks for a variant of BERT's words that nlpkit does not compute")
    pieces = (folder / "vocab.txt").read_text("utf-8").removesuffix("\n").split("\n")
    return WordPiece(pieces, _of_pieces(settings, pieces), lower)


def _vocab_json(folder: Path) -> Tokenizer:
    """GPT-2's files: pieces with their ids, and merges, a pair a line."""
    settings, ids = _settings(folder), _load(folder / "vocab.json")
    if settings.get("add_prefix_space"):
        raise UserError("its tokenizer_config.json adds a space in front of texts, which nlpkit does not")
    if not (folder / "merges.txt").is_file():
        raise UserError("has no merges.txt beside it")
    pieces = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise UserError("its ids are not 0, 1, 2, ... without gaps or repeats")
    lines = (folder / "merges.txt").read_text("utf-8").split("\n")
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    return BPE(pieces, _of_pieces(settings, pieces), merges)


def _of_pieces(settings: Json, pieces: list[str]) -> dict[str, str]:
    return _special(settings, [], {piece: number for number, piece in enumerate(pieces)})


_READERS: dict[str, Callable[[Path], Tokenizer]] = {
    "tokenizer.json": _tokenizer_json, "vocab.txt": _vocab_txt, "vocab.json": _vocab_json,
}  # fmt: skip
