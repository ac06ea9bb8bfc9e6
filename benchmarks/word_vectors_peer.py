"""What a user of gensim or fastText writes to train word vectors; `word_vectors.py` runs it and measures the process.

It saves what the comparison needs, in one .npz: ``words``, ``counts``, ``vectors``, and the ``output`` side, for
gensim's hierarchical softmax with its tree (``nodes``, ``codes``, ``offsets``). With ``--epochs 0`` only the words are
counted.

    gensim       sentences from LineSentence, as its documentation trains
    gensim-file  its own reader of files (corpus_file), which scales better with workers
    fasttext     without sub-words (run with the Python that has it; needs nothing else but numpy)
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np


def gensim(given: argparse.Namespace) -> dict[str, Any]:
    from gensim.models.word2vec import LineSentence, Word2Vec

    model = Word2Vec(
        sg=int(given.method == "skipgram"),
        hs=int(given.loss == "hs"),
        negative=given.negative if given.loss == "ns" else 0,
        vector_size=given.dim,
        window=given.window,
        min_count=given.min_count,
        sample=given.sample,
        alpha=given.lr,
        min_alpha=1e-4,
        cbow_mean=1,
        workers=given.threads,
        seed=given.seed,
        epochs=max(1, given.epochs),
    )
    text = str(given.corpus)
    source = {"corpus_file": text} if given.tool == "gensim-file" else {"corpus_iterable": LineSentence(text)}
    model.build_vocab(**source)
    if given.epochs:
        model.train(
            **source, total_examples=model.corpus_count, total_words=model.corpus_total_words, epochs=given.epochs
        )
    words = model.wv.index_to_key
    found = {"counts": [model.wv.get_vecattr(word, "count") for word in words], "vectors": model.wv.vectors}
    if given.loss == "ns":
        return {**found, "words": words, "output": model.syn1neg}
    codes = [model.wv.get_vecattr(word, "code") for word in words]
    nodes = [model.wv.get_vecattr(word, "point") for word in words]
    return {
        **found,
        "words": words,
        "output": model.syn1,
        "codes": np.concatenate(codes),
        "nodes": np.concatenate(nodes),
        "offsets": np.cumsum([0, *map(len, codes)]),
    }


def fasttext(given: argparse.Namespace) -> dict[str, Any]:
    import fasttext as library

    model = library.train_unsupervised(
        str(given.corpus),
        model=given.method,
        loss=given.loss,
        dim=given.dim,
        ws=given.window,
        neg=given.negative,
        minCount=given.min_count,
        t=given.sample,
        lr=given.lr,
        epoch=given.epochs,
        thread=given.threads,
        minn=0,
        maxn=0,
        bucket=0,
        verbose=0,
    )
    words, counts = model.get_words(include_freq=True)
    found = {"words": words, "counts": counts, "vectors": model.get_input_matrix()}
    return {**found, "output": model.get_output_matrix()} if given.loss == "ns" else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=("gensim", "gensim-file", "fasttext"))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--method", choices=("skipgram", "cbow"), required=True)
    parser.add_argument("--loss", choices=("ns", "hs"), required=True)
    for name in ("dim", "window", "negative", "min_count", "epochs", "seed", "threads"):
        parser.add_argument("--" + name.replace("_", "-"), type=int, required=True)
    for name in ("sample", "lr"):
        parser.add_argument(f"--{name}", type=float, required=True)
    given = parser.parse_args()
    found = fasttext(given) if given.tool == "fasttext" else gensim(given)
    np.savez(given.output, **{name: np.asarray(value) for name, value in found.items()})


if __name__ == "__main__":
    main()
