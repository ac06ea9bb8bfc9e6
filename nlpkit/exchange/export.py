"""nlpkit export and nlpkit import: to other tools' files and from them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nlpkit.artifact import atomic, file
from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.errors import UserError, choose, refuse

# Files that say that a folder is a Hugging Face directory, so that --force may replace it.
_MARKS = ("config.json", "tokenizer.json", "nlpkit.json")


def export(model: Path, output: Path, *, to: str = "huggingface", force: bool = False) -> dict[str, Any]:
    """Write a model or tokenizer as a Hugging Face directory, or vectors as one of other tools' files; returns what was
    written.

    ``to`` is huggingface, word2vec, word2vec-binary or glove. ``output`` appears when it is complete. Errors: a file of
    another kind, a model that the format cannot hold, an ``output`` that exists without ``force``.
    """
    writer = choose(FORMATS, to, field="format")
    model, output = Path(model), Path(output)
    if str(output) == "-":
        raise UserError("a result has a name, it cannot go to stdout", where="-o -")
    events.emit("stage", name="export", output=str(output))
    return {"output": str(output), "to": to, **writer(model, output, force)}


def _huggingface(model: Path, output: Path, force: bool) -> dict[str, Any]:
    from nlpkit import tokenizers
    from nlpkit.exchange import huggingface, tokenizer_files
    from nlpkit.exchange.opening import load

    artifact = None if model.is_dir() else file.read(model, kind=("model", "tokenizer"))
    kind = "tokenizer" if artifact is not None and artifact.kind == "tokenizer" else "model"
    with _writing_folder(output, force=force) as folder:
        if kind == "tokenizer":
            # A tokenizer alone does not know its model: it adds no framing and sets no length.
            tokenizer_files.write(tokenizers.load(model), folder, max_len=int(1e30), framing="decoder")
            written: dict[str, Any] = {"files": sorted(path.name for path in folder.iterdir())}
        else:
            written = huggingface.write(folder, load(model), artifact)
    size = sum(path.stat().st_size for path in output.iterdir())
    return {"kind": f"Hugging Face {kind}", "bytes": size, **written}


def _vectors(to: str) -> Callable[[Path, Path, bool], dict[str, Any]]:
    def write(model: Path, output: Path, force: bool) -> dict[str, Any]:
        from nlpkit.exchange import vector_formats as formats
        from nlpkit.vectors.file import load

        if model.is_dir():
            raise UserError(f"is a folder; {to} files hold the vectors of `nlpkit vectors train`", where=model)
        atomic.check_target(output, force=force)
        vectors = load(model)
        formats.write(output, vectors.words, vectors.vectors, formats.FORMATS[to])
        return {"kind": "word vectors", "bytes": output.stat().st_size, "words": len(vectors.words)}

    return write


FORMATS = {"huggingface": _huggingface, **{to: _vectors(to) for to in ("word2vec", "word2vec-binary", "glove")}}


@contextmanager
def _writing_folder(path: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write in, which takes the name ``path`` at the end of the block if nothing went wrong.

    Errors: ``path`` exists; with ``force``, it exists and is neither empty nor a Hugging Face directory.
    """
    _check_folder(path, force=force)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
        old = path.with_name(f".{path.name}.old")
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(partial, path)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise atomic.cannot_write(error, path) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_folder(path: Path, *, force: bool) -> None:
    if not path.parent.is_dir():
        raise UserError("the folder does not exist", where=path.parent, hint=f"mkdir -p {path.parent}")
    if not path.exists() and not path.is_symlink():
        return
    if not force:
        raise UserError("exists already", where=path, hint="--force overwrites it, or name another folder with -o")
    if not path.is_dir() or path.is_symlink():
        raise UserError("is not a folder, and a Hugging Face model is one", where=path)
    if any(path.iterdir()) and not any((path / mark).is_file() for mark in _MARKS):
        raise UserError("holds something else than a Hugging Face model, and is left alone", where=path,
                        hint="name another folder with -o")  # fmt: skip


def import_(
    source: Path,
    output: Path,
    *,
    format: str | None = None,
    on_error: str = "error",
    tokenizer: bool = True,
    force: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Read a Hugging Face directory into a model file (one with a tokenizer and no weights into a tokenizer file), or
    another tool's word vectors into a vectors file; returns the summary of the file.

    A directory that nlpkit exported, weights unchanged, brings its history along. ``tokenizer`` False leaves its
    tokenizer out. ``format`` of vectors is word2vec, word2vec-binary, glove or fasttext (its model.bin); None looks at
    the file. ``on_error`` "skip" leaves malformed words out. Errors: pickled weights, a model_type, setting, tensor or
    tokenizer that nlpkit does not compute; a file of vectors that is not whole or not of its format.
    """
    run = Run.start("import", locals(), inputs=("source",))
    if not Path(source).is_dir():
        refuse({"no_tokenizer": None if tokenizer else True}, "word vectors come without a tokenizer")
        return _import_vectors(run, format, on_error)
    given = {"format": format, "on_error": None if on_error == "error" else on_error}
    refuse(given, f"{source} is a folder, and read as a Hugging Face model")
    from nlpkit.exchange import huggingface, tokenizer_files

    folder = run.inputs[0].path
    if tokenizer and huggingface.holds_tokenizer_only(folder):
        made = tokenizer_files.read(folder)
        config = {"kind": made.kind, "vocab_size": made.vocab_size, "fingerprint": made.fingerprint}
        return run.write({}, kind="tokenizer", config=config, tokenizer=made.to_json())
    from nlpkit.models.load import state_tensors

    loaded = huggingface.read(folder, tokenizer=tokenizer)
    if loaded.tokenizer is None:
        events.note(f"{source}: no tokenizer; the model can be exported and compared, but not read text")
    kept = None if loaded.tokenizer is None else loaded.tokenizer.to_json()
    return run.write(state_tensors(loaded.model), kind="model", config=loaded.config, tokenizer=kept)


def _import_vectors(run: Run, form: str | None, on_error: str) -> dict[str, Any]:
    from nlpkit.exchange import fasttext, vector_files
    from nlpkit.exchange.vector_formats import FASTTEXT, READ

    path = run.inputs[0].path
    name = choose({name: name for name in READ}, form or vector_files.detect(path), field="format")
    if name == FASTTEXT:
        return fasttext.import_fasttext(run, on_error)
    return vector_files.import_vectors(run, name, on_error)
