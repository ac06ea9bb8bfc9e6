"""The tables of `word_vectors.py`, from its records."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean, median
from typing import Any

Record = dict[str, Any]
QUALITY = ("wordsim", "simlex", "analogies", "semantic", "syntactic", "loss")


def report(records: Sequence[Record]) -> str:
    """Speed, threads and quality, as markdown."""
    parts = [speed(records), threads(records), quality(records)]
    return "\n\n".join(part for part in parts if part)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(values: Sequence[float]) -> str:
    """Median, least and greatest; nothing for no values."""
    return f"{median(values):.2f} [{min(values):.2f}..{max(values):.2f}]" if values else ""


def grouped(records: Iterable[Record], *keys: str) -> dict[tuple[Any, ...], list[Record]]:
    found: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        found[tuple(record[key] for key in keys)].append(record)
    return found


def same_words(records: Sequence[Record]) -> None:
    """Every tool must have seen the same words as often; fastText cuts its counts by the line's end mark only."""
    for (words,), group in grouped(records, "words").items():
        vocabularies = {record["vocabulary"] for record in group if record["tool"] != "fasttext"}
        if len(vocabularies) > 1:
            sys.exit(f"the tools did not see the same words ({words or 'all'} of the text)")


def speed(records: Sequence[Record]) -> str:
    """Peer's time by ours, of the runs of one turn: CPU seconds on one thread, wall seconds on more.

    "Training alone" is the command less the tool's "count" of that turn: no starting, reading, counting and writing.
    """
    slices = [record for record in records if record["kind"] == "slice" and record.get("copies", 1) == 1]
    same_words(slices)
    by_turn = {(r["tool"], r["mode"], r["dim"], r["threads"], r["turn"]): r for r in slices}
    rows = []
    for (mode, dim, count), group in sorted(grouped(slices, "mode", "dim", "threads").items()):
        clock = "cpu" if count == 1 else "wall"
        for tool in sorted({record["tool"] for record in group}):
            theirs = [record for record in group if record["tool"] == tool]
            whole, alone = [], []
            for record in theirs:
                ours = by_turn.get(("nlpkit", mode, dim, count, record["turn"]))
                counts = [by_turn.get((name, "count", dim, count, record["turn"])) for name in (tool, "nlpkit")]
                if ours is not None and tool != "nlpkit":
                    whole.append(record[clock] / ours[clock])
                    if mode != "count" and None not in counts:
                        alone.append((record[clock] - counts[0][clock]) / (ours[clock] - counts[1][clock]))
            paces = [median(record[kind] / record[clock] for record in theirs) for kind in ("words_kept", "words_raw")]
            rows.append(
                [
                    mode,
                    str(dim),
                    str(count),
                    tool,
                    str(len(theirs)),
                    spread(whole),
                    spread(alone),
                    spread([record[clock] for record in theirs]),
                    *(f"{pace / 1e3:,.0f} k" if pace else "" for pace in paces),
                    f"{median(record['peak_mb'] for record in theirs):,.0f}",
                ]
            )
    head = [
        "mode",
        "width",
        "threads",
        "tool",
        "runs",
        "times slower",
        "training alone",
        "seconds",
        "words/s thinned",
        "words/s raw",
        "peak MB",
    ]
    return "### Speed\n\n" + table(head, rows) if rows else ""


def threads(records: Sequence[Record]) -> str:
    """Each tool's wall seconds on one thread by those on more, and how many different vectors that made.

    "Side by side" is how many times as much so many runs on one thread, which share nothing, do at once: the most that
    the machine allows.
    """
    rows = []
    slices = [record for record in records if record["kind"] == "slice" and record["mode"] != "count"]
    for (tool, mode, dim), group in sorted(grouped(slices, "tool", "mode", "dim").items()):
        by_turn = {(r["threads"], r["turn"]): r for r in group if r.get("copies", 1) == 1}
        beside = {(r["copies"], r["turn"]): r for r in group if r.get("copies", 1) > 1}
        hashes = {record["sha256"] for record in group}
        counts = sorted({count for count, _ in by_turn})
        for count in counts[1:]:
            turns = [turn for have, turn in by_turn if have == count and (counts[0], turn) in by_turn]
            gain = spread([by_turn[counts[0], turn]["wall"] / by_turn[count, turn]["wall"] for turn in turns])
            most = spread(
                [
                    count * by_turn[counts[0], turn]["wall"] / beside[count, turn]["wall"]
                    for turn in turns
                    if (count, turn) in beside
                ]
            )
            used = median(by_turn[count, turn]["cpu"] / by_turn[count, turn]["wall"] for turn in turns)
            rows.append(
                [
                    mode,
                    str(dim),
                    tool,
                    f"{counts[0]} to {count}",
                    gain,
                    most,
                    f"{used:.2f}",
                    f"{len(hashes)} in {len(group)} runs",
                ]
            )
    head = ["mode", "width", "tool", "threads", "times faster", "side by side", "cores used", "different vectors"]
    return "### Threads\n\n" + table(head, rows) if rows else ""


def quality(records: Sequence[Record]) -> str:
    """Mean over seeds, and the least and the greatest."""
    whole = [record for record in records if record["kind"] == "quality"]
    same_words(whole)
    rows = []
    for (mode, dim, epochs, tool), group in sorted(grouped(whole, "mode", "dim", "epochs", "tool").items()):
        seeds = {record["seed"]: record for record in group}.values()  # the same on any number of threads
        cells = [mode, str(dim), str(epochs), tool, str(len(seeds))]
        for name in QUALITY:
            values = [record[name] for record in seeds if record[name] is not None]
            cells.append(f"{mean(values):.3f} [{min(values):.3f}..{max(values):.3f}]" if values else "-")
        rows.append(cells)
    head = [
        "mode",
        "width",
        "epochs",
        "tool",
        "seeds",
        "WordSim-353",
        "SimLex-999",
        "analogies",
        "semantic",
        "syntactic",
        "held-out loss",
    ]
    return "### Quality\n\n" + table(head, rows) if rows else ""
