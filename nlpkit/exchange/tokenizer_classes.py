"""How the tokenizer classes of transformers 5 build a tokenizer from a directory's files.

Such a class takes the vocabulary of tokenizer.json and builds normalizer, pre_tokenizer and model anew, from the
settings of tokenizer_config.json: where the two files differ, the class wins. A class that is not in this table, and
the general one (PreTrainedTokenizerFast, TokenizersBackend), use tokenizer.json as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nlpkit.base.errors import UserError
from nlpkit.tokenizers.describe import Json
from nlpkit.tokenizers.unigram import SPACE

_NO_BPE_MARKS: Json = {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    r"|\s+"
)


@dataclass(frozen=True)
class TokenizerClass:
    """``model`` is the type it needs, ``build(settings, document)`` the parts it builds, ``special`` its default
    pieces by role."""

    model: str
    build: Callable[[Mapping[str, Any], Json], Json]
    special: Mapping[str, str]


def _bert(settings: Mapping[str, Any], document: Json) -> Json:
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": bool(settings.get("tokenize_chinese_chars", True)),
            "strip_accents": settings.get("strip_accents"),
            "lowercase": bool(settings.get("do_lower_case", True)),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": _text(settings.get("unk_token", "[UNK]")),
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    }


def _bytes(settings: Mapping[str, Any], document: Json) -> Json:
    prefix = bool(settings.get("add_prefix_space", False))
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            **_NO_BPE_MARKS,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    }


def _qwen(settings: Mapping[str, Any], document: Json) -> Json:
    parts = _bytes(settings, document)
    split = {"type": "Split", "pattern": {"Regex": _QWEN}, "behavior": "Isolated", "invert": False}
    words = {**parts["pre_tokenizer"], "use_regex": False}
    return {
        **parts,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, words]},
    }


def _llama(settings: Mapping[str, Any], document: Json) -> Json:
    prefix = settings.get("add_prefix_space")
    prefix = True if prefix is None else bool(prefix)
    legacy = bool(settings.get("legacy", False))
    scheme = ("always" if legacy else "first") if prefix else "never"
    steps: list[Json] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
        },
        "decoder": {"type": "Sequence", "decoders": steps},
    }


def _sentencepiece(
    unk_id: int, normalizers: Callable[[Mapping[str, Any]], list[Json]]
) -> Callable[[Mapping[str, Any], Json], Json]:
    """White space becomes U+2581; the compiled map of characters is that of tokenizer.json."""

    def build(settings: Mapping[str, Any], document: Json) -> Json:
        scheme = "always" if settings.get("add_prefix_space", True) else "never"
        marks = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": True}
        chain = [*normalizers(settings), *_charsmap(document.get("normalizer"))]
        return {
            "normalizer": {"type": "Sequence", "normalizers": chain} if chain else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, marks]},
            "model": {"type": "Unigram", "unk_id": unk_id, "byte_fallback": False},
            "decoder": marks,
        }

    return build


def _albert(settings: Mapping[str, Any]) -> list[Json]:
    chain: list[Json] = [{"type": "Replace", "pattern": {"String": old}, "content": '"'} for old in ("``", "''")]
    if not settings.get("keep_accents", False):
        chain += [{"type": "NFKD"}, {"type": "StripAccents"}]
    return [*chain, {"type": "Lowercase"}] if settings.get("do_lower_case", True) else chain


def _charsmap(normalizer: Json | None) -> list[Json]:
    """The first compiled map of characters in a normalizer."""
    if normalizer is None:
        return []
    steps = normalizer.get("normalizers") or [] if normalizer.get("type") == "Sequence" else [normalizer]
    return [step for step in steps if step.get("type") == "Precompiled"][:1]


def _text(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


_BERT_SPECIAL = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_GPT2_SPECIAL = dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>")
_ROBERTA_SPECIAL = {
    "bos": "<s>",
    "eos": "</s>",
    "unk": "<unk>",
    "sep": "</s>",
    "pad": "<pad>",
    "cls": "<s>",
    "mask": "<mask>",
}
CLASSES: dict[str, TokenizerClass] = {
    "BertTokenizer": TokenizerClass("WordPiece", _bert, _BERT_SPECIAL),
    "GPT2Tokenizer": TokenizerClass("BPE", _bytes, _GPT2_SPECIAL),
    "RobertaTokenizer": TokenizerClass("BPE", _bytes, _ROBERTA_SPECIAL),
    "Qwen2Tokenizer": TokenizerClass("BPE", _qwen, dict.fromkeys(("unk", "eos", "pad"), "<|endoftext|>")),
    "LlamaTokenizer": TokenizerClass("BPE", _llama, {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}),
    "T5Tokenizer": TokenizerClass(
        "Unigram", _sentencepiece(2, lambda settings: []), {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
    ),
    "XLMRobertaTokenizer": TokenizerClass("Unigram", _sentencepiece(3, lambda settings: []), _ROBERTA_SPECIAL),
    "AlbertTokenizer": TokenizerClass(
        "Unigram",
        _sentencepiece(1, _albert),
        {
            "bos": "[CLS]",
            "eos": "[SEP]",
            "unk": "<unk>",
            "sep": "[SEP]",
            "pad": "<pad>",
            "cls": "[CLS]",
            "mask": "[MASK]",
        },
    ),
}
_ALIASES = {
    "DistilBertTokenizer": "BertTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "BartTokenizer": "RobertaTokenizer",
    "LayoutLMTokenizer": "BertTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "LEDTokenizer": "RobertaTokenizer",
}

# model_type of config.json -> the class that transformers registers for it; "" is the general one.
_REGISTERED = {
    "bert": "BertTokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "ernie": "BertTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_neo": "GPT2Tokenizer",
    "opt": "GPT2Tokenizer",
    "roberta": "RobertaTokenizer",
    "bart": "RobertaTokenizer",
    "longformer": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer",
    "albert": "AlbertTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "modernbert": "",
    "glm": "",
    "glm4": "",
    "mistral": "",
    "mixtral": "",
}
_OVERRULED = {"qwen2": "Qwen2Tokenizer", "modernbert": ""}  # these ignore the class that tokenizer_config.json names
_GENERAL = {"PreTrainedTokenizer", "TokenizersBackend", "PythonBackend"}


def class_of(settings: Mapping[str, Any], config: Mapping[str, Any], document: Json | None) -> str | None:
    """The name of the class in `CLASSES` that transformers 5 gives the directory; None for the general one and for
    those that this table does not know."""
    named = settings.get("tokenizer_class") or config.get("tokenizer_class")
    model_type = str(config.get("model_type"))
    if not isinstance(named, str):
        name = _REGISTERED.get(model_type, "")
    else:
        name = _OVERRULED.get(model_type, named.removesuffix("Fast"))
    name = _ALIASES.get(name, name)
    if name == "LlamaTokenizer" and document is not None and "'ByteLevel'" in str(document.get("pre_tokenizer")):
        return None  # LLaMA 3 declares LLaMA 2's class
    return name if name in CLASSES and name not in _GENERAL else None


def rebuilt(name: str, settings: Mapping[str, Any], document: Json) -> Json:
    """The document as the class builds it, of the same vocabulary and added tokens. Errors: another type of model."""
    known, model = CLASSES[name], document["model"]
    if model.get("type") != known.model:
        raise UserError(
            f"its model is {model.get('type')}, and {name} (tokenizer_config.json) needs {known.model}",
            hint='"tokenizer_class": "PreTrainedTokenizerFast" would use tokenizer.json as it is',
        )
    parts = known.build(settings, document)
    vocabulary = {key: model[key] for key in ("vocab", "merges") if key in model}
    return {**document, **parts, "model": {**parts["model"], **vocabulary}}
