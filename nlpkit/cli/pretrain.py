"""nlpkit pretrain"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call
from nlpkit.training.options import flat


@options.trains("pretrain")
def command(
    tokens: Annotated[list[Path], Argument(help="Token files, of one tokenizer.", metavar="TOKENS...")],
    output: options.Output,
    model: Annotated[str | None, Option(help="Model family (default: bert).", autocompletion=completion.models)] = None,
    size: Annotated[
        str | None, Option(help="Layers and width by name (default: tiny).", autocompletion=completion.sizes)
    ] = None,
    objective: Annotated[
        str | None,
        Option(help="What to learn, e.g. mlm+nsp (default: the model's).", autocompletion=completion.objectives),
    ] = None,
    recipe: Annotated[
        str | None,
        Option(
            help="Options by name: fast, for the least time to a loss; what is given comes first.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    dev: Annotated[Path | None, Option(help="A token file to measure the loss on; the best weights are kept.")] = None,
    init: Annotated[Path | None, Option(help="Start from this model, of its shape (default: random weights).")] = None,
    vectors: Annotated[
        Path | None, Option(help="Begin the token embeddings with these word vectors, as they are.")
    ] = None,
    n_layers: Annotated[int | None, Option(help="Layers (default: the size's).", min=1)] = None,
    d_model: Annotated[int | None, Option(help="Model width (default: the size's).", min=1)] = None,
    n_heads: Annotated[int | None, Option(help="Attention heads (default: one for each 64 of width).", min=1)] = None,
    d_ff: Annotated[int | None, Option(help="Feed-forward width (default: 4 x d_model).", min=1)] = None,
    max_len: Annotated[
        int | None, Option(help="Longest sequence in tokens, framing included (default: 128, or --init's).", min=1)
    ] = None,
    short_fraction: Annotated[
        float | None,
        Option(help="Share of the updates, the first, that read a quarter of --max-len (default: 0).", min=0, max=1),
    ] = None,
    dropout: Annotated[
        float | None, Option(help="Dropout probability (default: 0.1, or --init's, or the recipe's).", min=0, max=1)
    ] = None,
    cut: Annotated[
        str | None, Option(help="How text is cut: blocks, sentences or pairs (default: the objective's).")
    ] = None,
    mask_ratio: Annotated[
        float | None, Option(help="Share of the tokens to predict (mlm; default: 0.15, or the recipe's).")
    ] = None,
    mask_mix: Annotated[
        str | None, Option(help="Of those, percent [MASK]/random/unchanged (mlm; default: 80/10/10).")
    ] = None,
    masks: Annotated[
        str | None, Option(help="'dynamic': new in every epoch (the default); 'static': repeated (mlm).")
    ] = None,
    mask_copies: Annotated[
        int | None, Option(help="How many different static masks a sequence has (default: 10).", min=1)
    ] = None,
    json: options.Json = False,
    **training: Any,
) -> None:
    """Pre-train a model on token files. Killed, it resumes when the same command is given again.

    Examples:

    nlpkit pretrain tokens.safetensors -o bert.safetensors --size tiny --steps 1000

    nlpkit pretrain tokens.safetensors -o gpt2.safetensors --model gpt2 --size mini --epochs 3 --lr 1e-3
    """
    call("pretrain", flat(locals()), json=json)
