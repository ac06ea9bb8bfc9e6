"""nlpkit embed: a vector for each text, as the texts arrive.

Shapes: n texts, B sequences of a batch, N tokens of a batch, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nlpkit.artifact.provenance import Run
from nlpkit.artifact.stage import stage
from nlpkit.base import events, limits
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.data.batch import Batch
from nlpkit.data.in_memory import Texts
from nlpkit.machine.device import choose_device
from nlpkit.models.load import Loaded
from nlpkit.stages.streaming import chunks, ready, records_of
from nlpkit.tasks.pooling import POOLINGS, check_pooler
from nlpkit.tasks.reading import encoder_of
from nlpkit.tasks.scoring import each
from nlpkit.tasks.sequences import Sequences

_OTHER_ENDINGS = (".npy", ".npz", ".csv", ".tsv", ".json", ".jsonl", ".txt")

Vectors = NDArray[np.float32]


def embed(
    model: Path | Loaded,
    data: Path | Texts = Path("-"),
    *,
    text: str = "text",
    pooling: str | None = None,
    layer: int | None = None,
    normalize: bool | None = None,
    on_error: str = "error",
    format: str | None = None,
    max_len: int | None = None,
    batch_tokens: int = 4096,
    int8: bool = False,
    output: Path | None = None,
    force: bool = False,
    device: str = "cpu",
    threads: int | None = None,
) -> Iterator[dict[str, Any]] | Vectors:
    """One record for each text, in order: ``embedding``, a list of D numbers, and ``id`` where the text has one; of a
    list of texts an array [n, D] of the same 32-bit numbers.

    ``data`` is read as `nlpkit.predict` reads it. ``pooling`` is of the tokens' vectors, ``normalize`` scales each
    vector to length 1, ``max_len`` is the longest sequence; None is the model's own setting (that of a
    sentence-transformers directory), else the family's pooling, no scaling, and the model's max_len. ``layer`` is the
    block the vectors come from (default: the last; 0 is what the first block reads), ``int8`` computes with int8
    products (nlpkit/layers/int8.py). Each number has the fewest digits that give its 32 bits back; no vector depends on
    the other texts of its batch. With ``output`` the vectors are written there, in a file of kind "embeddings", and the
    one record is its summary. Errors: UserError for an unknown pooling or layer, at once, and for bad lines, after the
    records of those before them.
    """
    limits.check("embed", locals())
    device = choose_device(device)
    arguments = dict(locals())
    if output is not None:
        if Path(output).suffix.lower() in _OTHER_ENDINGS:
            raise UserError(
                "the vectors are written as a safetensors file, and the name says another",
                where=output,
                hint=f"-o {Path(output).stem}.safetensors; without -o JSON goes to stdout",
            )
        if not (isinstance(data, Path) and isinstance(model, Path)):
            raise UserError(
                "a file records the files it was made from, and a model or texts in memory are none",
                where=output,
                hint="leave out output, or give paths",
            )
        return iter([embed_file(arguments)])
    refuse({"force": force or None}, "no file is written", hint="-o names the file to write")
    options = {
        "text": text,
        "pooling": pooling,
        "layer": layer,
        "normalize": normalize,
        "on_error": on_error,
        "format": format,
        "max_len": max_len,
        "int8": int8,
        "device": device,
        "batch_tokens": batch_tokens,
    }
    if not isinstance(data, Path):
        return _array(ready(model, int8=int8, device=device), data, options, threads=threads)
    return chain.from_iterable(embed_batches(model, data, options, threads=threads))


def embed_batches(
    model: Path | Loaded, data: Path | Texts, options: dict[str, Any], *, threads: int | None
) -> Iterator[list[dict[str, Any]]]:
    """`embed`, as many records at a time as texts had arrived. The model is opened now, the data at the first
    record."""
    loaded = ready(model, int8=options["int8"], device=choose_device(options["device"]))
    for records in vectors(loaded, data, options, threads=threads):
        rows = np.stack([record["embedding"] for record in records]).astype("U32").tolist()
        yield [
            {**record, "embedding": [float(number) for number in row]}
            for record, row in zip(records, rows, strict=True)
        ]


def _array(loaded: Loaded, texts: Texts, options: dict[str, Any], *, threads: int | None) -> Vectors:
    """The vectors of texts in memory, [n, D]."""
    rows = [record["embedding"] for records in vectors(loaded, texts, options, threads=threads) for record in records]
    return np.stack(rows) if rows else np.zeros((0, loaded.model.config.d_model), np.float32)


@stage
def embed_file(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The file of a run: ``embeddings`` [n, D], in the order of the texts; returns its summary."""
    run = Run.start("embed", arguments, inputs=("model", "data"), libraries=("torch",))
    model, data = run.path("model"), run.path("data")
    assert model is not None and data is not None
    loaded = ready(model, int8=run.options["int8"], device=run.options["device"])
    chosen = settings(loaded, run.options)
    rows: list[Vectors] = []
    for records in vectors(loaded, data, run.options, threads=arguments["threads"]):
        rows += [record["embedding"] for record in records]
        events.emit("progress", label="embedded", done=len(rows), unit="texts")
    if not rows:
        raise UserError("holds no texts", where=data)
    config = {
        "family": loaded.family.name,
        "d_model": loaded.model.config.d_model,
        "n_texts": len(rows),
        "layer": run.options["layer"],
        "pooling": chosen["pooling"],
        "normalize": chosen["normalize"],
    }
    return run.write({"embeddings": np.stack(rows)}, kind="embeddings", config=config)


