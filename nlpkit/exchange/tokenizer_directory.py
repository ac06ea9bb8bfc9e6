"""A tokenizer directory as transformers 5 reads it: every file that counts, in order of precedence.

The result is one tokenizer.json. tokenizer.json and the class that tokenizer_config.json names (or the model type of
config.json), or vocab.txt, or vocab.json with merges.txt, give the pipeline; tokenizer_config.json's
added_tokens_decoder, or else special_tokens_map.json, added_tokens.json and the pieces of roles, give the tokens that
are searched for in a text before the pipeline runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlpkit.base import events, small
from nlpkit.base.errors import UserError
from nlpkit.exchange.tokenizer_classes import CLASSES, class_of, rebuilt
from nlpkit.tokenizers import document as documents
from nlpkit.tokenizers.base import ROLES
from nlpkit.tokenizers.describe import Json
from nlpkit.tokenizers.library import guarded, open_library

MARK = "nlpkit"  # key of tokenizer_config.json in a directory that we wrote
# The order in which transformers gives ids to special tokens that have none yet.
_ORDER = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
_MODELS = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm", "tiktoken.model", "tekken.json")
FILES = ("tokenizer.json", "vocab.txt", "vocab.json", *_MODELS)


@dataclass(frozen=True)
class Directory:
    """``text`` is the tokenizer.json in effect, ``special`` role -> piece, ``settings`` those in effect, ``ours``
    whether nlpkit wrote it."""

    text: str
    document: Json
    special: dict[str, str]
    settings: Json
    chat_template: Any
    ours: bool


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder has the files of a tokenizer."""
    return any((folder / name).is_file() for name in FILES)


def resolve(folder: Path) -> Directory:
    """Errors: UserError that names the file, for one that is missing, malformed or of a kind that cannot be read."""
    settings, config = _object(folder / "tokenizer_config.json"), _object(folder / "config.json")
    text, original = "", None
    if (folder / "tokenizer.json").is_file():
        text = _read(folder / "tokenizer.json")
        with _of(folder / "tokenizer.json"):
            original = documents.parse(text)
    name = class_of(settings, config, original)
    settings = _with_map(folder, settings)
    if original is None:
        document, name, where = _from_vocabulary(folder, name, settings)
    else:
        document = original if name is None else _rebuilt(folder, name, settings, original)
        where = folder / "tokenizer.json"
    defaults = {} if name is None else CLASSES[name].special
    roles: Json = {role: settings.get(f"{role}_token", defaults.get(role)) for role in _ORDER}
    roles = {role: token for role, token in roles.items() if token is not None}
    with _of(folder / "tokenizer_config.json" if settings else where):
        tokens = _tokens(folder, settings, roles, document, rebuild=name is not None)
        special = {role: _content(token) for role, token in roles.items()}
    with _of(where):
        document = _add(document, tokens, drop=name is not None)
    if document is not original:
        text = json.dumps(document, ensure_ascii=False)
    mark = settings.get(MARK)
    return Directory(
        text,
        document,
        special,
        settings,
        _chat_template(folder, settings),
        isinstance(mark, dict) and mark.get("special_pieces") == "text",
    )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > documents.MAX_BYTES:
            raise UserError(f"has more than {documents.MAX_BYTES:,} bytes", where=path)
        return small.read(path, small.JSON).decode("utf-8")
    except OSError as error:
        raise UserError(f"cannot read: {error.strerror}", where=path) from None
    except ValueError:
        raise UserError("is not a JSON file", where=path) from None


def _load(path: Path) -> Any:
    try:
        value = json.loads(_read(path))
        json.dumps(value, ensure_ascii=False).encode()  # half of a pair, written as an escape
        return value
    except (ValueError, RecursionError):
        raise UserError("is not a JSON file", where=path) from None


def _object(path: Path) -> Json:
    """A JSON object; empty when there is no such file."""
    value = _load(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=path)
    return value


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """Errors within the block name this file."""
    try:
        yield
    except UserError as error:
        raise UserError(error.what, where=error.where or path, hint=error.hint) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"is not a file that the tokenizers library writes: {type(error).__name__} {error}"[:300], where=path
        ) from None


def _with_map(folder: Path, settings: Json) -> Json:
    """Settings overridden by special_tokens_map.json, which counts where there is no added_tokens_decoder."""
    if "added_tokens_decoder" in settings:
        return settings
    return {**settings, **_object(folder / "special_tokens_map.json")}


def _rebuilt(folder: Path, name: str, settings: Json, original: Json) -> Json:
    with _of(folder / "tokenizer.json"):
        document = rebuilt(name, settings, original)
    for part in ("normalizer", "pre_tokenizer"):
        if _simple(document[part]) != _simple(original.get(part)):
            events.note(
                f"{folder}: {part} of tokenizer.json is {_shown(original.get(part))}; {name} (of tokenizer_config.json "
                f"or the model type) replaces it by {_shown(document[part])}, and so does nlpkit, as transformers 5"
            )
    return document


def _simple(part: Any) -> Any:
    """A part without what changes no id, for comparing."""
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Sequence":
        inner = [_simple(item) for key in ("normalizers", "pretokenizers") for item in part.get(key) or []]
        return inner[0] if len(inner) == 1 else inner
    fields = {key: value for key, value in part.items() if key not in ("trim_offsets", "prepend_scheme", "split")}
    if fields.get("type") == "ByteLevel":
        fields.setdefault("use_regex", True)
    if fields.get("type") == "BertNormalizer" and fields.get("strip_accents") is None:
        fields["strip_accents"] = fields.get("lowercase")
    return fields


