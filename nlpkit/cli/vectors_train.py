"""nlpkit vectors train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import completion, options
from nlpkit.cli.output import call


def command(
    corpus: Annotated[
        list[Path], Argument(help="Text, JSONL, CSV, TSV, Parquet, .gz, .zst; or token files; - is stdin.")
    ],
    output: options.Output,
    engine: Annotated[
        str,
        Option(
            help="Implementation: nlpkit, or gensim (one worker, no resume).",
            autocompletion=completion.engines,
        ),
    ] = "nlpkit",
    method: Annotated[
        str,
        Option(
            help="skipgram (a word predicts its context) or cbow (the context predicts the word).",
            autocompletion=completion.methods,
        ),
    ] = "skipgram",
    loss: Annotated[
        str,
        Option(
            help="ns (negative sampling), nce (noise-contrastive estimation), hs (hierarchical softmax).",
            autocompletion=completion.losses,
        ),
    ] = "ns",
    dim: Annotated[int, Option(help="Dimension of the vectors.")] = 100,
    window: Annotated[
        int,
        Option(
            help="Maximum number of context words on each side; the actual one is drawn from 1 to this at each word."
        ),
    ] = 5,
    negative: Annotated[int | None, Option(help="Negative samples for each prediction (ns, nce; default: 5).")] = None,
    min_count: Annotated[int, Option(help="Minimum frequency of a word.")] = 5,
    vocab_size: Annotated[int | None, Option(help="Maximum size of the vocabulary (default: all words).")] = None,
    phrases: Annotated[
        int | None, Option(help="Number of passes that join frequent pairs of words, as new_york (default: 0).")
    ] = None,
    phrase_threshold: Annotated[float | None, Option(help="Minimum score of a phrase (default: 100).")] = None,
    subwords: Annotated[
        str | None, Option(help="Character n-grams of these lengths, such as 3-6 (fastText; default: none).")
    ] = None,
    buckets: Annotated[int | None, Option(help="Hash buckets for n-grams (--subwords; default: 262144).")] = None,
    sample: Annotated[float, Option(help="Subsampling threshold for frequent words; 0: none.")] = 1e-3,
    epochs: Annotated[int, Option(help="Passes over the corpus; 0: write the initial random vectors.")] = 5,
    patience: Annotated[
        int | None,
        Option(
            help="Stop after N epochs in a row without a lower loss on --dev, and keep the vectors of the lowest "
            "(early stopping; default: do all epochs and keep the last)."
        ),
    ] = None,
    lr: Annotated[float, Option(help="Initial learning rate; decays linearly to 0.0001.")] = 0.025,
    average: Annotated[
        bool | None,
        Option(
            "--average/--no-average", help="Average the context vectors instead of summing them (cbow; default: yes)."
        ),
    ] = None,
    divide: Annotated[
        bool | None,
        Option(
            "--divide/--no-divide",
            help="Give each of the n context words 1 / n of the gradient; word2vec.c gives each the whole "
            "(cbow; default: no).",
        ),
    ] = None,
    noise_exponent: Annotated[
        float | None, Option(help="Exponent of the noise distribution (ns, nce; default: 0.75).")
    ] = None,
    lowercase: Annotated[
        bool | None, Option("--lowercase/--no-lowercase", help="Lower-case the words (default: yes).")
    ] = None,
    strip_accents: Annotated[bool | None, options.StripAccents] = None,
    tokenizer: Annotated[
        Path | None, Option(help="Vectors for the pieces of this tokenizer (default: for words).")
    ] = None,
    dev: Annotated[
        Path | None, Option(help="Text, or a token file, to measure the loss on (default: a sample of the corpus).")
    ] = None,
    field: options.Field = "text",
    on_error: options.OnError = "error",
    format: options.Format = None,
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
    """Train word vectors: word2vec's skip-gram or continuous bag of words. Words are runs of letters and digits.

    Examples:

    nlpkit vectors train corpus.txt -o vec.safetensors

    nlpkit vectors train shakespeare.jsonl.gz -o vec.safetensors --method cbow --loss hs --dim 50 --epochs 20
    """
    call("vectors train", locals(), json=json)