def vectors(
    loaded: Loaded, data: Path | Texts, options: dict[str, Any], *, threads: int | None
) -> Iterator[list[dict[str, Any]]]:
    """Records whose ``embedding`` is an array [D] of 32-bit numbers."""
    chosen = settings(loaded, options)
    pool = pooler(loaded, chosen["pooling"], options["layer"])
    encoder = encoder_of(loaded, chosen["max_len"])
    if chosen["said"]:
        events.note(chosen["said"])
    device, batch_tokens = choose_device(options["device"]), options["batch_tokens"]
    network = loaded.model.to(device)
    rows = chunks(
        data,
        text=options["text"],
        on_error=options["on_error"],
        format=options.get("format"),
        named=options["text"] != "text",
    )

    def infer(sequences: Sequences) -> list[dict[str, Any]]:
        embedded = each(network, pool, sequences, batch_tokens=batch_tokens, device=device)
        if chosen["normalize"]:
            lengths = np.sqrt(np.square(embedded).sum(1, keepdims=True))
            embedded = embedded / np.where(lengths > 0, lengths, 1)  # a vector of zeros has no direction
        return [{"embedding": row} for row in embedded.astype(np.float32)]

    return records_of(rows, encoder, infer, threads=threads)


def settings(loaded: Loaded, options: dict[str, Any]) -> dict[str, Any]:
    """Pooling, normalize and max_len; and ``said``, a note on their source if the model has such settings of its own.

    Errors: a model whose vectors need what nlpkit does not compute, unless a pooling is given.
    """
    said = loaded.config.get("embedding")
    if not isinstance(said, dict):
        pooling = options["pooling"] or loaded.family.pooling
        return {"pooling": pooling, "normalize": bool(options["normalize"]), "max_len": options["max_len"], "said": ""}
    if said.get("other") and options["pooling"] is None:
        raise UserError(
            f"its vectors need {said['other']}, which nlpkit does not compute",
            where=loaded.path,
            hint="--pooling mean, cls, last or max makes vectors without it",
        )
    defaults = {"pooling": str(said.get("pooling")), "normalize": said.get("normalize") is True, "max_len": None}
    if type(said.get("max_len")) is int:
        defaults["max_len"] = min(said["max_len"], loaded.model.config.max_len)
    explicit = {name: options[name] for name in defaults if options[name] is not None}
    words = [
        f"{name.replace('_', '-')} {value} ({'given' if name in explicit else 'its own'})"
        for name, value in (defaults | explicit).items()
        if value is not None
    ]
    return defaults | explicit | {"said": f"{loaded.path}: {', '.join(words)}"}


def pooler(loaded: Loaded, pooling: str | None, layer: int | None) -> Callable[[Batch], Tensor]:
    """A function from a batch to [B, D]. Errors: an unknown pooling or layer."""
    name, last = pooling or loaded.family.pooling, loaded.model.config.n_layers
    pool = choose(POOLINGS, name, field="pooling")
    check_pooler(loaded.model, name, where=loaded.path)
    if layer is None or layer == last:
        return lambda batch: pool(loaded.model(batch, wanted=pool.wanted(batch)))
    if not 0 <= layer < last:
        raise UserError(f"layer is {layer}, expected 0 (what the first block reads) to {last}", where=loaded.path)
    if name == "pooler":
        raise UserError(
            f"the pooler reads the last layer, not layer {layer}", hint="give --pooling cls, last, mean or max as well"
        )

    def inner(batch: Batch) -> Tensor:
        output = loaded.model(batch, layers=True)
        return pool(replace(output, hidden=output.layers[layer]))

    return inner
