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
    dropout: Annotated[
        float | None, Option(help="Dropout probability (default: 0.1, or --init's).", min=0, max=1)
    ] = None,
    cut: Annotated[
        str | None, Option(help="How text is cut: blocks, sentences or pairs (default: the objective's).")
    ] = None,
    mask_ratio: Annotated[float | None, Option(help="Share of the tokens to predict (mlm; default: 0.15).")] = None,
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
    batch_tokens: options.BatchTokens = 4096,
    accumulate: options.Accumulate = 1,
    lr: options.LearningRate = 5e-4,
    schedule: options.Schedule = "linear",
    warmup_fraction: options.WarmupFraction = 0.1,
    beta1: options.Beta1 = 0.9,
    beta2: options.Beta2 = 0.999,
    adam_eps: options.AdamEps = 1e-8,
    weight_decay: options.WeightDecay = 0.01,
    clip_norm: options.ClipNorm = 1.0,
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
