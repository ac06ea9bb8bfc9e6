"""Does the demonstration's pre-training help its task? A teacher from the pre-trained model, and one from its start.

    python benchmarks/pretraining.py [--seeds 3] [--steps 500]

For each seed: the demonstration's BERT after --steps updates and after none, both fine-tuned and measured by its recipe
on the test speeches. Prints accuracy and macro-F1 of each, and the differences. About 80 seconds a seed on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import nlpkit
from nlpkit.stages.demo_stages import STAGES, options


def measured(folder: Path, seed: int, steps: int) -> dict[str, float]:
    """Accuracy and macro-F1 on the test speeches of a teacher whose pre-training had ``steps`` updates."""
    bert, teacher = folder / f"bert-{steps}-{seed}.safetensors", folder / f"teacher-{steps}-{seed}.safetensors"
    given: dict[str, Any] = {**options(folder, "pretrain"), "steps": steps, "seed": seed}
    nlpkit.pretrain([folder / "tokens.safetensors"], bert, **given)
    told = options(folder, "finetune")
    nlpkit.finetune(bert, folder / "train.jsonl", teacher, dev=folder / "dev.jsonl", seed=seed, **told)
    found = nlpkit.evaluate(teacher, folder / "test.jsonl", **options(folder, "evaluate"))["metrics"]
    return {name: found[name]["value"] for name in ("accuracy", "macro_f1")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--steps", type=int, default=500, help="updates of pre-training")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nlpkit.demo(folder, data_only=True)
        for stage in STAGES[:2]:
            stage.run(folder, None)
        differences: dict[str, list[float]] = {"accuracy": [], "macro_f1": []}
        for seed in range(asked.seeds):
            with_it, without = measured(folder, seed, asked.steps), measured(folder, seed, 0)
            for metric, values in differences.items():
                values.append(with_it[metric] - without[metric])
            print(f"seed {seed}: {asked.steps} updates {with_it}, none {without}", flush=True)
        for metric, values in differences.items():
            print(f"{metric}: difference {mean(values):+.3f} [{min(values):+.3f}..{max(values):+.3f}]")


if __name__ == "__main__":
    main()
