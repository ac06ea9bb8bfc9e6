"""Training on cores that another process uses too: threads that wait by spinning against threads that do not.

    python benchmarks/busy_machine.py [--runs 3] [--steps 40]

Pre-trains a tiny BERT on all cores through the command line, alone and beside as many busy processes as there are
cores, with OpenMP's own way of waiting (GOMP_SPINCOUNT unset) and with nlpkit's. Prints tokens per second of each run
and the ratio of the medians, nlpkit's to OpenMP's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import nlpkit
from nlpkit.artifact.provenance import default_threads

RUN = """
import os, sys
from nlpkit.cli import app
app.share_cores = app.share_cores if sys.argv[1] == "nlpkit" else (lambda: None)
app.main(sys.argv[2:])
"""


def tokens_per_second(way: str, folder: Path, steps: int) -> float:
    """One run in a process of its own."""
    log = folder / "log.jsonl"
    log.unlink(missing_ok=True)
    words = ["pretrain", str(folder / "tokens.safetensors"), "-o", str(folder / "model.safetensors"), "--force",
             "--fresh", "--steps", str(steps), "--log-every", str(steps // 2), "--log", str(log)]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    subprocess.run([sys.executable, "-c", RUN, way, *words], check=True, capture_output=True, env=environment)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    return float([event for event in events if event["event"] == "step"][-1]["tokens_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="runs of each kind, in turn")
    parser.add_argument("--steps", type=int, default=40, help="updates of a run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nlpkit.demo(folder, data_only=True)
        corpus = [folder / "corpus.txt"]
        nlpkit.tokenizer_train(corpus, folder / "tok.safetensors", kind="wordpiece", vocab_size=4000)
        nlpkit.tokens(corpus, folder / "tokens.safetensors", tokenizer=folder / "tok.safetensors")
        for busy in (0, default_threads()):
            others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
            try:
                found: dict[str, list[float]] = {"OpenMP": [], "nlpkit": []}
                for _ in range(options.runs):
                    for way, values in found.items():
                        values.append(tokens_per_second(way, folder, options.steps))
            finally:
                for other in others:
                    other.kill()
            print(f"beside {busy} busy processes:")
            for way, values in found.items():
                print(f"  {way:<7}" + "".join(f"{value:>10,.0f}" for value in values) + " tokens/s")
            print(f"  ratio of medians {median(found['nlpkit']) / median(found['OpenMP']):.2f}")


if __name__ == "__main__":
    main()
