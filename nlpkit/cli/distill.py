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
    teacher: Annotated[Path, Argument(help="The model that is distilled.", metavar="TEACHER")],
    data: Annotated[
        list[Path],
        Argument(help="Token files for a pre-trained teacher, examples for a fine-tuned one.", metavar="DATA..."),
    ],
    output: options.Output,
    dev: Annotated[
        Path | None, Option(help="Data for evaluation; the best weights are kept (default: none; the last are kept).")
    ] = None,
    size: Annotated[
        str | None,
        Option(
            help="The student's size, see nlpkit ls sizes (default: the teacher's width).",
            autocompletion=completion.sizes,
        ),
    ] = None,
    n_layers: Annotated[
        int | None, Option(help="Number of the student's layers (default: half the teacher's).")
    ] = None,
    init: Annotated[
        Path | None, Option(help="Initial weights from this model (default: every n-th layer of the teacher).")
    ] = None,
    weight_kl: Annotated[
        float, Option(help="Weight of the KL divergence from the teacher's softened distribution.")
    ] = 5.0,
    weight_hard: Annotated[
        float | None,
        Option(help="Weight of the loss on masked tokens or labels (default: 2; 0 without labels)."),
    ] = None,
    weight_cos: Annotated[
        float | None, Option(help="Weight of the cosine loss of hidden states (default: 1; 0 with --replay).")
    ] = None,
    temperature: Annotated[float, Option(help="Temperature of the softmax over teacher's and student's logits.")] = 2.0,
    replay: Annotated[
        int | None,
        Option(
            help="Run the teacher once and train every epoch on its saved predictions: of a language model the N "
            "most likely tokens at each position, under masks that stay the same; of a classifier all scores "
            "(default: run the teacher at every step).",
        ),
    ] = None,
    labels: Annotated[
        bool,
        Option(
            "--labels/--no-labels",
            help="Train on the labels of the examples too, not only on the teacher's predictions.",
        ),
    ] = True,
    text: Annotated[str | None, Option(help="Column of the text (default: the teacher's).")] = None,
    pair: Annotated[str | None, Option(help="Column of the second text (default: the teacher's).")] = None,
    label: Annotated[str | None, Option(help="Column of the label (default: the teacher's).")] = None,
    on_error: options.OnError = "error",
    format: options.Format = None,
    metric: options.Metric = None,
    mask_ratio: Annotated[
        float | None, Option(help="Fraction of the tokens that are predicted (masked teachers; default: 0.15).")
    ] = None,
    mask_mix: options.MaskMix = None,
    max_len: Annotated[
        int | None,
        Option(help="Maximum sequence length in tokens, special tokens included (default: the teacher's)."),
    ] = None,
    dropout: Annotated[float | None, Option(help="Dropout probability (default: the teacher's).")] = None,
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
