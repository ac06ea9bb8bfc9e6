"""Does the demonstration's pre-training help its task? A teacher from the pre-trained model, and one from its start.

    python benchmarks/pretraining.py [--seeds 3]

For each seed: the demonstration's BERT as its recipe pre-trains it; after no update, when its embeddings are word
vectors; and with random embeddings after no update. Each is fine-tuned on the labelled speeches and measured on the
test speeches, beside the bag of words. Prints accuracies, and each one's difference from the bag of words with its
interval. About two minutes a seed on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.stages.demo_stages import STAGES, options

STARTS: dict[str, dict[str, Any]] = {
    "pre-trained": {},
    "word vectors alone": {"steps": 0},
    "random": {"steps": 0, "embeddings": "random"},
}


def measured(folder: Path, seed: int, start: str) -> dict[str, Any]:
    """The teacher of a start on the test speeches, beside the bag of words."""
    bert, teacher = folder / f"{start}-{seed}.safetensors", folder / f"{start}-{seed}-teacher.safetensors"
    pretraining = {**options(folder, "pretrain"), **STARTS[start], "seed": seed}
    nlpkit.pretrain([folder / "tokens.safetensors"], bert, **pretraining)
    nlpkit.finetune(bert, folder / "train.jsonl", teacher, seed=seed, **options(folder, "finetune"))
    train = folder / "train.jsonl"
    return nlpkit.evaluate(teacher, folder / "test.jsonl", train=train, **options(folder, "evaluate"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nlpkit.demo(folder, data_only=True)
        for stage in STAGES[:2]:
            stage.run(folder, None)
        for seed in range(arguments.seeds):
            for start in STARTS:
                result = measured(folder, seed, start)
                words = result["baselines"]["bag_of_words"]["accuracy"]["value"]
                gain = result["over_baselines"]["bag_of_words"]["accuracy"]
                print(
                    f"seed {seed}, {start}: {result['metrics']['accuracy']['value']:.3f}; bag of words {words:.3f}; "
                    f"difference {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]",
                    flush=True,
                )


if __name__ == "__main__":
    main()
