"""How fast text becomes ids: nlpkit against the tokenizers library, same vocabulary, same text, same ids, one thread.

Both read Shakespeare's lines (or --text), and take turns, so that whatever else the machine does hits both. "command"
is the process `nlpkit tokens --threads 1`, from file to file, against the process of the least script with the library:
read the lines, encode them in batches, keep the ids as an array, save them. "first" and "again" are encode_batch of
both in this process, a slice of the text at a time: with nothing remembered, so that the words of a slice are new as
often as in any text, and once more with both memories warm. The ratio is nlpkit's speed through the library's; its
median, least and greatest are over the slices (over the runs, for the command). Seconds are the processor's, of all
threads, so that what else runs on the machine counts for neither. Code is compiled before.

    python benchmarks/tokenizing.py
    python benchmarks/tokenizing.py --text /tmp/english/english.txt --train-lines 200000 --runs 2 --only command
    python benchmarks/tokenizing.py --threads 2 --only command     # seconds on the clock, of one and of two threads
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"  # before the library is imported: one thread on both sides
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import tokenizers as library

import nlpkit
from nlpkit import tokenizers
from nlpkit.tokenizers import fast

KINDS = ("wordpiece", "bpe", "unigram")
SLICES = 20
RUNS = 5  # of the command


def sentences() -> list[str]:
    """Shakespeare's lines, in the order of the plays."""
    source = resources.files("nlpkit").joinpath("demo/shakespeare.jsonl.gz")
    with source.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as rows:
        found = [line for row in rows for line in json.loads(row)["text"].split("\n")]
    return [line for line in found if line.strip()]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and the result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def slices(lines: Sequence[str]) -> list[Sequence[str]]:
    size = -(-len(lines) // SLICES)
    return [lines[start : start + size] for start in range(0, len(lines), size)]


def encode(ours: Any, theirs: Any, lines: Sequence[str]) -> list[tuple[float, float, int]]:
    """Seconds of both and bytes, a slice at a time; each begins every other slice. Ids must be equal."""
    found = []
    for number, part in enumerate(slices(lines)):
        sides: list[Callable[[], Any]] = [
            lambda part=part: ours.encode_batch(part),
            lambda part=part: theirs.encode_batch(part, add_special_tokens=False),
        ]
        order = (0, 1) if number % 2 else (1, 0)
        measured = {side: timed(sides[side]) for side in order}
        (own, ids), (other, encodings) = measured[0], measured[1]
        for line, one, two in zip(part, ids, encodings, strict=True):
            if one.tolist() != two.ids:
                raise SystemExit(f"other ids for {line!r}: {one.tolist()} and {two.ids}")
        found.append((own, other, sum(len(line.encode()) for line in part)))
    return found


SCRIPT = """
import sys
from pathlib import Path
import numpy as np, tokenizers
theirs = tokenizers.Tokenizer.from_file(sys.argv[1])
theirs.encode_special_tokens = True
lines = Path(sys.argv[2]).read_text("utf-8").splitlines()
ids = []
for start in range(0, len(lines), 10_000):
    found = theirs.encode_batch(lines[start : start + 10_000], add_special_tokens=False)
    ids += [np.array(item.ids, np.uint16) for item in found]
np.save(sys.argv[3], np.concatenate(ids))
"""


def process(words: Sequence[object]) -> tuple[float, float]:
    """Seconds of the processor and of the clock that a process takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def stage(folder: Path, corpus: Path, threads: int) -> list[object]:
    return [
        "-m",
        "nlpkit",
        "tokens",
        corpus,
        "--tokenizer",
        folder / "tokenizer.safetensors",
        "-o",
        folder / "tokens.safetensors",
        "--threads",
        threads,
        "--force",
    ]


def command(folder: Path, corpus: Path, runs: int) -> list[tuple[float, float, int]]:
    """The same of whole processes."""
    script = ["-c", SCRIPT, folder / "exported" / "tokenizer.json", corpus, folder / "ids.npy"]
    both = (stage(folder, corpus, 1), script)
    found = []
    for number in range(runs):
        measured = {side: process(both[side])[0] for side in ((0, 1) if number % 2 else (1, 0))}
        ids = nlpkit.artifact.file.read(folder / "tokens.safetensors").array("tokens")
        if not np.array_equal(ids, np.load(folder / "ids.npy", mmap_mode="r")):
            raise SystemExit("nlpkit tokens has other ids")
        found.append((measured[0], measured[1], corpus.stat().st_size))
    return found


def scaling(folder: Path, corpus: Path, runs: int, threads: int) -> str:
    """How many times as fast as one thread several are, on the clock."""
    ratios = []
    for number in range(runs):
        counts = (1, threads) if number % 2 else (threads, 1)
        clock = {count: process(stage(folder, corpus, count))[1] for count in counts}
        ratios.append(clock[1] / clock[threads])
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f} .. {max(ratios):.2f}]"


def say(kind: str, what: str, measured: list[tuple[float, float, int]]) -> None:
    ratios = [other / own for own, other, _ in measured]
    own, other, size = map(sum, zip(*measured, strict=True))
    speeds = f"{size / own / 1e6:>7.2f} {size / other / 1e6:>12.2f}"
    print(f"{kind:<10} {what:<8} {speeds} {statistics.median(ratios):>10.2f} {min(ratios):>6.2f} {max(ratios):>6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, action="append", help="default: all three")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--text", type=Path, default=None, help="a text with a line each; default: Shakespeare")
    parser.add_argument("--train-lines", type=int, default=None, help="of which tokenizers learn; default: all")
    parser.add_argument("--runs", type=int, default=RUNS, help="of the command")
    parser.add_argument("--only", choices=("command", "batch"), default=None, help="default: both")
    parser.add_argument("--threads", type=int, default=1, help="more than 1: measure how the command scales")
    given = parser.parse_args()
    lines = sentences()
    if given.text is not None:
        lines = [line for line in given.text.read_text("utf-8").splitlines() if line.strip()]
    size = sum(len(line.encode()) for line in lines)
    print(
        f"{size / 1e6:.1f} MB, {len(lines):,} lines, vocabulary {given.vocab_size:,}, "
        f"tokenizers {library.__version__}, one thread"
    )
    print(f"{'kind':<10} {'pass':<8} {'nlpkit':>7} {'tokenizers':>12} {'ratio':>10} {'least':>6} {'most':>6}   MB/s")
    fast.usable(compile=True)
    for kind in given.kind or KINDS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            corpus, few, made = folder / "corpus.txt", folder / "few.txt", folder / "tokenizer.safetensors"
            corpus.write_text("".join(f"{line.strip()}\n" for line in lines), "utf-8")
            few.write_text("".join(f"{line.strip()}\n" for line in lines[: given.train_lines]), "utf-8")
            nlpkit.tokenizer_train([few], made, kind=kind, vocab_size=given.vocab_size)
            nlpkit.export(made, folder / "exported")
            if given.only != "batch":
                say(kind, "command", command(folder, corpus, given.runs))
            if given.threads > 1:
                print(f"{kind:<10} {given.threads} threads {scaling(folder, corpus, given.runs, given.threads)}")
            if given.only != "command":
                ours = tokenizers.load(made)
                theirs = library.Tokenizer.from_file(str(folder / "exported" / "tokenizer.json"))
                theirs.encode_special_tokens = True  # a special piece written in a text is text, as it is to us
                say(kind, "first", encode(ours, theirs, lines))
                say(kind, "again", encode(ours, theirs, lines))


if __name__ == "__main__":
    main()
