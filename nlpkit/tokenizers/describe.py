"""How each kind of tokenizer is spelled in a tokenizer.json: the parts that decide ids and text, which are normalizer,
pre_tokenizer, model and decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nlpkit.base.errors import choose
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.bpe import END
from nlpkit.tokenizers.unigram import SPACE
from nlpkit.tokenizers.wordpiece import CONTINUATION, LONGEST

Json = dict[str, Any]
STEPS = {
    "nfc": "NFC",
    "nfd": "NFD",
    "nfkc": "NFKC",
    "nfkd": "NFKD",
    "strip_accents": "StripAccents",
    "lowercase": "Lowercase",
}
QUOTES: list[Json] = [{"type": "Replace", "pattern": {"String": old}, "content": '"'} for old in ("``", "''")]
_METASPACE: Json = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True}
_EACH_CHARACTER: Json = {
    "type": "Split",
    "pattern": {"Regex": r"[\s\S]"},
    "behavior": "Isolated",
    "invert": False,
}
BERT_WORDS: Json = {"type": "BertPreTokenizer"}
_BYTES: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def added_tokens(tokenizer: Tokenizer) -> list[Json]:
    """The special pieces as tokenizer.json lists them, in the order of their ids."""
    return [
        {
            "id": number,
            "content": tokenizer.pieces[number],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number in sorted({tokenizer.ids[piece] for piece in tokenizer.special.values()})
    ]


def describe(tokenizer: Tokenizer) -> Json:
    """The four parts of tokenizer.json that say what a tokenizer does."""
    return choose(_DESCRIBE, tokenizer.kind, field="tokenizer kind")(tokenizer.plain)


def _normalizer(steps: Sequence[str]) -> Json | None:
    chain = [part for step in steps for part in (QUOTES if step == "quotes" else [{"type": STEPS[step]}])]
    return {"type": "Sequence", "normalizers": chain} if chain else None


def _unigram(tokenizer: Any) -> Json:
    return {
        "normalizer": _normalizer(tokenizer.steps),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE]},
        "model": {
            "type": "Unigram",
            "unk_id": tokenizer.role("unk"),
            "vocab": [list(pair) for pair in zip(tokenizer.pieces, tokenizer.scores, strict=True)],
            "byte_fallback": False,
        },
        "decoder": _METASPACE,
    }


def _char(tokenizer: Any) -> Json:
    return {
        "normalizer": _normalizer(tokenizer.steps),
        "pre_tokenizer": _EACH_CHARACTER,
        "model": {"type": "WordLevel", "vocab": tokenizer.ids, "unk_token": tokenizer.special["unk"]},
        "decoder": {"type": "Fuse"},
    }


def _basic(tokenizer: Any) -> Json:
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": tokenizer.strip_accents,
        "lowercase": tokenizer.lowercase,
    }


def _word(tokenizer: Any) -> Json:
    return {
        "normalizer": _basic(tokenizer),
        "pre_tokenizer": BERT_WORDS,
        "model": {"type": "WordLevel", "vocab": tokenizer.ids, "unk_token": tokenizer.special["unk"]},
        "decoder": None,
    }


def _wordpiece(tokenizer: Any) -> Json:
    return {
        "normalizer": _basic(tokenizer),
        "pre_tokenizer": BERT_WORDS,
        "model": {
            "type": "WordPiece",
            "unk_token": tokenizer.special["unk"],
            "continuing_subword_prefix": CONTINUATION,
            "max_input_chars_per_word": LONGEST,
            "vocab": tokenizer.ids,
        },
        "decoder": {"type": "WordPiece", "prefix": CONTINUATION, "cleanup": False},
    }


def _bpe(tokenizer: Any) -> Json:
    on_bytes = tokenizer.byte_level
    return {
        "normalizer": None if on_bytes else _basic(tokenizer),
        "pre_tokenizer": _BYTES if on_bytes else BERT_WORDS,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if on_bytes else tokenizer.special["unk"],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None if on_bytes else END,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": tokenizer.ids,
            "merges": [list(pair) for pair in tokenizer.merges],
        },
        "decoder": _BYTES if on_bytes else {"type": "BPEDecoder", "suffix": END},
    }


_DESCRIBE: dict[str, Callable[[Any], Json]] = {
    "unigram": _unigram,
    "char": _char,
    "word": _word,
    "wordpiece": _wordpiece,
    "bpe": _bpe,
}
