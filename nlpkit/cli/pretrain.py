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
        Option(
            help="Pre-training objective, such as mlm+nsp (default: the model's).", autocompletion=completion.objectives
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        Option(
            help="Named defaults: fast (least time to a given loss). Explicit options override it.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    dev: Annotated[
        Path | None, Option(help="Token file for evaluation; the weights with the lowest loss are kept.")
    ] = None,
    init: Annotated[
        Path | None, Option(help="Continue from this model's weights and shape (default: random weights).")
    ] = None,
    vectors: Annotated[Path | None, Option(help="Initialise the token embeddings with these word vectors.")] = None,
    n_layers: Annotated[int | None, Option(help="Number of layers (default: the size's).")] = None,
    d_model: Annotated[int | None, Option(help="Width of the hidden states (default: the size's).")] = None,
    n_heads: Annotated[int | None, Option(help="Attention heads (default: one for each 64 of width).")] = None,
    d_ff: Annotated[int | None, Option(help="Width of the feed-forward layers (default: 4 x d_model).")] = None,
    max_len: Annotated[
        int | None,
        Option(help="Maximum sequence length in tokens, special tokens included (default: 128, or --init's)."),
    ] = None,
    short_fraction: Annotated[
        float | None,
        Option(help="Fraction of the steps, the first, with sequences of max-len / 4 (default: 0)."),
    ] = None,
    dropout: Annotated[
        float | None, Option(help="Dropout probability (default: 0.1, or --init's, or the recipe's).")
    ] = None,
    cut: Annotated[
        str | None, Option(help="How text becomes sequences: blocks, sentences or pairs (default: the objective's).")
    ] = None,
    mask_ratio: Annotated[
        float | None, Option(help="Fraction of tokens to predict (mlm; default: 0.15, or the recipe's).")
    ] = None,
    mask_mix: Annotated[
        str | None, Option(help="Percent of these replaced by [MASK]/random/unchanged (mlm; default: 80/10/10).")
    ] = None,
    masks: Annotated[str | None, Option(help="Masks: dynamic (new in every epoch, default) or static (mlm).")] = None,
    mask_copies: Annotated[int | None, Option(help="Static masks for each sequence (default: 10).")] = None,
    json: options.Json = False,
    **training: Any,
) -> None:
    """Pre-train a model on token files. Killed, it resumes when the same command is given again.

    Examples:

    nlpkit pretrain tokens.safetensors -o bert.safetensors --size tiny --steps 1000

    nlpkit pretrain tokens.safetensors -o gpt2.safetensors --model gpt2 --size mini --epochs 3 --lr 1e-3
    """
    call("pretrain", flat(locals()), json=json)
