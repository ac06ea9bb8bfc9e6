"""nlpkit finetune"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call
from nlpkit.training.options import flat


@options.trains("finetune")
def command(
    model: Annotated[Path, Argument(help="A model file or a Hugging Face directory.", metavar="MODEL")],
    train: Annotated[Path, Argument(help="Labelled examples: JSONL, TSV, CSV, Parquet.", metavar="TRAIN")],
    output: options.Output,
    dev: Annotated[
        Path | None,
        Option(
            help="Examples for evaluation; the weights that are best by --metric are kept (default: none; the last "
            "are kept)."
        ),
    ] = None,
    task: Annotated[str, Option(help="Task, see nlpkit ls tasks.", autocompletion=completion.tasks)] = "classify",
    text: Annotated[str, Option(help="Column of the text.")] = "text",
    pair: Annotated[str | None, Option(help="Column of the second text (default: single texts).")] = None,
    label: Annotated[str, Option(help="Column of the label.")] = "label",
    on_error: options.OnError = "error",
    format: options.Format = None,
    pooling: Annotated[
        str | None,
        Option(
            help="Vector of a text, from its tokens' hidden states: pooler (the model's own), cls, last, mean, max "
            "(default: what was trained: mean for BERT without nsp; docs/defaults.md)."
        ),
    ] = None,
    freeze: Annotated[
        str | None,
        Option(
            help="Freeze: embeddings | N (embeddings and the first N layers) | all (all but pooler and classifier) "
            "(default: nothing)."
        ),
    ] = None,
    metric: options.Metric = None,
    max_len: options.MaxLen = None,
    dropout: Annotated[
        float | None, Option(help="Dropout probability (default: by the run, see docs/defaults.md).")
    ] = None,
    json: options.Json = False,
    **training: Any,
) -> None:
    """Fine-tune a model on labelled texts, or pairs of texts. Killed, it resumes when the same command is given again.

    Examples:

    nlpkit finetune bert.safetensors train.jsonl -o clf.safetensors --dev dev.jsonl

    nlpkit finetune bert.safetensors pairs.tsv -o nli.safetensors --text premise --pair hypothesis --epochs 5
    """
    call("finetune", flat(locals()), json=json)
