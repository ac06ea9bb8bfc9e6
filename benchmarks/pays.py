"""Does pre-training pay? Six labelled sets, few labels and many, ours beside baselines and transformers' recipe.

    python benchmarks/sets.py DIR                            # the sets, once
    python benchmarks/pays.py --data DIR --work WORK         # measures what is missing, prints the tables
    python benchmarks/pays.py --data DIR --work WORK --table # prints the tables of what was measured
    python benchmarks/pays.py --data DIR --work WORK --bold  # the chain with names only on IMDb, against TF-IDF

A cell is (set, labels, row, seed). It is a line of WORK/SET.jsonl as soon as it is measured, so the benchmark can be
stopped and goes on, and two processes can measure different --sets side by side. benchmarks/results/pays has the lines
of docs/results.md: copied to WORK, they are not measured again. Rows:

    majority   the most frequent label
    bag        a bag of words, the baseline of `nlpkit evaluate`
    averaged   vectors of the text's pieces (`vectors train`), averaged, logistic regression, the best C of five on dev;
               of a pair both, their difference and their product
    scratch    `finetune` of a network with random weights
    begun      `finetune` of a network whose embeddings begin as these vectors (`pretrain --vectors --steps 0`)
    random     `pretrain --embeddings random`, `finetune`
    plain      `pretrain`, `finetune`
    grid       plain, fine-tuned at the best of four learning rates on dev, the default one among them
    fast       `pretrain --recipe fast`, `finetune`
    small      the same with one layer: what a small network learns alone
    student    `distill` of the classifier of plain to one layer, on the same labelled examples
    peer       transformers (benchmarks/pays_peer.py), for as many CPU seconds as plain, of pre-training and of each
               fine-tuning; the best of five learning rates on dev, which the first seed chooses for each set and size

All of nlpkit's have no options but names, seed and threads, and --steps, so that a pre-training takes --seconds of CPU
time (0: what the defaults take; by default more for more text). What plain takes includes its word vectors; the
tokenizer and the encoding are shared and free. A seed draws the labelled examples too: of a seeded order the first,
after one of each class. The network is pretrain's default (BERT, 2 x 128), its vocabulary WordPiece. dev has at most
--dev-rows examples, test --test-rows.

--bold: from raw reviews and 6,000 labels, wall time of the commands on two cores, no dev; beside scikit-learn's
TfidfVectorizer and LogisticRegression as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import pays_table as table
from pays_rows import Bench

import nlpkit

SETS = ("stories", "genres", "rotten", "imdb", "verses", "brown")
SIZES = ("100", "500", "2000", "all")


def cells(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str, int]]:
    """Set, row, size, seed: whole seeds of the smaller sizes first, so that a benchmark that is stopped has a table."""
    small = [size for size in arguments.sizes if size != "all"]
    for sizes in (small, [size for size in arguments.sizes if size == "all"]):
        for seed in arguments.seeds:
            for name in arguments.sets:
                for size in sizes:
                    for row in arguments.rows:
                        yield name, row, size, seed


def bold(work: Bench) -> dict[str, Any]:
    """The chain with names only, in processes of two threads; its wall seconds and, paired, its accuracy beside
    TF-IDF's."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    folder = work.folder / "bold"
    folder.mkdir(exist_ok=True)
    train, test = work.train, [json.loads(line) for line in (work.data / "test.jsonl").open(encoding="utf-8")]
    names = {
        "tok": "tok.safetensors",
        "tokens": "tokens.safetensors",
        "bert": "bert.safetensors",
        "clf": "clf.safetensors",
    }
    paths = {name: str(folder / file) for name, file in names.items()}
    corpus, labelled = str(work.data / "corpus.txt"), str(work.data / "train.jsonl")
    chain = [
        ["tokenizer", "train", corpus, "-o", paths["tok"], "--kind", "wordpiece"],
        ["tokens", corpus, "--tokenizer", paths["tok"], "-o", paths["tokens"]],
        ["pretrain", paths["tokens"], "-o", paths["bert"]],
        ["finetune", paths["bert"], labelled, "-o", paths["clf"]],
    ]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    taken: dict[str, float] = {}
    for command in chain:
        began = time.perf_counter()
        again = [] if command[0] in ("tokens", "tokenizer") else ["--fresh"]
        command = [sys.executable, "-m", "nlpkit", *command, "--force", *again]
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        taken[command[3]] = round(time.perf_counter() - began, 1)
        print(f"bold {command[3]}: {taken[command[3]]} s", flush=True)
    truth, classes = work.classes(test), work.classes(train)
    records = nlpkit.predict(paths["clf"], work.data / "test.jsonl")
    ours = np.array([work.labels.index(record["label"]) for record in records]) == truth
    vectorizer = TfidfVectorizer()
    features = vectorizer.fit_transform([row["text"] for row in train])
    regression = LogisticRegression().fit(features, classes)
    theirs = regression.predict(vectorizer.transform([row["text"] for row in test])) == truth
    both = np.stack([ours, theirs]).astype(float)
    difference = table.interval(both[:1] - both[1:])
    return work.add(
        stage="bold",
        set=work.name,
        row="bold",
        seconds=taken,
        wall=round(sum(taken.values()), 1),
        accuracy=round(float(ours.mean()), 4),
        tfidf=round(float(theirs.mean()), 4),
        difference=[round(value, 4) for value in (difference.value, difference.low, difference.high)],
    )


