"""nlpkit export and nlpkit import: to other tools' files and from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlpkit._version import __version__
from nlpkit.artifact import atomic, exported, file
from nlpkit.artifact.exported import SIDE, claims, same_files
from nlpkit.artifact.file import file_sha256
from nlpkit.artifact.paths import check_apart
from nlpkit.artifact.provenance import Run
from nlpkit.artifact.stage import stage
from nlpkit.base import events
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.exchange.folder import writing_files


def export(model: Path, output: Path, *, to: str = "huggingface", force: bool = False) -> dict[str, Any]:
    """Write a model or tokenizer as a Hugging Face directory, or vectors as one of other tools' files; returns what was
    written.

    ``to`` is huggingface, word2vec, word2vec-binary or glove. ``output`` appears when it is complete; in an
    existing folder, files that nlpkit did not write are left alone (`nlpkit.exchange.folder`). Errors: a file of
    another kind, a model that the format cannot hold, an ``output`` that exists without ``force``, a file at an
    output's path that nlpkit did not write.
    """
    writer = choose(FORMATS, to, field="format")
    model, output = Path(model), Path(output)
    if str(output) == "-":
        raise UserError("a result has a name, it cannot go to stdout", where="-o -")
    events.emit("stage", name="export", output=str(output))
    return {"output": str(output), "to": to, **writer(model, output, force)}


def _huggingface(model: Path, output: Path, force: bool) -> dict[str, Any]:
    if not force and (summary := _exported(model, output)):
        return summary
    from nlpkit import tokenizers
    from nlpkit.exchange import huggingface, tokenizer_files
    from nlpkit.exchange.opening import load

    artifact = None if model.is_dir() else file.read(model)
    if artifact is not None and artifact.kind == "vectors":
        formats = "word2vec, word2vec-binary or glove"
        raise UserError("is a vectors file, which has no huggingface format", where=model, hint=f"--to {formats}")
    if artifact is not None:
        artifact.of_kind(("model", "tokenizer"))
    architecture = None
    with writing_files(output, force=force) as folder:
        if artifact is not None and artifact.kind == "tokenizer":
            # A tokenizer alone has no model: no framing is added and no length is set.
            tokenizer_files.write(tokenizers.load(model), folder, max_len=int(1e30), template=None)
            huggingface.write_side(folder, artifact, {})
        else:
            architecture = huggingface.write(folder, load(model), artifact)
        names = sorted(path.name for path in folder.iterdir())
    return _summary(output, names, architecture)


def _vectors(to: str) -> Callable[[Path, Path, bool], dict[str, Any]]:
    def write(model: Path, output: Path, force: bool) -> dict[str, Any]:
        from nlpkit.exchange import vector_formats as formats
        from nlpkit.vectors.file import load

        if model.is_dir():
            raise UserError(f"is a folder; {to} files hold the vectors of `nlpkit vectors train`", where=model)
        check_apart({"model": model, "output": output})
        atomic.check_target(output, force=force)
        vectors = load(model)
        formats.write(output, vectors.words, vectors.vectors, formats.FORMATS[to])
        return {"kind": "word vectors", "bytes": output.stat().st_size, "words": len(vectors.words)}

    return write


FORMATS = {"huggingface": _huggingface, **{to: _vectors(to) for to in ("word2vec", "word2vec-binary", "glove")}}


def _exported(model: Path, output: Path) -> dict[str, Any] | None:
    """The summary of an unchanged directory that this version of nlpkit exported from the same file; else None."""
    if model.is_dir() or not (output / SIDE).is_file() or not same_files(output):
        return None
    side = exported.side(output)
    if (side.get("version"), side.get("name"), side.get("sha256")) != (__version__, model.name, file_sha256(model)):
        return None
    names = sorted([*(claims(output) or {}), SIDE])
    os.utime(output)
    return {**_summary(output, names, side.get("architecture")), "already_made": True}


def _summary(output: Path, names: list[str], architecture: str | None) -> dict[str, Any]:
    kind = (
        {"kind": "Hugging Face tokenizer"}
        if architecture is None
        else {"kind": "Hugging Face model", "architecture": architecture}
    )
    return {**kind, "bytes": sum((output / name).stat().st_size for name in names), "files": names}


@stage
def import_(
    source: Path,
    output: Path,
    *,
    format: str | None = None,
    on_error: str = "error",
    tokenizer: bool = True,
    force: bool = False,
) -> dict[str, Any]:
    """Read a Hugging Face directory into a model file (one with a tokenizer and no weights into a tokenizer file), or
    another tool's word vectors into a vectors file; returns the summary of the file.

    If nlpkit exported the directory and its weights are unchanged, its history is imported too. ``tokenizer`` False
    leaves its tokenizer out. ``format`` of vectors is word2vec, word2vec-binary, glove or fasttext (its model.bin);
    None looks at the file. ``on_error`` "skip" leaves malformed words out. Errors: pickled weights, a model_type,
    setting, tensor or tokenizer that nlpkit does not compute; a file of vectors that is not whole or not of its format.
    """
    run = Run.start("import", locals(), inputs=("source",))
    if not Path(source).is_dir():
        refuse({"no_tokenizer": None if tokenizer else True}, "word vectors come without a tokenizer")
        return _import_vectors(run, format, on_error)
    vector_options = {"format": format, "on_error": None if on_error == "error" else on_error}
    refuse(vector_options, f"{source} is a folder, and read as a Hugging Face model")
    from nlpkit.exchange import huggingface, tokenizer_files

    folder = run.inputs[0].path
    if tokenizer and huggingface.holds_tokenizer_only(folder):
        tokenizer_only = tokenizer_files.read(folder)
        config = {
            "kind": tokenizer_only.kind,
            "vocab_size": tokenizer_only.vocab_size,
            "fingerprint": tokenizer_only.fingerprint,
        }
        return run.write({}, kind="tokenizer", config=config, tokenizer=tokenizer_only.to_json())
    from nlpkit.models.load import state_tensors

    loaded = huggingface.read(folder, tokenizer=tokenizer)
    if loaded.tokenizer is None:
        events.note(f"{source}: no tokenizer; the model can be exported and compared, but not read text")
    tokenizer_json = None if loaded.tokenizer is None else loaded.tokenizer.to_json()
    return run.write(state_tensors(loaded.model), kind="model", config=loaded.config, tokenizer=tokenizer_json)


def _import_vectors(run: Run, form: str | None, on_error: str) -> dict[str, Any]:
    from nlpkit.exchange import fasttext, vector_files
    from nlpkit.exchange.vector_formats import FASTTEXT, READ

    path = run.inputs[0].path
    name = choose({name: name for name in READ}, form or vector_files.detect(path), field="format")
    if name == FASTTEXT:
        return fasttext.import_fasttext(run, on_error)
    return vector_files.import_vectors(run, name, on_error)
