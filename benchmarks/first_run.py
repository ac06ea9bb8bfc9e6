"""What the first run of an installation costs more than the second: `pretrain`, `vectors train` and `embed` of a wheel.

    make wheel && python benchmarks/first_run.py dist/*.whl [--runs 3] [--with-these | -c constraints.txt]

Each run is a fresh environment, in which the wheel is installed with all it depends on (``--with-these``: the packages
of this Python are lent to it), and an empty cache; each command is run twice. Printed are seconds by the clock
and of processors, medians of all environments, and how many objects a compiler made: none is right.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path
from statistics import median

WORDS = ["the", "king", "of", "france", "shall", "see", "his", "crown", "and", "all", "that", "are", "with", "him"]
COMMANDS = {
    "pretrain": "pretrain tokens --model bert --size tiny --steps 2 --batch-tokens 512 -o bert --force",
    "vectors train": "vectors train corpus.txt --dim 32 --epochs 1 -o vectors --force",
    "embed": "embed bert texts.txt --pooling mean -o embedded --force",
}


def installed(folder: Path, wheel: Path, lent: bool, constraints: Path | None) -> Path:
    """The program in a new environment."""
    venv.create(folder, with_pip=not lent)
    python = folder / "bin" / "python"
    if lent:
        packages = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        to = ["--target", packages, "--no-deps", "--no-index"]
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *to, wheel], check=True)
        (Path(packages) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n" + "\n".join(sys.path) + "\n")
    else:
        bound = [] if constraints is None else ["-c", str(constraints)]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *bound, wheel], check=True)
    return python


def seconds(python: Path, command: str, folder: Path) -> tuple[float, float]:
    """By the clock, and of processors."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    environment.pop("PYTHONPATH", None)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [python, "-m", "nlpkit", *command.split()],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--with-these", action="store_true")
    parser.add_argument("-c", "--constraints", type=Path)
    options = parser.parse_args()
    times: dict[str, list[tuple[tuple[float, float], ...]]] = {name: [] for name in COMMANDS}
    made = 0
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            python = installed(folder / "venv", options.wheel.resolve(), options.with_these, options.constraints)
            lines = [" ".join(WORDS[(start * step) % len(WORDS)] for step in range(1, 13)) for start in range(3000)]
            (folder / "corpus.txt").write_text("\n".join(lines))
            (folder / "texts.txt").write_text("\n".join(lines[:20]))
            seconds(python, "tokenizer train corpus.txt -o tok --kind wordpiece --vocab-size 200", folder)
            seconds(python, "tokens corpus.txt --tokenizer tok -o tokens", folder)
            for command, line in COMMANDS.items():
                times[command].append((seconds(python, line, folder), seconds(python, line, folder)))
            made += len(list(folder.glob("cache/nlpkit/kernels/*/*")))
    print("| command | first | second | more | first, CPU | second, CPU | more, CPU |\n|---|---|---|---|---|---|---|")
    for command, pairs in times.items():
        cells = []
        for kind in range(2):
            sides = [(first[kind], second[kind]) for first, second in pairs]
            cells += [f"{median(side):.1f} s" for side in zip(*sides, strict=True)]
            cells.append(f"{median(one - other for one, other in sides):+.1f} s")
        print(f"| {command} | {' | '.join(cells)} |")
    print(f"\nobjects compiled: {made}")


if __name__ == "__main__":
    main()
