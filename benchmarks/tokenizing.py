"""How fast text becomes ids: nlpkit against the tokenizers library, same vocabulary, same text, same ids, one thread.

Both read Shakespeare's lines (or --text), in slices that take turns, so that whatever else the machine does hits both.
"first" reads the text once, with nothing remembered: the words of a slice are new as often as in any text. "again"
reads it once more, with both memories warm. "command" is `nlpkit tokens` from file to file against the least a script
with the library must do: read the lines, encode, keep the ids as an array, save them. The ratio is nlpkit's speed
through the library's; its median, least and greatest are over the slices (over the runs, for the command). Seconds
are the processor's, of all threads, so that what else runs on the machine counts for neither.

    python benchmarks/tokenizing.py
    python benchmarks/tokenizing.py --kind wordpiece --vocab-size 30000 --text large.txt
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
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


def command(folder: Path, theirs: Any, corpus: Path) -> list[tuple[float, float, int]]:
    """The same of whole files."""

    def script() -> np.ndarray:
        lines = corpus.read_text("utf-8").splitlines()
        ids = [np.array(item.ids, np.uint16) for item in theirs.encode_batch(lines, add_special_tokens=False)]
        whole = np.concatenate(ids)
        np.save(folder / "ids.npy", whole)
        return whole

    def stage() -> np.ndarray:
        nlpkit.tokens([corpus], folder / "tokens.safetensors", tokenizer=folder / "tokenizer.safetensors",
                      threads=1, force=True)  # fmt: skip
        return np.asarray(nlpkit.artifact.file.read(folder / "tokens.safetensors").array("tokens"))

    found = []
    for number in range(RUNS):
        order = (stage, script) if number % 2 else (script, stage)
        measured = {side: timed(side) for side in order}
        if not np.array_equal(measured[stage][1], measured[script][1]):
            raise SystemExit("nlpkit tokens has other ids")
        found.append((measured[stage][0], measured[script][0], corpus.stat().st_size))
    return found


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
    arguments = parser.parse_args()
    lines = sentences()
    if arguments.text is not None:
        lines = [line for line in arguments.text.read_text("utf-8").splitlines() if line.strip()]
    size = sum(len(line.encode()) for line in lines)
    print(f"{size / 1e6:.1f} MB, {len(lines):,} lines, vocabulary {arguments.vocab_size:,}, "
          f"tokenizers {library.__version__}, one thread")  # fmt: skip
    print(f"{'kind':<10} {'pass':<8} {'nlpkit':>7} {'tokenizers':>12} {'ratio':>10} {'least':>6} {'most':>6}   MB/s")
    for kind in arguments.kind or KINDS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            corpus, made = folder / "corpus.txt", folder / "tokenizer.safetensors"
            corpus.write_text("\n".join(line.strip() for line in lines) + "\n", "utf-8")
            nlpkit.tokenizer_train([corpus], made, kind=kind, vocab_size=arguments.vocab_size)
            nlpkit.export(made, folder / "exported")
            ours = tokenizers.load(made)
            theirs = library.Tokenizer.from_file(str(folder / "exported" / "tokenizer.json"))
            theirs.encode_special_tokens = True  # a special piece written in a text is text, as it is to us
            say(kind, "first", encode(ours, theirs, lines))
            say(kind, "again", encode(ours, theirs, lines))
            say(kind, "command", command(folder, theirs, corpus))


if __name__ == "__main__":
    main()