def report(works: list[Bench], arguments: argparse.Namespace) -> None:
    """The tables, on stdout and in WORK/pays.md; all numbers in WORK/pays.json."""
    lines = [line for work in works for line in work.lines]
    measured = {
        (line["set"], line["size"], line["row"], line["seed"]): line for line in lines if line["stage"] == "cell"
    }
    if not measured and not any(line["stage"] == "bold" for line in lines):
        return
    text = ""
    if measured:
        labels = {work.name: len(work.train) for work in works}
        text = table.tables(measured, [size for size in SIZES if any(key[1] == size for key in measured)], labels)
        text += "\n" + table.seconds(measured, [line for line in lines if line["stage"] == "pretrain"])
    text += "".join(bold_table(line) for line in lines if line["stage"] == "bold")
    print(text)
    (arguments.work / "pays.md").write_text(text, "utf-8")
    kept = [{name: value for name, value in line.items() if name != "right"} for line in lines]
    (arguments.work / "pays.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def bold_table(line: dict[str, Any]) -> str:
    value, low, high = line["difference"]
    met = "yes" if low > 0 and line["wall"] <= 600 else "no"
    return (
        "\n| IMDb, 6,000 labels | target | seconds | accuracy | TF-IDF + regression | difference | met |\n"
        "|---|---|---|---|---|---|---|\n"
        f"| names only, two cores | better, in 600 s | {line['wall']:.0f} | {line['accuracy']:.3f} | "
        f"{line['tfidf']:.3f} | {value:+.3f} [{low:+.3f} .. {high:+.3f}] | {met} |\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="what benchmarks/sets.py wrote")
    parser.add_argument("--work", type=Path, required=True, help="models and measurements")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), help="labelled examples, or all")
    parser.add_argument("--rows", nargs="+", default=list(table.ROWS), choices=list(table.ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--seconds",
        type=float,
        help="CPU time of a pre-training (20 for stories, 150 for the reviews' 31 MB, else 60); 0: the defaults'",
    )
    parser.add_argument("--dev-rows", type=int, default=300, help="examples to choose epochs and rates by")
    parser.add_argument("--test-rows", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1, help="of every row but --bold")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--bold", action="store_true", help="the chain with names only on IMDb, and nothing else")
    arguments = parser.parse_args()
    arguments.first_seed = min(arguments.seeds)
    benches = {name: Bench(name, arguments) for name in arguments.sets}
    if arguments.bold:
        bold(benches["imdb"])
    elif not arguments.table:
        for name, row, size, seed in cells(arguments):
            benches[name].cell(row, size, seed)
    report(list(benches.values()), arguments)


if __name__ == "__main__":
    main()
