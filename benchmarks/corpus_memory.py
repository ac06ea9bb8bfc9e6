"""How much memory a corpus larger than memory needs: a text of any size is made, and a stage run on it under watch.

The text is Shakespeare's lines in random order, with one word in a hundred that never stood before, so that it has the
growing vocabulary of a real corpus (English Wikipedia has about as many). Its bytes are a function of its size and
form. Memory is what Linux calls the proportional set size, summed over the process and its workers, looked at ten times
a second; "anonymous" leaves out the pages of mapped files, which the system takes back when it needs them.

    python benchmarks/corpus_memory.py --gigabytes 5
    python benchmarks/corpus_memory.py --gigabytes 5 --form document      # one document that never ends
    python benchmarks/corpus_memory.py --gigabytes 2 --stage train --kind wordpiece
    python benchmarks/corpus_memory.py --gigabytes 1 --stage vectors
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

FORMS = {
    "documents": "a sentence a line, an empty line after twenty",
    "document": "a sentence a line, one document",
    "jsonl": "a document of twenty sentences a line",
}
NEW = 100  # words, of which one never stood before
LETTERS = np.array(list("etaoinshrdlucmfw"))
STAGES = ("tokens", "train", "vectors")


def sentences() -> list[str]:
    """Shakespeare's lines, in the order of the plays."""
    source = resources.files("nlpkit").joinpath("demo/shakespeare.jsonl.gz")
    with source.open("rb") as packed, gzip.open(packed, "rt", encoding="utf-8") as rows:
        return [line for row in rows for line in json.loads(row)["text"].split("\n")]


def new_words(start: int, count: int) -> list[str]:
    """Words number ``start`` and following: numbers in base 16, written in letters, backwards, eight long."""
    digits = (np.arange(start, start + count)[:, None] >> np.arange(0, 32, 4)) & 15
    return ["".join(row) for row in LETTERS[digits].tolist()]


def documents(size: int) -> Iterator[list[str]]:
    """Documents of twenty sentences, about ``size`` bytes in all."""
    lines = sentences()
    words = sum(len(line.split()) for line in lines) / len(lines)
    fresh, made, number = round(20 * words / NEW), 0, 0
    rng = np.random.Generator(np.random.Philox(0))
    while made < size:
        chosen = rng.integers(len(lines), size=(1000, 20)).tolist()
        new = new_words(number, 1000 * fresh)
        number += 1000 * fresh
        for place, row in enumerate(chosen):
            document = [lines[index] for index in row]
            for which in range(fresh):
                document[which] += " " + new[place * fresh + which]
            made += sum(map(len, document)) + len(document) + 1
            yield document
            if made >= size:
                return


def write(path: Path, form: str, size: int) -> None:
    """The corpus, in a file."""
    with open(path, "w", encoding="utf-8") as file:
        for document in documents(size):
            if form == "jsonl":
                file.write(json.dumps({"text": "\n".join(document)}) + "\n")
            else:
                file.write("\n".join(document) + ("\n" if form == "document" else "\n\n"))


def memory(pid: int) -> tuple[int, int]:
    """Bytes of one process: all, and anonymous ones. A process that has ended has none."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0, 0
    found = {line.split()[0]: int(line.split()[1]) * 1024 for line in rollup.splitlines()[1:]}
    return found.get("Pss:", 0), found.get("Pss_Anon:", 0)


def family(root: int) -> list[int]:
    """A process and all processes below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def watch(command: list[str]) -> dict[str, Any]:
    """Run a command; its seconds and its greatest memory, of the process alone and with its workers."""
    start = time.monotonic()
    peak = {"all": 0, "all_anonymous": 0, "process": 0, "workers": 0}
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            sizes = {pid: memory(pid) for pid in family(process.pid)}
            total = sum(size for size, _ in sizes.values())
            own = sizes[process.pid][0]
            now = {
                "all": total,
                "all_anonymous": sum(size for _, size in sizes.values()),
                "process": own,
                "workers": total - own,
            }
            peak = {name: max(value, now[name]) for name, value in peak.items()}
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return {"seconds": time.monotonic() - start, **peak}


def stage(arguments: argparse.Namespace, corpus: Path, output: Path) -> list[str]:
    """The command line under watch; what it needs beside the corpus is made first."""
    nlpkit = [sys.executable, "-m", "nlpkit"]
    kind = ["--kind", arguments.kind, "--vocab-size", "8000"]
    threads = [] if arguments.threads is None else ["--threads", str(arguments.threads)]
    if arguments.stage == "train":
        return [*nlpkit, "tokenizer", "train", str(corpus), "-o", str(output), *kind, *threads]
    if arguments.stage == "vectors":
        return [*nlpkit, "vectors", "train", str(corpus), "-o", str(output), "--epochs", "1", *threads]
    small, tokenizer = output.with_suffix(".small.txt"), output.with_suffix(".tokenizer.safetensors")
    write(small, "documents", 10_000_000)
    subprocess.run([*nlpkit, "tokenizer", "train", str(small), "-o", str(tokenizer), *kind], check=True)
    return [*nlpkit, "tokens", str(corpus), "--tokenizer", str(tokenizer), "-o", str(output), *threads]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=5)
    parser.add_argument("--form", choices=FORMS, default="documents", help=str(FORMS))
    parser.add_argument("--stage", choices=STAGES, default="tokens")
    parser.add_argument("--kind", default="bpe", help="of the tokenizer")
    parser.add_argument("--threads", type=int, default=None, help="default: one a core")
    parser.add_argument("--dir", type=Path, default=Path("corpus-memory"), help="where to work; removed at the end")
    arguments = parser.parse_args()
    size = int(arguments.gigabytes * 1e9)
    arguments.dir.mkdir(parents=True)
    try:
        free = shutil.disk_usage(arguments.dir).free
        if free < 3 * size:  # the corpus, its ids while they are gathered, and the file
            raise SystemExit(f"{arguments.dir}: {free / 1e9:.0f} GB free, {3 * size / 1e9:.0f} are needed")
        corpus, output = arguments.dir / "corpus", arguments.dir / "output.safetensors"
        corpus = corpus.with_suffix(".jsonl" if arguments.form == "jsonl" else ".txt")
        write(corpus, arguments.form, size)
        found = watch(stage(arguments, corpus, output))
        read = corpus.stat().st_size
        print(
            f"{arguments.stage}, {arguments.form}: {read / 1e9:.2f} GB of text in {found['seconds']:,.0f} s "
            f"({read / 1e6 / found['seconds']:.1f} MB/s), result {output.stat().st_size / 1e9:.3f} GB"
        )
        for name in ("all", "all_anonymous", "process", "workers"):
            print(f"  peak memory, {name.replace('_', ', ')}: {found[name] / 1e6:,.0f} MB")
    finally:
        shutil.rmtree(arguments.dir)


if __name__ == "__main__":
    main()
