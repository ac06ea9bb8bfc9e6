"""nlpkit predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import options, output, terminal


def command(
    model: Annotated[Path, Argument(help="A fine-tuned model.", metavar="MODEL")],
    data: Annotated[
        Path, Argument(help="JSONL, CSV, TSV, Parquet (.gz, .zst), or a text a line; - is stdin.", metavar="[FILE]")
    ] = Path("-"),
    text: Annotated[str | None, Option(help="Column of the text (default: the model's).")] = None,
    pair: Annotated[str | None, Option(help="Column of the second text (default: the model's).")] = None,
    on_error: options.OnError = "error",
    format: options.Format = None,
    max_len: options.MaxLen = None,
    batch_tokens: Annotated[int, Option(help="Approximate number of tokens in a batch; changes no prediction.")] = 4096,
    int8: options.Int8 = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.JsonOnly = True,
) -> None:
    """Print a JSON object for each text, as the texts come: label, probabilities, and the text's id where it has one. A
    model whose classifier has one output gives score instead of the first two.

    Examples:

    nlpkit predict clf.safetensors texts.jsonl > labels.jsonl

    echo "O happy dagger!" | nlpkit predict clf.safetensors | jq -r .label
    """
    arguments = dict(locals())
    options.json_only(json)
    from nlpkit.stages.predict import predict_batches

    options_of_reading = {name: arguments[name] for name in ("text", "pair", "on_error", "format", "max_len")}
    with output.progress(quiet=False, reads=data):
        for records in predict_batches(
            model, data, options_of_reading, batch_tokens=batch_tokens, int8=int8, device=device, threads=threads
        ):
            for record in records:
                terminal.record(record)
            terminal.flush()  # for a reader of a pipe that waits for these predictions
