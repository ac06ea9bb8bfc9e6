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
    model: Annotated[
        str | None, Option(help="Model family, see nlpkit ls models (default: bert).", autocompletion=completion.models)
    ] = None,
    size: Annotated[
        str | None,
        Option(
            help="Number of layers and width, see nlpkit ls sizes (default: tiny).", autocompletion=completion.sizes
        ),
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
            help="Defaults found by measuring, see nlpkit ls recipes; options that are given come first (default: "
            "none).",
            autocompletion=completion.recipes,
        ),
    ] = None,
    dev: Annotated[
        Path | None,
        Option(
            help="Token file for evaluation; the weights with the lowest loss are kept (default: none; the last are "
            "kept)."
        ),
    ] = None,
    init: Annotated[
        Path | None, Option(help="Continue from this model's weights and shape (default: random weights).")
    ] = None,
    vectors: Annotated[
        Path | None, Option(help="Initialise the token embeddings with these word vectors (default: --embeddings).")
    ] = None,
    embeddings: Annotated[
        str | None,
        Option(
            help="How the token embeddings begin: word2vec (vectors of this text, learnt first, in seconds), random "
            "(default: word2vec from 10,000 tokens on; docs/defaults.md)."
        ),
    ] = None,
    n_layers: Annotated[int | None, Option(help="Number of layers (default: the size's).")] = None,
    d_model: Annotated[int | None, Option(help="Width of the hidden states (default: the size's).")] = None,
    n_heads: Annotated[int | None, Option(help="Number of attention heads (default: d_model / 64).")] = None,
    d_ff: Annotated[int | None, Option(help="Width of the feed-forward layers (default: 4 x d_model).")] = None,
    max_len: Annotated[
        int | None,
        Option(
            help="Maximum sequence length in tokens, special tokens included (default: by the "
            "documents, or --init's; docs/defaults.md)."
        ),
    ] = None,
    short_fraction: Annotated[
        float | None,
        Option(
            help="Fraction of the steps, the first, that train on sequences of max-len / 4 (default: by the "
            "documents, or the recipe's; docs/defaults.md)."
        ),
    ] = None,
    dropout: Annotated[
        float | None, Option(help="Dropout probability (default: 0, or --init's, or the recipe's).")
    ] = None,
    cut: Annotated[
        str | None,
        Option(
            help="How the text is cut into sequences: blocks (max-len tokens, across sentences and documents), "
            "sentences (whole ones, of one document), pairs (two segments, for nsp) (default: the objective's)."
        ),
    ] = None,
    mask_ratio: Annotated[
        float | None, Option(help="Fraction of the tokens that are predicted (mlm; default: 0.15, or the recipe's).")
    ] = None,
    mask_mix: Annotated[
        str | None,
        Option(
            help="Percentages of these that are replaced by [MASK]/by a random token/kept (mlm; default: 80/10/10)."
        ),
    ] = None,
    masks: Annotated[
        str | None,
        Option(
            help="Masks of a sequence: dynamic (new ones in every epoch, default) or static (--mask-copies in turn) "
            "(mlm)."
        ),
    ] = None,
    mask_copies: Annotated[
        int | None, Option(help="Number of different masks of each sequence (--masks static; default: 10).")
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
