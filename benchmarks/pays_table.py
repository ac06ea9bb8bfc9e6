"""The tables of benchmarks/pays.py: accuracies with intervals, and whether pre-training pays.

An interval of 95 % is of seeds and test examples together: both are drawn again with replacement (the seeds of all
systems alike, and the examples), as nlpkit/measure/intervals.py draws examples. A difference is paired: the same
seeds, labelled examples and test examples on both sides. With three seeds this is rough, and rather too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nlpkit.base.seeds import Address
from nlpkit.measure.intervals import Interval, percentile

RESAMPLES = 2000
ROWS = {
    "majority": "the most frequent label",
    "bag": "bag of words",
    "averaged": "word vectors, averaged",
    "scratch": "the network from scratch",
    "begun": "begun from word vectors",
    "random": "pre-trained, random embeddings",
    "plain": "pre-trained, plain defaults",
    "grid": "the same, best of 4 rates on dev",
    "fast": "pre-trained, `--recipe fast`",
    "peer": "run_mlm + run_glue",
    "small": "one layer, pre-trained alike",
    "student": "one layer, distilled from plain",
}
# what is subtracted from "plain", or from what stands in OF -> title, whether it is a target at a size
DIFFERENCES = {
    "scratch": ("from scratch", lambda size: size != "all"),
    "peer": ("run_mlm + run_glue", lambda size: True),
    "begun": ("begun from vectors", lambda size: False),
    "grid": ("best of 4 rates", lambda size: False),
    "bag": ("bag of words", lambda size: False),
    "small": ("distilled minus alone", lambda size: size != "all"),
}

OF = {"small": "student"}

Cells = Mapping[tuple[str, str, str, int], Mapping[str, Any]]  # set, size, row, seed -> its line


def right(cells: Cells, name: str, size: str, row: str) -> dict[int, Any]:
    """Seed -> which test examples were right, [n]."""
    return {
        seed: np.frombuffer(line["right"].encode(), np.uint8) - ord("0")
        for (a, b, c, seed), line in cells.items()
        if (a, b, c) == (name, size, row)
    }


def interval(values: Any) -> Interval:
    """The interval of a mean over seeds and examples, [seeds, n]."""
    rng = Address(0, ("bootstrap",)).generator()
    seeds, n = values.shape
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)  # how often each is drawn
    by_example = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    drawn = ((by_seed @ values) * by_example).sum(1) / (seeds * n)
    return percentile(float(values.mean()), drawn, 0.95)


def difference(cells: Cells, name: str, size: str, row: str, other: str) -> Interval | None:
    """Accuracy of a row minus that of another, paired; None where they have no seed in common."""
    ours, theirs = right(cells, name, size, row), right(cells, name, size, other)
    common = sorted(set(ours) & set(theirs))
    if not common:
        return None
    return interval(np.stack([ours[seed].astype(float) - theirs[seed] for seed in common]))


def tables(cells: Cells, sizes: Sequence[str], labels: Mapping[str, int]) -> str:
    """Markdown. ``labels``: set -> how many it has."""
    names = list(dict.fromkeys(name for name, *_ in cells))
    found = ["Accuracy, and its interval:", ""]
    for name in names:
        heads = [f"all {labels[name]:,}" if size == "all" else f"{int(size):,} labels" for size in sizes]
        found += [f"| {name} | {' | '.join(heads)} |", "|---" * (len(sizes) + 1) + "|"]
        for row, title in ROWS.items():
            values = [right(cells, name, size, row) for size in sizes]
            if any(values):
                shown = [accuracy(list(by_seed.values())) for by_seed in values]
                found.append(f"| {title} | {' | '.join(shown)} |")
        found.append("")
    return "\n".join([*found, *verdicts(cells, names, sizes)])


def accuracy(values: list[Any]) -> str:
    if not values:
        return "-"
    measured = interval(np.stack(values).astype(float))
    return f"{measured.value:.3f} [{measured.low:.3f} .. {measured.high:.3f}]"


def verdicts(cells: Cells, names: Sequence[str], sizes: Sequence[str]) -> list[str]:
    """Pre-trained by plain defaults minus others, and distilled minus alone; ✗ where a target is missed."""
    found = [
        "Pre-trained by plain defaults, minus the other (target: an interval above 0, where no * stands):",
        "",
        f"| set | labels | {' | '.join(title for title, _ in DIFFERENCES.values())} | targets |",
        "|---" * (len(DIFFERENCES) + 3) + "|",
    ]
    for name in names:
        for size in sizes:
            shown, missed, met = [], 0, 0
            for other, (_, aims) in DIFFERENCES.items():
                value = difference(cells, name, size, OF.get(other, "plain"), other)
                if value is None:
                    shown.append("-")
                    continue
                aim = aims(size)
                missed, met = missed + (aim and value.low <= 0), met + (aim and value.low > 0)
                mark = "*" if not aim else "" if value.low > 0 else " ✗"
                shown.append(f"{value.value:+.3f} [{value.low:+.3f} .. {value.high:+.3f}]{mark}")
            if any(cell != "-" for cell in shown):
                verdict = "-" if not missed + met else "no" if missed else "yes"
                found.append(f"| {name} | {size} | {' | '.join(shown)} | {verdict} |")
    return [*found, ""]


def seconds(cells: Cells, stages: Sequence[Mapping[str, Any]]) -> str:
    """CPU seconds of the pre-trainings and, added over sizes, of the trainings on labels: means over seeds."""
    found = ["CPU seconds (means):", "", "| set | row | pre-training | on labels, by size |", "|---|---|---|---|"]
    names = list(dict.fromkeys(name for name, *_ in cells))
    for name in names:
        for row in ("scratch", "begun", "random", "plain", "grid", "fast", "peer", "small", "student"):
            first = [line["cpu"] for line in stages if (line["set"], line["row"]) == (name, row)]
            by_size: dict[str, list[float]] = {}
            for (a, size, c, _), line in cells.items():
                if (a, c) == (name, row):
                    by_size.setdefault(size, []).append(line["cpu"])
            if by_size:
                shown = ", ".join(f"{size}: {np.mean(values):.0f}" for size, values in by_size.items())
                found.append(f"| {name} | {row} | {np.mean(first) if first else 0:.0f} | {shown} |")
    return "\n".join([*found, ""])
