"""What `nlpkit plan` says of a run, against the run: peak memory of the process, and seconds of its updates.

    python benchmarks/plan.py [NAME ...]

Each run is a process of its own, on one thread, of text that is made here; seconds are of the processor, so that other
work on the machine does not count. The memory is the most that the process held, of the system.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

STEPS = 8
RUN = """
import json, resource, sys, time
from nlpkit import events
from nlpkit.cli import app
began, ended = [], []  # the first update also loads what is loaded on first use
def hear(record):
    if record["event"] == "step":
        (ended if began else began).append(time.process_time())
with events.listen(hear):
    code = app.run(sys.argv[1:])
print(json.dumps({"code": code, "seconds": (ended[-1] - began[0]) / len(ended) * (len(ended) + 1),
                  "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""
MINI, SMALL = ["--size", "mini"], ["--size", "small"]  # 4 layers of 256 and of 512
CASES: dict[str, list[str]] = {
    "bert 2 x 128, V 2,000": ["pretrain", "{2000}", "--size", "tiny"],
    "bert 4 x 256, V 8,000": ["pretrain", "{8000}", *MINI],
    "bert 4 x 256, V 8,000, 16,384 tokens": ["pretrain", "{8000}", *MINI, "--batch-tokens", "16384"],
    "bert 4 x 256, V 30,000": ["pretrain", "{30000}", *MINI],
    "gpt2 4 x 256, V 8,000": ["pretrain", "{8000}", *MINI, "--model", "gpt2"],
    "gpt2 4 x 256, V 30,000": ["pretrain", "{30000}", *MINI, "--model", "gpt2"],
    "bert 8 x 512, V 8,000": ["pretrain", "{8000}", "--size", "medium"],
    "bert 4 x 256, checkpointing": ["pretrain", "{8000}", *MINI, "--checkpointing"],
    "gpt2 4 x 512, checkpointing": ["pretrain", "{8000}", *SMALL, "--model", "gpt2", "--checkpointing"],
    "bert 4 x 256, 8 batches of 512": ["pretrain", "{8000}", *MINI, "--batch-tokens", "512", "--accumulate", "8"],
    "bert 4 x 256, bfloat16": ["pretrain", "{8000}", *MINI, "--precision", "bfloat16"],
    "bert 4 x 256, adafactor": ["pretrain", "{8000}", *MINI, "--optimizer", "adafactor"],
    "fine-tuning 4 x 256": ["finetune", "{model}", "{labelled}"],
    "fine-tuning 4 x 256, all layers frozen": ["finetune", "{model}", "{labelled}", "--freeze", "all"],
    "distilling 4 x 256 into 2 x 256": ["distill", "{model}", "{8000}"],
}


def text(folder: Path) -> Path:
    """Lines of numbered words, as frequent as words are."""
    rng = np.random.default_rng(0)
    ranks = rng.zipf(1.1, (30_000, 14)) % 40_000
    path = folder / "text.txt"
    path.write_text("".join(" ".join(f"w{rank}" for rank in line) + "\n" for line in ranks.tolist()))
    return path


def nlpkit(*words: str) -> str:
    """A command, on one thread; returns what it prints."""
    done = subprocess.run([sys.executable, "-m", "nlpkit", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def prepare(folder: Path) -> dict[str, str]:
    """Token files of three vocabularies, a model, labelled texts."""
    corpus, names = text(folder), {}
    for size in (2000, 8000, 30000):
        tokenizer, tokens = folder / f"tok{size}.safetensors", folder / f"{size}.safetensors"
        nlpkit("tokenizer", "train", str(corpus), "-o", str(tokenizer), "--kind", "word", "--vocab-size", str(size))
        nlpkit("tokens", str(corpus), "--tokenizer", str(tokenizer), "-o", str(tokens), "--threads", "1")
        names[str(size)] = str(tokens)
    names["model"] = str(folder / "model.safetensors")
    nlpkit("pretrain", names["8000"], "-o", names["model"], *MINI, "--steps", "0")
    names["labelled"] = str(folder / "labelled.jsonl")
    lines = corpus.read_text().splitlines()[:2000]
    rows = ({"text": " ".join(lines[number : number + 1 + number % 6]), "label": number % 2} for number in range(2000))
    Path(names["labelled"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return names


def main() -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    chosen = sys.argv[1:] or list(CASES)
    worst = {"memory": 0.0, "seconds": 0.0}
    print("| run | memory said | held | said / held | seconds said | taken | said / taken |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        names = prepare(Path(name))
        for case in chosen:
            words = [word.strip("{}") for word in CASES[case]]
            given = [names.get(word, word) for word in words]
            given += ["-o", f"{name}/out.safetensors", "--steps", str(STEPS), "--threads", "1", "--force"]
            said = json.loads(nlpkit("plan", "--json", *given))
            command = [sys.executable, "-c", RUN, *given, "--log-every", "1"]
            taken = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            ratios = {"memory": said["memory_bytes"] / taken["memory"], "seconds": said["seconds"] / taken["seconds"]}
            worst = {key: max(worst[key], abs(ratio - 1)) for key, ratio in ratios.items()}
            megabytes = [f"{size / 1e6:.0f} MB" for size in (said["memory_bytes"], taken["memory"])]
            seconds = [f"{value['seconds']:.1f}" for value in (said, taken)]
            row = [case, *megabytes, f"{ratios['memory']:.2f}", *seconds, f"{ratios['seconds']:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)
    print(f"\nfurthest from the run: memory {worst['memory']:.0%}, seconds {worst['seconds']:.0%}")


if __name__ == "__main__":
    main()
