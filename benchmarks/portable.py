"""What portable mode costs: pre-training a model of 4 x 256 in it and without, in processes that take turns.

    python benchmarks/portable.py

Seconds of the processor of the steps alone: those of a run of many steps less those of a run of one, on one thread. The
ratio is portable through plain; its median, least and greatest are over the turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile


def seconds(words: list[str]) -> float:
    """Seconds of the processor that a command line takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "nlpkit", *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def steps(mode: str, count: int) -> float:
    """Seconds of the processor of so many steps."""
    words = [
        mode,
        *(
            "pretrain tokens.safetensors -o made.safetensors --n-layers 4 --d-model 256 --batch-tokens 4096 "
            "--threads 1 --force --fresh --steps"
        ).split(),
    ]
    return seconds([*words, str(count + 1)]) - seconds([*words, "1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        seconds(["demo", "--dir", ".", "--data-only"])
        seconds(["tokenizer", "train", "corpus.txt", "-o", "tok.safetensors", "--vocab-size", "8000"])
        seconds(["tokens", "corpus.txt", "--tokenizer", "tok.safetensors", "-o", "tokens.safetensors"])
        ratios = []
        for turn in range(given.turns):
            modes = ("--portable", "--no-portable") if turn % 2 else ("--no-portable", "--portable")
            took = {mode: steps(mode, given.steps) for mode in modes}
            ratios.append(took["--portable"] / took["--no-portable"])
            print(f"turn {turn + 1}: {took['--portable']:.1f} s and {took['--no-portable']:.1f} s", flush=True)
        print(f"{statistics.median(ratios):.2f} [{min(ratios):.2f} .. {max(ratios):.2f}] times the processor time")
        os.chdir("/")


if __name__ == "__main__":
    main()
