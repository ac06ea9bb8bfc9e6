"""nlpkit pretrain"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call


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
    steps: options.Steps = None,
    epochs: options.Epochs = None,
    batch_tokens: Annotated[
        int | None, Option(help="About this many tokens in a batch (default: 4096, or the recipe's).", min=1)
    ] = None,
    accumulate: options.Accumulate = 1,
    optimizer: Annotated[
        str | None,
        Option(
            help="adamw (the default, or the recipe's); adafactor: factored moments, a few rows of memory; muon: "
            "orthogonal updates in the blocks.",
            autocompletion=completion.optimizers,
        ),
    ] = None,
    lr: Annotated[float | None, Option(help="Peak learning rate (default: 5e-4, or the recipe's).", min=0)] = None,
    schedule: Annotated[
        str | None,
        Option(
            help="Learning rate after warm-up: constant, linear (the default, or the recipe's), cosine, inverse-sqrt, "
            "wsd, trapezoid.",
            autocompletion=completion.schedules,
        ),
    ] = None,
    warmup_fraction: Annotated[
        float | None,
        Option(help="Share of the steps in which the rate rises (default: 0.1, or the recipe's).", min=0, max=1),
    ] = None,
    decay_fraction: options.DecayFraction = None,
    final_lr_fraction: options.FinalLrFraction = 0.0,
    momentum: options.Momentum = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    adam_eps: options.AdamEps = None,
    weight_decay: Annotated[
        float | None, Option(help="Weight decay, on matrices (default: 0.01, or the recipe's).", min=0)
    ] = None,
    clip_norm: Annotated[
        float | None, Option(help="Largest gradient norm (default: 1, or the recipe's); 0 does not clip.", min=0)
    ] = None,
    eval_every: options.EvalEvery = None,
    patience: options.Patience = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
    parts: options.Parts = None,
    parallel: options.Parallel = None,
    precision: options.Precision = "float32",
    checkpointing: options.Checkpointing = False,
    threads: options.Threads = None,
    log_every: options.LogEvery = 10,
    save_every: options.SaveEvery = None,
    log: options.Log = None,
    force: options.Force = False,
    fresh: options.Fresh = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
) -> None:
    """Pre-train a model on token files. Killed, it resumes when the same command is given again.

    Examples:

    nlpkit pretrain tokens.safetensors -o bert.safetensors --size tiny --steps 1000

    nlpkit pretrain tokens.safetensors -o gpt2.safetensors --model gpt2 --size mini --epochs 3 --lr 1e-3
    """
    call("pretrain", locals(), json=json)
