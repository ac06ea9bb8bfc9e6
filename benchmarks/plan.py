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

STEPS = 4
RUN = """
import json, resource, sys, time
from nlpkit.base import events
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
LARGE = ["pretrain", "{8000}", *MINI, "--batch-tokens"]
# The same updates in less memory, and other ways to need less; each beside the first.
TECHNIQUES: dict[str, list[str]] = {
    "bert 4 x 256, V 8,000, a batch of 4,096": [*LARGE, "4096"],
    "`--checkpointing`": [*LARGE, "4096", "--checkpointing"],
    "`--batch-tokens 512 --accumulate 8`": [*LARGE, "512", "--accumulate", "8"],
    "both": [*LARGE, "512", "--accumulate", "8", "--checkpointing"],
    "`--precision bfloat16`": [*LARGE, "4096", "--precision", "bfloat16"],
    "`--optimizer adafactor`": [*LARGE, "4096", "--optimizer", "adafactor"],
}
FINETUNE = ["finetune", "{model}", "{labelled}"]
FREEZING = {
    "fine-tuning": FINETUNE,
    "fine-tuning, `--freeze 2`": [*FINETUNE, "--freeze", "2"],
    "fine-tuning, `--freeze all`": [*FINETUNE, "--freeze", "all"],
}
CASES: dict[str, list[str]] = {
    **TECHNIQUES,
    **FREEZING,
    "bert 2 x 128, V 2,000": ["pretrain", "{2000}", "--size", "tiny"],
    "bert 4 x 256, V 30,000": ["pretrain", "{30000}", *MINI],
    "gpt2 4 x 256, V 8,000": ["pretrain", "{8000}", *MINI, "--model", "gpt2"],
    "gpt2 4 x 256, V 30,000": ["pretrain", "{30000}", *MINI, "--model", "gpt2"],
    "bert 8 x 512, V 8,000": ["pretrain", "{8000}", "--size", "medium", "--batch-tokens", "2048"],
    "gpt2 4 x 512, checkpointing": ["pretrain", "{8000}", *SMALL, "--model", "gpt2", "--checkpointing"],
    "distilling 4 x 256 into 2 x 256": ["distill", "{model}", "{8000}"],
}
# Chosen after the plan's constants were, and of no influence on them: other widths, depths, vocabularies, lengths,
# optimizers and batches.
UNSEEN: dict[str, list[str]] = {
    "bert 3 x 192, V 2,000, length 64, a batch of 2,048": [
        "pretrain",
        "{2000}",
        "--n-layers",
        "3",
        "--d-model",
        "192",
        "--max-len",
        "64",
        "--batch-tokens",
        "2048",
    ],
    "gpt2 6 x 384, V 8,000, length 256, Adafactor": [
        "pretrain",
        "{8000}",
        "--model",
        "gpt2",
        "--n-layers",
        "6",
        "--d-model",
        "384",
        "--max-len",
        "256",
        "--batch-tokens",
        "2048",
        "--optimizer",
        "adafactor",
    ],
    "bert 6 x 320, V 30,000, Muon, a batch of 1,024": [
        "pretrain",
        "{30000}",
        "--n-layers",
        "6",
        "--d-model",
        "320",
        "--optimizer",
        "muon",
        "--batch-tokens",
        "1024",
    ],
    "bert 2 x 512, V 8,000, length 32, a batch of 8,192": [
        "pretrain",
        "{8000}",
        "--n-layers",
        "2",
        "--d-model",
        "512",
        "--max-len",
        "32",
        "--batch-tokens",
        "8192",
    ],
    "gpt2 3 x 256, V 2,000, `--batch-tokens 1024 --accumulate 4`": [
        "pretrain",
        "{2000}",
        "--model",
        "gpt2",
        "--n-layers",
        "3",
        "--d-model",
        "256",
        "--batch-tokens",
        "1024",
        "--accumulate",
        "4",
    ],
    "fine-tuning, length 64, a batch of 4,096, Muon": [
        *FINETUNE,
        "--max-len",
        "64",
        "--batch-tokens",
        "4096",
        "--optimizer",
        "muon",
    ],
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
    cases = {**CASES, **UNSEEN}
    chosen = sys.argv[1:] or list(cases)
    apart: dict[str, list[float]] = {}
    found: dict[str, dict[str, float]] = {}
    print("| run | memory said | held | said / held | seconds said | taken | said / taken |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        names = prepare(Path(name))
        for case in chosen:
            given = [names.get(word, word) for word in (word.strip("{}") for word in cases[case])]
            given += ["-o", f"{name}/out.safetensors", "--steps", str(STEPS), "--threads", "1", "--force"]
            said = json.loads(nlpkit("plan", "--json", *given))
            command = [sys.executable, "-c", RUN, *given, "--log-every", "1"]
            taken = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            ratios = {"memory": said["memory_bytes"] / taken["memory"], "seconds": said["seconds"] / taken["seconds"]}
            found[case] = taken
            for key, ratio in ratios.items():
                apart.setdefault(("unseen " if case in UNSEEN else "") + key, []).append(ratio)
            megabytes = [f"{size / 1e6:.0f} MB" for size in (said["memory_bytes"], taken["memory"])]
            seconds = [f"{value['seconds']:.1f}" for value in (said, taken)]
            row = [case, *megabytes, f"{ratios['memory']:.2f}", *seconds, f"{ratios['seconds']:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)
    for key, ratios_ in apart.items():
        near = sum(abs(ratio - 1) <= 0.15 for ratio in ratios_)
        print(f"\n{key}: {near} of {len(ratios_)} within 15 %, {min(ratios_):.2f} to {max(ratios_):.2f}")
    for group in (TECHNIQUES, FREEZING):
        first = found.get(next(iter(group)))
        if first is None or not group.keys() <= found.keys():
            continue
        print("\n| technique | memory held | of the first | time of the first |\n|---|---|---|---|")
        for case in group:
            memory, seconds_ = found[case]["memory"], found[case]["seconds"]
            print(
                f"| {case} | {memory / 1e6:.0f} MB | {memory / first['memory']:.2f} "
                f"| {seconds_ / first['seconds']:.2f} |"
            )


if __name__ == "__main__":
    main()
