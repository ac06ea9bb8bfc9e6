"""nlpkit vectors glove"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import options
from nlpkit.cli.output import call


def command(
    counts: Annotated[Path, Argument(help="A file of `nlpkit vectors cooccur`.")],
    output: options.Output,
    dim: Annotated[int, Option(help="Dimension of the vectors.")] = 100,
    epochs: Annotated[int, Option(help="Passes over the counts; 0: write the initial random vectors.")] = 25,
    lr: Annotated[float, Option(help="Learning rate of AdaGrad.")] = 0.05,
    x_max: Annotated[float, Option(help="Smallest count whose weight in the loss is 1.")] = 100.0,
    alpha: Annotated[float, Option(help="Exponent of the weight of smaller counts: (count / x-max)^alpha.")] = 0.75,
    seed: options.Seed = 0,
    threads: options.Threads = None,
    save_every: Annotated[
        int | None,
        Option(help="Epochs between saves of the state from which a killed run resumes (default: one a minute)."),
    ] = None,
    log: options.Log = None,
    force: options.Force = False,
    fresh: options.Fresh = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Train word vectors: GloVe, from co-occurrence counts.

    Examples:

    nlpkit vectors glove cooc.safetensors -o vec.safetensors

    nlpkit vectors glove cooc.safetensors -o vec.safetensors --dim 300 --epochs 50 --x-max 10
    """
    call("vectors glove", locals(), json=json)