def _shown(part: Any) -> str:
    text = json.dumps(part, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + "..."


def _from_vocabulary(folder: Path, name: str | None, settings: Json) -> tuple[Json, str, Path]:
    """The document, class and file of a directory without tokenizer.json."""
    path = folder / "vocab.txt"
    if path.is_file() and name in (None, "BertTokenizer"):
        lines = _read(path).removesuffix("\n").split("\n")
        vocab = {line.rstrip(): number for number, line in enumerate(lines)}
        return _of_vocabulary("BertTokenizer", settings, {"type": "WordPiece", "vocab": vocab}, path)
    path = folder / "vocab.json"
    if path.is_file() and (name is None or CLASSES[name].model == "BPE"):
        if not (folder / "merges.txt").is_file():
            raise UserError("has no merges.txt beside it", where=path)
        pairs = map(str.strip, _read(folder / "merges.txt").split("\n"))
        merges = [line.split() for line in pairs if line and not line.startswith("#version")]
        model = {"type": "BPE", "vocab": _load(path), "merges": merges}
        return _of_vocabulary(name or "GPT2Tokenizer", settings, model, path)
    model_file = next((name for name in _MODELS if (folder / name).is_file()), None)
    if model_file is not None:
        raise UserError(
            "nlpkit does not read this kind of file, and there is no tokenizer.json beside it",
            where=folder / model_file,
            hint="AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of transformers writes one",
        )
    known = next((folder / item for item in ("vocab.txt", "vocab.json") if (folder / item).is_file()), None)
    if known is not None:
        raise UserError(
            f"is not the vocabulary that {name} (tokenizer_config.json or the model type) reads", where=known
        )
    raise UserError(
        "holds no tokenizer", where=folder, hint="expected tokenizer.json, or vocab.txt, or vocab.json with merges.txt"
    )


def _of_vocabulary(name: str, settings: Json, model: Json, path: Path) -> tuple[Json, str, Path]:
    with _of(path):
        document = rebuilt(name, settings, {"version": "1.0", "added_tokens": [], "model": model})
        documents.parse(json.dumps(document))
        return document, name, path


def _content(token: Any) -> str:
    content = token.get("content") if isinstance(token, dict) else token
    if not isinstance(content, str):
        raise documents.refused(f"a token is {str(token)[:60]}")
    return content


def _flags(token: Json) -> Json:
    return {**_FLAGS, **{key: token[key] for key in _FLAGS if key in token}}


def _special_token(token: Any) -> Json:
    fields = token if isinstance(token, dict) else {}
    return {**_flags({"normalized": False, **fields}), "special": True, "content": _content(token)}


def _tokens(folder: Path, settings: Json, roles: Mapping[str, Any], document: Json, *, rebuild: bool) -> list[Json]:
    """The tokens that transformers adds, in its order."""
    by_id: dict[int, Json] = {}
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    extra = list(extra.values()) if isinstance(extra, dict) else extra
    if "added_tokens_decoder" in settings:
        decoder = settings["added_tokens_decoder"]
        if not isinstance(decoder, dict) or not all(isinstance(token, dict) for token in decoder.values()):
            raise documents.refused("its added_tokens_decoder is not a map of ids to tokens")
        for number, token in decoder.items():
            by_id[_number(number)] = {**_flags(token), "content": _content(token)}
    else:
        names = {_content(token) for token in [*roles.values(), *extra]}
        for content, number in _object(folder / "added_tokens.json").items():
            special = content in names
            by_id[_number(number)] = {**_FLAGS, "normalized": not special, "special": special, "content": content}
        if rebuild:
            for token in document.get("added_tokens") or []:
                by_id[token["id"]] = {**_flags(token), "content": token["content"]}
    tokens = [by_id[number] for number in sorted(by_id)]
    others = [
        token
        for key, token in settings.items()
        if key.endswith("_token") and isinstance(token, (str, dict)) and key.removesuffix("_token") not in ROLES
    ]
    known = {token["content"] for token in tokens}
    if not rebuild:
        known |= {token["content"] for token in document.get("added_tokens") or []}
    for token in [*roles.values(), *others, *extra]:
        entry = _special_token(token)
        if entry["content"] not in known:
            tokens.append(entry)
            known.add(entry["content"])
    return tokens


def _number(value: Any) -> int:
    if not str(value).isascii() or not str(value).isdigit() or len(str(value)) > 9:
        raise documents.refused(f"{str(value)[:40]} is not the id of an added token")
    return int(value)


def _add(document: Json, tokens: list[Json], *, drop: bool) -> Json:
    """The document with these tokens, whose ids the library assigns; ``drop`` leaves out the document's own tokens, as
    a class does that builds it anew. The same object where nothing changes."""
    listed = document.get("added_tokens") or []
    known = {} if drop else {token["content"]: token for token in listed}
    new = [token for token in tokens if {**known.get(token["content"], {}), **token} != known.get(token["content"])]
    if not new and (not drop or not listed):
        return document
    import tokenizers

    library = open_library(json.dumps({**document, "added_tokens": list(known.values())}, ensure_ascii=False))
    with guarded("the tokenizers library cannot add its tokens"):
        for token in new:
            flags = {key: bool(token[key]) for key in _FLAGS}
            library.add_tokens([tokenizers.AddedToken(token["content"], **flags)])
        added = json.loads(library.to_str())["added_tokens"]
    same = sorted(added, key=_by_id) == sorted(listed, key=_by_id)
    return document if same else {**document, "added_tokens": added}


def _by_id(token: Json) -> int:
    number: int = token["id"]
    return number


def _chat_template(folder: Path, settings: Json) -> Any:
    path = folder / "chat_template.jinja"
    template = _read(path) if path.is_file() else settings.get("chat_template")
    return template if isinstance(template, (str, list, dict)) else None
