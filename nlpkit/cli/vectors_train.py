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
            help="Who learns: nlpkit, or gensim (the published implementation, one worker, no resume).",
            autocompletion=completion.engines,
        ),
    ] = "nlpkit",
    method: Annotated[
        str,
        Option(
            help="skipgram: a word predicts those around it; cbow: they predict it.", autocompletion=completion.methods
        ),
    ] = "skipgram",
    loss: Annotated[
        str,
        Option(
            help="ns: negative sampling; nce: noise-contrastive estimation; hs: hierarchical softmax.",
            autocompletion=completion.losses,
        ),
    ] = "ns",
    dim: Annotated[int, Option(help="Width of a vector.", min=1)] = 100,
    window: Annotated[int, Option(help="Words to each side: 1 to this, drawn at each word.", min=1)] = 5,
    negative: Annotated[
        int | None, Option(help="Negatives drawn for each prediction (ns, nce; default: 5).", min=1)
    ] = None,
    min_count: Annotated[int, Option(help="Rarer words are left out.", min=1)] = 5,
    vocab_size: Annotated[int | None, Option(help="Keep the most frequent words only (default: all).", min=2)] = None,
    phrases: Annotated[
        int | None, Option(help="Join pairs of words that belong together, new_york, so many times.", min=1)
    ] = None,
    phrase_threshold: Annotated[
        float | None, Option(help="Score above which a pair is a phrase (default: 100).", min=0)
    ] = None,
    subwords: Annotated[
        str | None, Option(help="Shortest and longest n-gram of words whose vectors make theirs, such as 3-6.")
    ] = None,
    buckets: Annotated[int | None, Option(help="Rows that n-grams share (subwords; default: 262144).", min=1)] = None,
    sample: Annotated[float, Option(help="Words more frequent than this are thinned out; 0: none.", min=0)] = 1e-3,
    epochs: Annotated[int, Option(help="Passes over the corpus; 0 writes the first random vectors.", min=0)] = 5,
    patience: Annotated[
        int | None, Option(help="Stop after so many epochs without a lower loss on --dev, and keep the best.", min=1)
    ] = None,
    lr: Annotated[float, Option(help="Learning rate at the start; it falls to 0.0001.")] = 0.025,
    average: Annotated[
        bool | None,
        Option("--average/--no-average", help="Take the mean of the words around, not their sum (cbow; default: yes)."),
    ] = None,
    divide: Annotated[
        bool | None,
        Option(
            "--divide/--no-divide", help="Divide the mean's gradient among them, unlike word2vec (cbow; default: no)."
        ),
    ] = None,
    noise_exponent: Annotated[
        float | None, Option(help="Negatives are drawn by counts to this power (ns, nce; default: 0.75).")
    ] = None,
    lowercase: Annotated[
        bool | None, Option("--lowercase/--no-lowercase", help="Make words lower-case (default: yes).")
    ] = None,
    strip_accents: Annotated[bool | None, options.StripAccents] = None,
    tokenizer: Annotated[
        Path | None, Option(help="Learn vectors of this tokenizer's pieces (default: of words).")
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
        int | None, Option(help="Epochs between two saves of the unfinished run (default: a minute).", min=1)
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
