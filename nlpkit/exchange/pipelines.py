"""Our tokenizer for a tokenizer.json, where one of our kinds repeats it exactly.

`build` returns the tokenizer of ours whose description (nlpkit/tokenizers/describe.py) equals the document; where there
is none, it raises, so that what it returns is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nlpkit.base.errors import UserError, choose
from nlpkit.tokenizers.base import Tokenizer
from nlpkit.tokenizers.bpe import BPE
from nlpkit.tokenizers.char import Character
from nlpkit.tokenizers.describe import BERT_WORDS, QUOTES, STEPS, Json, describe
from nlpkit.tokenizers.unigram import Unigram
from nlpkit.tokenizers.word import Word
from nlpkit.tokenizers.wordpiece import WordPiece


def build(document: Json, pieces: list[str], special: dict[str, str]) -> Tokenizer:
    """Our tokenizer for a tokenizer.json whose ``pieces`` are in order of their ids.

    Errors: UserError that names the part no kind of ours repeats exactly.
    """
    kind = document["model"].get("type")
    tokenizer = choose(_BUILD, str(kind), field="its model type")(document, pieces, special)
    ours = describe(tokenizer)
    for part in ("normalizer", "pre_tokenizer"):
        if _flat(ours[part]) != _flat(document.get(part)):
            raise _refusal(part, document.get(part))
    for name, value in document["model"].items():
        # Some files write "" or false for an absent value.
        if name not in ("vocab", "merges") and value not in ("", ours["model"].get(name)) and value is not False:
            raise _refusal("model", {name: value})
    return tokenizer


def _refusal(part: str, value: Any) -> UserError:
    shown = str(value)
    return UserError(
        f"its {part} cannot be repeated exactly: {shown[:200]}{'...' if len(shown) > 200 else ''}",
        hint="nlpkit reads WordPiece with BERT's normalizer, byte-level BPE, and Unigram or WordLevel on white space",
    )


def _flat(part: Json | None) -> list[Json]:
    """A normalizer or pre_tokenizer as a plain list, without what changes no id."""
    if part is None:
        return []
    if part.get("type") == "Sequence":
        inner: list[Json] = part.get("normalizers") or part.get("pretokenizers") or []
        return [one for item in inner for one in _flat(item)]
    known = {key: value for key, value in part.items() if key != "trim_offsets"}
    if part.get("type") == "ByteLevel":
        known.setdefault("use_regex", True)  # older files do not have it
    if part.get("type") == "BertNormalizer" and known.get("strip_accents") is None:
        known["strip_accents"] = known.get("lowercase")
    return [known]


def _steps(document: Json) -> list[str]:
    """The names of a normalizer's steps. What only touches white space is left out: words are split there anyway."""
    parts, steps = _flat(document.get("normalizer")), []
    names = {value: key for key, value in STEPS.items()}
    while parts:
        part = parts.pop(0)
        if parts and [part, parts[0]] == QUOTES:
            steps.append("quotes")
            parts.pop(0)
        elif part.get("type") in names:
            steps.append(names[part["type"]])
        else:
            raise _refusal("normalizer", part)
    return steps


def _build_unigram(document: Json, pieces: list[str], special: dict[str, str]) -> Tokenizer:
    vocab = document["model"]["vocab"]
    scores = [float(score) for _, score in vocab]
    # Tokens that were added after the model's vocabulary are special: their scores never count.
    scores += [max(scores)] * (len(pieces) - len(scores))
    return Unigram(pieces, scores, special, _steps(document))


def _build_word_level(document: Json, pieces: list[str], special: dict[str, str]) -> Tokenizer:
    if _flat(document.get("pre_tokenizer")) == [BERT_WORDS]:
        return Word(pieces, special, *_case(document))
    return Character(pieces, special, _steps(document))


def _build_wordpiece(document: Json, pieces: list[str], special: dict[str, str]) -> Tokenizer:
    return WordPiece(pieces, special, *_case(document))


def _build_bpe(document: Json, pieces: list[str], special: dict[str, str]) -> Tokenizer:
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in document["model"]["merges"]]
    on_bytes = any(part.get("type") == "ByteLevel" for part in _flat(document.get("pre_tokenizer")))
    return BPE(pieces, special, merges, on_bytes, *((False, False) if on_bytes else _case(document)))


def _case(document: Json) -> tuple[bool, bool]:
    """Whether BERT's normalizer lower-cases, and whether it strips accents."""
    parts = _flat(document.get("normalizer"))
    lower, strip = (any(part.get(name) is True for part in parts) for name in ("lowercase", "strip_accents"))
    return lower, strip


_BUILD: dict[str, Callable[[Json, list[str], dict[str, str]], Tokenizer]] = {
    "Unigram": _build_unigram,
    "WordLevel": _build_word_level,
    "WordPiece": _build_wordpiece,
    "BPE": _build_bpe,
}
