"""nlpkit embed"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import completion, terminal
from nlpkit.cli import options as flags
from nlpkit.cli import output as out


def command(
    model: Annotated[Path, Argument(help="A model file or a Hugging Face directory.", metavar="MODEL")],
    data: Annotated[
        Path, Argument(help="JSONL, CSV, TSV, Parquet (.gz, .zst), or a text a line; - is stdin.", metavar="[FILE]")
    ] = Path("-"),
    text: Annotated[str, Option(help="Column of the text.")] = "text",
    pooling: Annotated[
        str | None,
        Option(
            help="Pooling of hidden states: pooler, cls, last, mean, max (default: mean for BERT, last for GPT-2; "
            "that of a sentence-transformers directory is its own).",
            autocompletion=completion.poolings,
        ),
    ] = None,
    layer: Annotated[
        int | None, Option(help="Layer whose hidden states are pooled; 0: the embeddings (default: the last).")
    ] = None,
    normalize: Annotated[
        bool | None,
        Option("--normalize/--no-normalize", help="Scale each vector to length 1 (default: the model's, else no)."),
    ] = None,
    on_error: flags.OnError = "error",
    format: flags.Format = None,
    max_len: flags.MaxLen = None,
    batch_tokens: Annotated[int, Option(help="Approximate number of tokens in a batch; changes no vector.")] = 4096,
    int8: flags.Int8 = False,
    output: Annotated[
        Path | None,
        Option(
            "-o",
            "--output",
            help="Write the vectors to this safetensors file, as one tensor (default: to stdout, as JSON).",
        ),
    ] = None,
    force: flags.Force = False,
    device: flags.Device = "cpu",
    threads: flags.Threads = None,
    json: flags.JsonOnly = True,
) -> None:
    """Print a JSON object for each text, as the texts come: its embedding, and its id where it has one.

    Examples:

    nlpkit embed bert.safetensors texts.jsonl --normalize > vectors.jsonl

    echo "O happy dagger!" | nlpkit embed bert.safetensors --pooling mean | jq '.embedding | length'
    """
    arguments = {name: value for name, value in locals().items() if name != "json"}
    flags.json_only(json)
    if summary_of_existing := out.already("embed", arguments):
        out.written(summary_of_existing)
        return
    from nlpkit.stages.embed import embed, embed_batches

    with out.progress(quiet=False, reads=data):
        if output is not None or force:
            (summary,) = embed(**arguments)
            out.written(summary)
            return
        options = {name: value for name, value in arguments.items() if name not in ("model", "data", "threads")}
        for records in embed_batches(model, data, options, threads=threads):
            for record in records:
                terminal.record(record)
            terminal.flush()  # for a reader of a pipe that waits for these vectors
