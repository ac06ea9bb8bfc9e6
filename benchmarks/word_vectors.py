"""Word vectors: speed, memory and quality of `nlpkit vectors train` beside gensim and fastText, in the same run.

Both sides run as whole commands, counting and writing included, on the same file of words (nlpkit's word rule, one
sentence a line), with equal options: window 5, 5 negatives, sample 1e-3, words of 5 and more occurrences, learning rate
0.025 for skip-gram and 0.05 for CBOW. The text is english.txt (benchmarks/english.py), a hundredth of it held out.
gensim is measured with both of its readers, LineSentence ("gensim") and corpus_file ("gensim-file"); fastText, where a
Python that has it is given, without sub-words. Results are appended to --results as JSON lines, so the work can be done
in portions; what is there already is not done again.

    python benchmarks/word_vectors.py                                      # quality: all modes, seeds and tools; hours
    python benchmarks/word_vectors.py --only gensim --mode sg-ns --seed 1 --dim 100
    python benchmarks/word_vectors.py --slices 5 --threads 1 2             # speed: tools in turn on a piece of the text
    python benchmarks/word_vectors.py --report                             # the tables, as markdown

Speed is measured on the first --slice-words words and one epoch, the tools in turn, in an order that turns as well.
"count" is the command with no epoch: reading, counting, writing. Quality is that of whole runs: correlation with
people's judgements (WordSim-353, SimLex-999), analogies among the 30,000 most frequent words, and the loss on the
held-out lines, computed by one function for every tool (benchmarks/word_vectors_quality.py).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from english import DEFAULT
from word_vectors_quality import held_out, judgements, read
from word_vectors_report import report

from nlpkit.tokenizers.pretokenize import chunks, words_by
from nlpkit.vectors.base import keep_probability

MODES = {
    "sg-ns": ("skipgram", "ns", 0.025),
    "cbow-ns": ("cbow", "ns", 0.05),
    "sg-hs": ("skipgram", "hs", 0.025),
    "cbow-hs": ("cbow", "hs", 0.05),
}
TOOLS = ("nlpkit", "gensim", "gensim-file", "fasttext")
_words = words_by(lower=True, strip=False)
WINDOW, NEGATIVE, SAMPLE, MIN_COUNT = 5, 5, 1e-3, 5
HELD = 100  # every so many-th line from the first is held out


@dataclass(frozen=True)
class Job:
    """One command to measure."""

    tool: str
    mode: str
    dim: int
    epochs: int
    seed: int
    threads: int
    words: int | None = None  # of the text, None: all
    turn: int | None = None  # of the slices
    copies: int = 1  # of the command, at once

    @property
    def name(self) -> str:
        return f"{self.tool}-{self.mode}-{self.dim}-e{self.epochs}-s{self.seed}-t{self.threads}"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "kind": "quality" if self.turn is None else "slice"}


class Bench:
    """A folder with the text, and the file of results."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder, self.results = arguments.dir, arguments.results or arguments.dir / "results.jsonl"
        self.fasttext = arguments.fasttext_python
        self.train, self.held = self.folder / "train.txt", self.folder / "held.txt"
        if not self.held.exists():
            split_text(arguments.text or self.folder / "english.txt", self.train, self.held)

    def records(self) -> list[dict[str, Any]]:
        if not self.results.exists():
            return []
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    def corpus(self, words: int | None) -> Path:
        """The text, or a file with its first words."""
        if words is None:
            return self.train
        piece = self.folder / f"train-{words}.txt"
        if not piece.exists():
            with self.train.open(encoding="utf-8") as lines, whole(piece) as out:
                for line in lines:
                    out.write(line)
                    words -= line.count(" ") + 1
                    if words <= 0:
                        break
        return piece

    def command(self, job: Job, output: Path) -> list[str]:
        method, loss, lr = MODES[job.mode if job.mode != "count" else "sg-ns"]
        options = {
            "method": method,
            "loss": loss,
            "dim": job.dim,
            "window": WINDOW,
            "negative": NEGATIVE,
            "min-count": MIN_COUNT,
            "sample": SAMPLE,
            "epochs": job.epochs,
            "lr": lr,
            "seed": job.seed,
            "threads": job.threads,
        }
        if job.tool == "nlpkit":
            if loss == "hs":
                del options["negative"]
            head = [sys.executable, "-m", "nlpkit", "vectors", "train", "--force"]
        else:
            python = str(self.fasttext) if job.tool == "fasttext" else sys.executable
            head = [python, str(Path(__file__).with_name("word_vectors_peer.py")), job.tool]
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [*head, str(self.corpus(job.words)), "-o", str(output), *flags]

    def run(self, job: Job, output: Path) -> dict[str, Any]:
        """What the process took; its own threads and BLAS's are as many as the job says. Of several at once, the
        slowest."""
        outputs = [output, *(output.with_stem(f"{output.stem}-{number}") for number in range(1, job.copies))]
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(job.threads))}
        measured = [sys.executable, "-S", str(Path(__file__).with_name("measured.py"))]
        begun = [
            subprocess.Popen(
                [*measured, *self.command(job, path)],
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for path in outputs
        ]
        said = [process.communicate() for process in begun]
        for process, (_, error) in zip(begun, said, strict=True):
            if process.returncode:
                sys.exit(f"{job.name}\n{error}")
        found: dict[str, Any] = max((json.loads(text) for text, _ in said), key=lambda one: float(one["wall"]))
        return found

    def measure(self, job: Job, output: Path, *, quality: bool) -> dict[str, Any]:
        """Run a job, look at what it wrote, and append the record."""
        found = {**job.to_json(), **self.run(job, output)}
        model = read(output, loss := MODES.get(job.mode, MODES["sg-ns"])[1])
        kept = float(keep_probability(model.counts, SAMPLE) @ model.counts)
        found |= {
            "vocabulary": model.vocabulary,
            "vocab_size": len(model.words),
            "words_kept": kept * job.epochs,
            "words_raw": int(model.counts.sum()) * job.epochs,
            "sha256": hashlib.sha256(np.ascontiguousarray(model.vectors).data).hexdigest(),
        }
        if quality:
            method = MODES[job.mode][0]
            found |= judgements(model)
            found["loss"] = held_out(model, self.held, method=method, window=WINDOW, negative=NEGATIVE, sample=SAMPLE)
            found["objective"] = loss
        with self.results.open("a") as out:
            out.write(json.dumps(found) + "\n")
        said = {key: round(value, 3) for key, value in found.items() if isinstance(value, float)}
        print(job.name if job.turn is None else f"turn {job.turn}: {job.name}", said, flush=True)
        return found


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """A text file to write; it has its name only when it is complete."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as out:
        yield out
    part.replace(path)


def split_text(text: Path, train: Path, held: Path) -> None:
    """Write the words of a text by nlpkit's rule, lower-case, a sentence a line; every hundredth line is held out."""
    if not text.exists():
        sys.exit(f"{text} is missing: python {Path(__file__).with_name('english.py')} --dir {text.parent}")
    with text.open(encoding="utf-8") as lines, whole(train) as out, whole(held) as kept_out:
        for number, line in enumerate(lines):
            words = [word for chunk in chunks(line) for word in words_of(chunk)]
            if words:
                (kept_out if number % HELD == 0 else out).write(" ".join(words) + "\n")


@lru_cache(1 << 18)
def words_of(chunk: str) -> list[str]:
    """The words in a piece of text (`nlpkit.vectors.text.words`)."""
    return [word for word in _words(chunk) if any(map(str.isalnum, word))]


def quality(bench: Bench, arguments: argparse.Namespace) -> None:
    """Whole runs. gensim and fastText run on one thread, where gensim is the same each time."""
    (runs := bench.folder / "runs").mkdir(exist_ok=True)
    done = {
        (r["tool"], r["mode"], r["dim"], r["epochs"], r["seed"], r["threads"])
        for r in bench.records()
        if r["kind"] == "quality"
    }
    for dim in arguments.dim:
        for seed in arguments.seed:
            for mode in arguments.mode:
                for tool in tools(arguments, default=("nlpkit", "gensim", "fasttext")):
                    for threads in arguments.threads if tool == "nlpkit" else [1]:
                        job = Job(tool, mode, dim, arguments.epochs, seed, threads)
                        if (tool, mode, dim, arguments.epochs, seed, threads) in done or not possible(job):
                            continue
                        suffix = ".safetensors" if tool == "nlpkit" else ".npz"
                        bench.measure(job, runs / (job.name + suffix), quality=True)


def slices(bench: Bench, arguments: argparse.Namespace) -> None:
    """Short runs in turn. One run of ours before, so that what is compiled once per machine is compiled."""
    begin = 1 + max((r["turn"] for r in bench.records() if r["kind"] == "slice"), default=-1)
    words, modes = arguments.slice_words, [*arguments.mode, "count"]
    with tempfile.TemporaryDirectory(dir=bench.folder) as name:
        folder = Path(name)
        for mode in arguments.mode if "nlpkit" in tools(arguments) else ():
            for threads in arguments.threads:
                bench.run(Job("nlpkit", mode, arguments.dim[0], 1, 0, threads, 20_000), folder / "warm.safetensors")
        for turn in range(begin, begin + arguments.slices):
            for dim in arguments.dim:
                for mode in modes:
                    seed = arguments.seed[0]
                    jobs = [
                        Job(tool, mode, dim, int(mode != "count"), seed, threads, words, turn)
                        for threads in arguments.threads
                        for tool in tools(arguments)
                    ]
                    if "nlpkit" in tools(arguments):  # what so many cores are worth here, for work that shares nothing
                        jobs += [
                            Job("nlpkit", mode, dim, int(mode != "count"), seed, 1, words, turn, copies=threads)
                            for threads in arguments.threads
                            if threads > 1
                        ]
                    jobs = [job for job in jobs if possible(job)]
                    shift = turn % max(1, len(jobs))
                    for job in jobs[shift:] + jobs[:shift]:
                        suffix = ".safetensors" if job.tool == "nlpkit" else ".npz"
                        bench.measure(job, folder / f"slice{suffix}", quality=False)


def tools(arguments: argparse.Namespace, default: tuple[str, ...] = TOOLS) -> list[str]:
    chosen = arguments.only or default
    return [tool for tool in chosen if tool != "fasttext" or arguments.fasttext_python is not None]


def possible(job: Job) -> bool:
    """fastText is compared in skip-gram, and cannot stop after counting."""
    return job.tool != "fasttext" or job.mode.startswith("sg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add: Callable[..., Any] = parser.add_argument
    add("--dir", type=Path, default=DEFAULT, help=f"where the text lies and runs are kept (default: {DEFAULT})")
    add("--text", type=Path, default=None, help="another text, a sentence a line (default: DIR/english.txt)")
    add("--results", type=Path, default=None, help="JSON lines to append to (default: DIR/results.jsonl)")
    add("--only", nargs="+", choices=TOOLS, default=None, help="these tools (default: all)")
    add("--mode", nargs="+", choices=MODES, default=list(MODES), help="default: all four")
    add("--dim", nargs="+", type=int, default=[100], help="width (default: 100)")
    add("--seed", nargs="+", type=int, default=[1, 2, 3], help="default: 1 2 3")
    add("--threads", nargs="+", type=int, default=[1], help="default: 1")
    add("--epochs", type=int, default=5, help="of the runs for quality (default: 5)")
    add("--slices", type=int, default=0, metavar="N", help="measure speed instead, N times in turn")
    add("--slice-words", type=int, default=1_500_000, help="words of the text in a slice (default: 1,500,000)")
    add("--fasttext-python", type=Path, default=None, help="a Python that has fastText (default: without it)")
    add("--report", action="store_true", help="print the results as markdown")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if arguments.report:
        print(report(bench.records()))
    elif arguments.slices:
        slices(bench, arguments)
    else:
        quality(bench, arguments)


if __name__ == "__main__":
    main()
