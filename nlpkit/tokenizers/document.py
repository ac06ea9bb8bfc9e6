"""What a tokenizer.json may say before the tokenizers library sees it.

The library trusts its input: a map of characters that is cut short, a padding of 10**15 tokens or a merge without its
prefix end in a panic or take the whole process with them. So every field that can is checked here first, and fields
that decide no id (post_processor, truncation, padding) never reach it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.base.errors import UserError, unknown
from nlpkit.tokenizers.patterns import check_pattern

Json = dict[str, Any]
MAX_BYTES = 64_000_000  # of a tokenizer.json; the largest published ones have 35 MB
MAX_ID = 1 << 24  # exclusive; the largest published vocabularies have 2**18 pieces
_MAX_DEPTH = 32
_MAX_STEPS = 200  # of a normalizer, pre_tokenizer or decoder
_MAX_TEXT = 1000  # characters of a text in one of these
_MAX_GROWTH = 1000  # characters that replacements may make of one
_MODELS = ("BPE", "WordPiece", "WordLevel", "Unigram")
_UNUSED = ("post_processor", "truncation", "padding")


def refused(what: str) -> UserError:
    """The error of every check."""
    return UserError(f"is not a tokenizer.json that nlpkit can run: {what}")


def parse(text: str) -> Json:
    """A checked document. Errors: UserError that names the first field that is wrong."""
    if len(text) > MAX_BYTES:
        raise refused(f"it has {len(text):,} characters, the limit is {MAX_BYTES:,}")
    try:
        document = json.loads(text)
        text.encode()
        if "\\u" in text:  # half of a pair, written as an escape
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise UserError("is not a JSON file") from None
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise refused("it has no model")
    added = document.get("added_tokens") or []
    if not isinstance(added, list) or not all(map(_is_added, added)):
        raise refused("its added_tokens are not a list of tokens with content and id")
    for name, several in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")):
        _check_steps(name, several, document.get(name))
    _check_model(document["model"])
    return document


def core(document: Mapping[str, Any]) -> str:
    """The part of a document that decides ids and text, for the library."""
    return json.dumps({**document, **dict.fromkeys(_UNUSED)}, ensure_ascii=False)


def _is_added(token: Any) -> bool:
    return (
        isinstance(token, dict)
        and isinstance(token.get("content"), str)
        and _is_id(token.get("id"))
        and len(token["content"]) <= _MAX_TEXT
    )


def _is_id(number: Any) -> bool:
    return type(number) is int and 0 <= number < MAX_ID


def _flat(value: Any, several: str, depth: int = 0) -> list[Json]:
    if depth > _MAX_DEPTH or not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise refused(f"one of its {several} is not an object with a type")
    if value["type"] != "Sequence":
        return [value]
    inner = value.get(several)
    if not isinstance(inner, list) or len(inner) > _MAX_STEPS:
        raise refused(f"a sequence of {several} has no list of them, or more than {_MAX_STEPS}")
    return [one for item in inner for one in _flat(item, several, depth + 1)]


def _check_steps(name: str, several: str, value: Any) -> None:
    steps = [] if value is None else _flat(value, several)
    if len(steps) > _MAX_STEPS:
        raise refused(f"its {name} has {len(steps):,} steps, the limit is {_MAX_STEPS}")
    growth = 1.0
    for step in steps:
        for key, item in step.items():
            if isinstance(item, str) and key != "precompiled_charsmap" and len(item) > _MAX_TEXT:
                raise refused(f"{key} of its {name} has {len(item):,} characters, the limit is {_MAX_TEXT:,}")
        pattern = step.get("pattern")
        if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
            check_pattern(pattern["Regex"])
        if isinstance(pattern, dict) and isinstance(step.get("content"), str):
            growth *= max(1.0, len(step["content"]) / max(1, len(str(pattern.get("String", "")))))
        if growth > _MAX_GROWTH:
            raise refused(f"the replacements of its {name} make texts more than {_MAX_GROWTH:,} times as long")
        if step["type"] == "Precompiled":
            _check_charsmap(step.get("precompiled_charsmap"))
        if step["type"] == "FixedLength" and not (_is_id(step.get("length")) and step["length"]):
            raise refused(f"length of its {name} is {str(step.get('length'))[:20]}")


def _check_model(model: Mapping[str, Any]) -> None:
    kind, vocab = model.get("type"), model.get("vocab")
    if kind not in _MODELS:
        raise unknown(str(kind)[:40], _MODELS, field="its model type")
    if model.get("dropout"):
        raise refused(
            f"its model drops merges at random (dropout {str(model['dropout'])[:20]}), so that the same text "
            "has other ids each time"
        )
    for key in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if not isinstance(model.get(key), (str, type(None))):
            raise refused(f"{key} of its model is not a text")
    if kind == "Unigram":
        if not isinstance(vocab, list) or not vocab or not all(map(_is_scored, vocab)):
            raise refused("its vocab is not a list of pieces with finite scores")
        unknown_id = model.get("unk_id")
        if unknown_id is not None and not (_is_id(unknown_id) and unknown_id < len(vocab)):
            raise refused(f"its unk_id is {str(unknown_id)[:20]}, and it has {len(vocab):,} pieces")
        return
    if not isinstance(vocab, dict) or not all(map(_is_id, vocab.values())):
        raise refused(f"its vocab is not a map of pieces to ids below {MAX_ID:,}")
    if (kind != "BPE" or model.get("unk_token") is not None) and model.get("unk_token") not in vocab:
        raise refused(f"its unk_token {str(model.get('unk_token'))[:40]!r} has no id")
    if kind == "BPE":
        _check_merges(model, vocab)


def _is_scored(item: Any) -> bool:
    return (
        isinstance(item, (list, tuple))
        and len(item) == 2
        and isinstance(item[0], str)
        and type(item[1]) in (int, float)
        and math.isfinite(item[1])
        and abs(item[1]) < 1e9
    )


def _check_merges(model: Mapping[str, Any], vocab: Mapping[str, int]) -> None:
    merges, prefix = model.get("merges"), model.get("continuing_subword_prefix") or ""
    if not isinstance(merges, list):
        raise refused("its model has no list of merges")
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(piece, str) for piece in pair):
            raise refused(f"a merge is not a pair of pieces: {str(merge)[:40]}")
        left, right = pair
        if not right.startswith(prefix) or left + right[len(prefix) :] not in vocab:
            raise refused(f"a merge gives a piece that its vocab lacks: {left[:40]!r} and {right[:40]!r}")
        if left not in vocab or right not in vocab:
            raise refused(f"a merge needs a piece that its vocab lacks: {left[:40]!r} or {right[:40]!r}")


def _check_charsmap(value: Any) -> None:
    """SentencePiece's compiled map: the length of a double-array trie, the trie, texts that end in NUL. Every node
    that can be reached from the root is followed, so that no text leads out of the array."""
    try:
        raw = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    size = int.from_bytes(raw[:4], "little")
    if len(raw) < 8 or size % 4 or size < 4 or 4 + size > len(raw):
        raise refused("its precompiled_charsmap is cut short")
    units = np.frombuffer(raw, "<u4", size // 4, 4).astype(np.int64)
    texts = raw[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError:
        raise refused("its precompiled_charsmap holds what is not UTF-8") from None
    leaves = _leaves(units)
    starts = np.frombuffer(texts, np.uint8)
    if len(leaves) and (leaves.max() >= len(texts) or (starts[leaves] & 0xC0 == 0x80).any()):
        raise refused("its precompiled_charsmap points beyond its texts")


def _leaves(units: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values of all keys of a Darts trie. Errors: a node that points outside."""

    def offset(unit: NDArray[np.int64]) -> NDArray[np.int64]:
        return (unit >> 10) << ((unit & (1 << 9)) >> 6)

    seen = np.zeros(len(units), bool)
    leaves = []
    bases = offset(units[:1])
    labels = np.arange(1, 256)
    while len(bases):
        if (bases | 255).max() >= len(units):
            raise refused("its precompiled_charsmap points outside of its table")
        nodes = (bases[:, None] ^ labels).ravel()
        nodes = nodes[(units[nodes] & ((1 << 31) | 0xFF)) == np.tile(labels, len(bases))]
        nodes = np.unique(nodes[~seen[nodes]])
        seen[nodes] = True
        bases = nodes ^ offset(units[nodes])
        ends = units[nodes] >> 8 & 1 == 1
        if ends.any():
            if bases[ends].max() >= len(units):
                raise refused("its precompiled_charsmap points outside of its table")
            leaves.append(units[bases[ends]] & ((1 << 31) - 1))
    return np.concatenate(leaves) if leaves else np.empty(0, np.int64)
