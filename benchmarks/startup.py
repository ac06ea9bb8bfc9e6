"""How long a command takes to say what it does: every ``nlpkit X --help`` as a process of its own.

    python benchmarks/startup.py [--runs 5]

Prints each command's median and maximum in seconds, the slowest last.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median

from nlpkit.cli.app import COMMANDS


def seconds(arguments: list[str]) -> float:
    """Wall-clock seconds of one process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nlpkit", *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each command")
    runs = parser.parse_args().runs
    rows = []
    for name in ("", *COMMANDS):
        arguments = [*name.split(), "--help"]
        seconds(arguments)  # a first run fills the cache of compiled files
        times = [seconds(arguments) for _ in range(runs)]
        rows.append((median(times), max(times), name))
    for middle, most, name in sorted(rows):
        print(f"{middle:.2f} s (at most {most:.2f})  nlpkit {name} --help".replace("  --help", " --help"))


if __name__ == "__main__":
    main()
