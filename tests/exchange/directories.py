"""Tokenizer directories as others make them, each of a shape that is met in the wild, tiny."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXTS = [
    "",
    " ",
    "the cat",
    "  The  CAT sat.\n\nOn\ta mat ",
    "café CAFÉ cafe\u0301 naïve Ångström",
    "I'M can't we'LL",
    "can't o'er '' ``quoted''",
    "中文 text中文混合",
    "日本語のテキスト",
    "😀👩\u200d👩\u200d👧 emoji",
    "a\x00b\x1cc\x85d\u200be\ufeff\ufffd",
    "▁under▁▁score ▁",
    "x" * 120,
    "ﬁne Ⅷ ½ ﷺ",
    "İstanbul ΣΑΣ ß ǆ",
    "1234 3.14 1,000 1234567",
    "tabs\tand\r\nlines\x0b\x0c \n \n",
    "अच्छा हिन्दी",
    "the" * 50,
    "[CLS] the [MASK] cat [SEP]",
    "the[MASK]cat <mask> x<mask>",
    "[UNK] <unk>",
    "<s>a</s> <|endoftext|>b<|eot_id|> c",
    "on <date> the<date>cat <DATE>",
    "<pad><|pad|> <extra_id_0> <extra_id_99>",
    "＜s＞ ＜ｍask＞ ⁇",
]
_CORPUS = [text for text in TEXTS[2:18]] * 3
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)


def _save(folder: Path, tokenizer: Any, config: dict[str, Any], model: dict[str, Any] | None = None) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps(model or {}))


def _bytes(folder: Path, split: str | None, special: list[str], **model: Any) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(**model))
    if split:
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(split), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=350,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=special,
            show_progress=False,
        ),
    )
    if model.get("ignore_merges") is None and split and special == ["<|endoftext|>"]:
        made.normalizer = normalizers.NFC()
    return made


def llama3(folder: Path) -> None:
    special = ["<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>"]
    _save(
        folder,
        _bytes(folder, _LLAMA3, special, ignore_merges=True),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "chat_template": "{{ bos_token }}",
        },
        {"model_type": "llama"},
    )


def llama3_by_its_class(folder: Path) -> None:
    llama3(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "LlamaTokenizerFast"}))


def qwen(folder: Path) -> None:
    split = _LLAMA3.replace("{1,3}", "")
    _save(
        folder,
        _bytes(folder, split, ["<|endoftext|>"]),
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        {"model_type": "qwen2"},
    )


def gpt2(folder: Path) -> None:
    _save(folder, _bytes(folder, None, ["<|endoftext|>"]), {"tokenizer_class": "GPT2Tokenizer"}, {"model_type": "gpt2"})


def gpt2_with_a_pad(folder: Path) -> None:
    from tokenizers import AddedToken

    made = _bytes(folder, None, ["<|endoftext|>"])
    made.add_special_tokens([AddedToken("<|pad|>", normalized=False)])
    _save(folder, made, {"tokenizer_class": "GPT2Tokenizer", "pad_token": "<|pad|>"}, {"model_type": "gpt2"})


def gpt2_of_old_files(folder: Path) -> None:
    made = _bytes(folder, None, ["<|endoftext|>"])
    made.model.save(str(folder))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<pad>", "eos_token": "<|endoftext|>"}))
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": made.get_vocab_size(), "<date>": 351}))
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))


def roberta(folder: Path) -> None:
    from tokenizers import AddedToken

    made = _bytes(folder, None, ["<s>", "<pad>", "</s>", "<unk>"])
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    mask = {
        "__type": "AddedToken",
        "content": "<mask>",
        "lstrip": True,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": True,
    }
    _save(
        folder,
        made,
        {"tokenizer_class": "RobertaTokenizer", "mask_token": mask, "add_prefix_space": True},
        {"model_type": "roberta"},
    )


def _unigram(folder: Path, special: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        _CORPUS, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    return made


def xlm_roberta(folder: Path) -> None:
    _save(
        folder,
        _unigram(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
        {"tokenizer_class": "XLMRobertaTokenizer", "mask_token": "<mask>"},
        {"model_type": "xlm-roberta"},
    )


def sentencepiece_as_it_stands(folder: Path) -> None:
    _save(
        folder,
        _unigram(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "mask_token": "<mask>",
            "cls_token": "<s>",
            "unk_token": "<unk>",
        },
        {"model_type": "xlm-roberta"},
    )


def t5(folder: Path) -> None:
    extra = [f"<extra_id_{number}>" for number in range(100)]
    _save(
        folder,
        _unigram(folder, ["<pad>", "</s>", "<unk>", *extra]),
        {"tokenizer_class": "T5Tokenizer", "additional_special_tokens": extra},
        {"model_type": "t5"},
    )


def albert(folder: Path) -> None:
    _save(
        folder,
        _unigram(folder, ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]),
        {"tokenizer_class": "AlbertTokenizer"},
        {"model_type": "albert"},
    )


def llama2(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    made = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    made.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False),
    )
    document = json.loads(made.to_str())
    document["added_tokens"] = document["added_tokens"][:3]
    made = Tokenizer.from_str(json.dumps(document))
    _save(folder, made, {"tokenizer_class": "LlamaTokenizer", "legacy": False}, {"model_type": "llama"})


def _wordpieces(folder: Path, lowercase: bool = True) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.train_from_iterator(
        _CORPUS,
        trainers.WordPieceTrainer(
            vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False
        ),
    )
    return made


def bert(folder: Path) -> None:
    _save(folder, _wordpieces(folder), {"tokenizer_class": "BertTokenizer"}, {"model_type": "bert"})


def bert_with_case_by_its_class(folder: Path) -> None:
    _save(
        folder,
        _wordpieces(folder, lowercase=True),
        {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
        {"model_type": "bert"},
    )


def bert_keeping_accents(folder: Path) -> None:
    _save(
        folder,
        _wordpieces(folder),
        {"tokenizer_class": "BertTokenizer", "strip_accents": False, "tokenize_chinese_chars": False},
        {"model_type": "bert"},
    )


def bert_of_lines(folder: Path) -> None:
    made = _wordpieces(folder)
    made.model.save(str(folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    (folder / "added_tokens.json").write_text(json.dumps({"<date>": made.get_vocab_size()}))


def bert_with_a_decoder_of_added_tokens(folder: Path) -> None:
    plain = {"lstrip": False, "rstrip": False, "single_word": False}
    made = _wordpieces(folder)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    added = {
        str(number): {"content": name, "normalized": False, "special": True, **plain}
        for number, name in enumerate(names)
    }
    added[str(made.get_vocab_size())] = {"content": "<date>", "normalized": True, "special": False, **plain}
    added[str(made.get_vocab_size() + 1)] = {"content": "<pad>", "normalized": False, "special": True, **plain}
    _save(folder, made, {"tokenizer_class": "BertTokenizer", "added_tokens_decoder": added}, {"model_type": "bert"})


def modernbert(folder: Path) -> None:
    from tokenizers import AddedToken

    made = _bytes(folder, None, ["[CLS]", "[SEP]", "[PAD]", "[UNK]"])
    made.add_special_tokens([AddedToken("[MASK]", lstrip=True, normalized=False)])
    made.add_tokens([AddedToken("<date>", normalized=True), AddedToken("  ", normalized=False)])
    _save(
        folder,
        made,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "mask_token": "[MASK]",
        },
        {"model_type": "modernbert"},
    )


SHAPES: dict[str, Callable[[Path], None]] = {
    make.__name__: make
    for make in (
        llama3,
        llama3_by_its_class,
        qwen,
        gpt2,
        gpt2_with_a_pad,
        gpt2_of_old_files,
        roberta,
        xlm_roberta,
        sentencepiece_as_it_stands,
        t5,
        albert,
        llama2,
        bert,
        bert_with_case_by_its_class,
        bert_keeping_accents,
        bert_of_lines,
        bert_with_a_decoder_of_added_tokens,
        modernbert,
    )
}
OURS = {"gpt2": "bpe", "gpt2_with_a_pad": "bpe", "bert": "wordpiece", "bert_with_case_by_its_class": "wordpiece"}
