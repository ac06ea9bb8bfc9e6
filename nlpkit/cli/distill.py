"""nlpkit distill"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call
from nlpkit.training.options import flat


@options.trains("distill")
def command(
    teacher: Annotated[Path, Argument(help="The model to learn from.", metavar="TEACHER")],
    data: Annotated[
        list[Path],
        Argument(
            help="Token files for a pre-trained teacher, a file of texts for a fine-tuned one.", metavar="DATA..."
        ),
    ],
    output: options.Output,
    dev: Annotated[Path | None, Option(help="Data to measure the student on; the best weights are kept.")] = None,
    size: Annotated[
        str | None, Option(help="The student's size (default: the teacher's width).", autocompletion=completion.sizes)
    ] = None,
    n_layers: Annotated[int | None, Option(help="The student's layers (default: half the teacher's).", min=1)] = None,
    init: Annotated[Path | None, Option(help="Begin with this model (default: with the teacher's layers).")] = None,
    weight_kl: Annotated[float, Option(help="Weight of the teacher's softened answers.", min=0)] = 5.0,
    weight_hard: Annotated[
        float | None,
        Option(help="Weight of the data's answers: masked words, labels (default: 2, without labels 0).", min=0),
    ] = None,
    weight_cos: Annotated[
        float | None, Option(help="Weight of the cosine between hidden states (default: 1, with --replay 0).", min=0)
    ] = None,
    temperature: Annotated[float, Option(help="How much answers are softened.")] = 2.0,
    replay: Annotated[
        int | None,
        Option(
            help="Ask the teacher once and keep this many of its likeliest answers for all epochs, whose masks are "
            "then the same (default: ask at every step).",
            min=1,
        ),
    ] = None,
    labels: Annotated[bool, Option("--labels/--no-labels", help="Read the labels of the texts.")] = True,
    text: Annotated[str | None, Option(help="The column of the text (default: the teacher's).")] = None,
    pair: Annotated[str | None, Option(help="The column of the second text (default: the teacher's).")] = None,
    label: Annotated[str | None, Option(help="The column of the label (default: the teacher's).")] = None,
    on_error: options.OnError = "error",
    format: options.Format = None,
    metric: Annotated[
        str | None, Option(help="What --dev chooses by: macro_f1 (the default), accuracy, mcc, loss.")
    ] = None,
    mask_ratio: Annotated[
        float | None, Option(help="Share of the tokens to predict (masked teachers; default: 0.15).")
    ] = None,
    mask_mix: Annotated[
        str | None, Option(help="Of those, percent [MASK]/random/unchanged (default: 80/10/10).")
    ] = None,
    max_len: Annotated[
        int | None, Option(help="Longest sequence in tokens, framing included (default: the teacher's).", min=1)
    ] = None,
    dropout: Annotated[float | None, Option(help="Dropout probability (default: the teacher's).", min=0, max=1)] = None,
    json: options.Json = False,
    **training: Any,
) -> None:
    """Distil a teacher into a smaller student, by DistilBERT's three losses. Killed, it resumes when the same command
    is given again.

    Examples:

    nlpkit distill bert.safetensors tokens.safetensors -o student.safetensors --steps 1000

    nlpkit distill clf.safetensors train.jsonl -o small.safetensors --n-layers 1 --dev dev.jsonl
    """
    call("distill", flat(locals()), json=json)
