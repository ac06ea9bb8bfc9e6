"""The training loop's speed beside Hugging Face's Trainer, in one process, a slice of each in turn.

Both begin with the same weights and read the same text; learning rate, schedule, decay, clipping and dropout are the
same (none, but for --dropout, and never of attention probabilities). benchmarks/training_peer.py says what the Trainer
is told, which is what its example scripts tell it. Both sides prepare their own batches and masks in their own time.

Speed is tokens that are not padding for each second of processor time on one thread; the ratio is ours to the peer's in
the slice that follows it, as median [least .. greatest]. "Peak" is the share of this machine's speed in products of
1024 x 1024, measured beside each slice, that goes into the operations the work needs: none for padding, none for words
that are not asked. For text in blocks the losses of the first steps, read from equal masks, must be equal, or the
script ends with an error; of texts of uneven length the two sides make other batches, and the first loss of equal
sequences is compared. "Memory" (--memory) is of a process for each side alone: its greatest, and what training took
above what was there before its first step.

    python benchmarks/training.py --memory                   # everything, ten minutes
    python benchmarks/training.py --only mlm-8k clm-8k --slices 12
    python benchmarks/training.py --only finetune-dynamic --dropout 0.1
    python benchmarks/training.py --small                    # a minute: 2 layers x 128, batches of 4 x 32

Needs the extras "parity" (transformers) and "bench" (accelerate).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from training_works import WORKS, Ours, build, write_text
from turns import Memory, Turns

from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.training import loop
from nlpkit.training.settings import Settings


class InTurn:
    """Our source of batches, which ends a slice when it has given the batches of one: the loop asks for a batch, trains
    on it and asks for the next, so that what lies between is ours."""

    def __init__(self, given: Any, plan: Sequence[int], ended: Callable[[bool], None]) -> None:
        self.given, self.plan, self.ended = given, list(plan), ended

    def read(self, *where: Any) -> Iterator[Any]:
        taken = 0
        for found in self.given.read(*where):
            if taken == self.plan[0]:
                del self.plan[0]
                self.ended(False)
                taken = 0
            taken += 1
            yield found

    def count(self, epochs: int) -> int:
        return int(self.given.count(epochs))


def train_ours(ours: Ours, turns: Turns, plan: list[int], arguments: argparse.Namespace, folder: Path) -> list[Any]:
    """Train by the loop; returns its records of each step."""
    settings = Settings(steps=sum(plan), lr=arguments.lr, warmup_fraction=0.0, log_every=1, save_every=10**9)
    records: list[Any] = []
    tokens = 0  # of the steps before this slice

    def ended(last: bool) -> None:
        nonlocal tokens
        total = sum(record["tokens"] for record in records)
        slice_, tokens = total - tokens, total
        turns.end("ours", slice_, last)

    def listener(record: dict[str, Any]) -> None:
        if record["event"] == "step":
            records.append(record)

    run = Run.start("benchmark", {"output": folder / "ours.safetensors"}, inputs=())
    turns.begin("ours")
    with events.listen(listener):
        loop.train(ours.loaded.model, ours.objective, InTurn(ours.data, plan, ended), settings, run)
    ended(True)
    return records


def train_peer(made: Any, turns: Turns, plan: list[int]) -> list[float]:
    """Train by the Trainer; returns its losses."""
    made.begin(lambda tokens, last: turns.end("peer", tokens, last), list(plan))
    turns.begin("peer")
    made.train()
    made.close(True)
    return [float(loss) for loss in made.losses]


def trainer(name: str, ours: Ours, steps: int, arguments: argparse.Namespace, folder: Path) -> Any:
    """The peer, with the weights that ours has now."""
    import training_peer

    (folder / "peer" / name).mkdir(parents=True, exist_ok=True)
    return training_peer.trainer(WORKS[name], ours, folder / "peer" / name, arguments, steps)


def compare(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One row: both sides in turn, in two threads of which one works."""
    work = WORKS[name]
    ours = build(work, folder, arguments)
    plan = [arguments.same_steps, *[arguments.slice_steps] * arguments.slices]
    turns = Turns(("ours", "peer"))
    made = trainer(name, ours, sum(plan), arguments, folder)
    with turns.beside(lambda: train_peer(made, turns, plan)) as peer:
        records = train_ours(ours, turns, plan, arguments, folder)
    # The first slice of each is to warm up, and to compare losses.
    speeds = {side: [item.tokens / item.seconds for item in found[1:]] for side, found in turns.slices.items()}
    ratios = [left / right for left, right in zip(speeds["ours"], speeds["peer"], strict=True)]
    operations = [record["operations"] for record in records]
    shares = []
    for number, item in enumerate(turns.slices["ours"][1:]):
        first = arguments.same_steps + number * arguments.slice_steps
        shares.append(sum(operations[first : first + arguments.slice_steps]) / item.seconds / item.peak)
    same = arguments.same_steps if work.cut == "blocks" and work.kind != "finetune" else 0
    differences = [abs(record["loss"] - loss) for record, loss in zip(records[:same], peer, strict=False)]
    ratio = median(ratios)
    return {
        "work": name,
        "title": work.title,
        "dropout": arguments.dropout,
        "ratio": ratio,
        "least": min(ratios),
        "greatest": max(ratios),
        "tokens_per_cpu_second": {side: median(found) for side, found in speeds.items()},
        "peak_share": {"ours": median(shares), "peer": median(shares) / ratio},
        "loss_difference": max(differences, default=None),
        "same_steps": same,
        "losses": {"ours": [record["loss"] for record in records], "peer": peer},
    }


def alone(name: str, side: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """What one side takes of memory, when there is no other in the process."""
    ours = build(WORKS[name], folder, arguments)
    turns, plan = Memory((side,)), [arguments.slice_steps]
    if side == "ours":
        train_ours(ours, turns, plan, arguments, folder)
    else:
        train_peer(trainer(name, ours, arguments.slice_steps, arguments, folder), turns, plan)
    return turns.found()


def memory(name: str, folder: Path) -> dict[str, Any]:
    """Each side in a process of its own, with this one's options."""
    found = {}
    for side in ("ours", "peer"):
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name, "--side", side, "--folder", str(folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[side] = json.loads(done.stdout.splitlines()[-1])
    return found


HEADER = """| work | ratio, median [least .. most] | peak: ours | Trainer | losses apart | memory: ours | Trainer |
|---|---|---|---|---|---|---|"""


def row(found: dict[str, Any]) -> str:
    """A line of the table."""
    apart = "other batches" if found["loss_difference"] is None else f"{found['loss_difference']:.1g}"
    taken = found.get("memory")
    cells = [
        f"{found['title']}{', dropout ' + str(found['dropout']) if found['dropout'] else ''}",
        f"{found['ratio']:.2f} [{found['least']:.2f} .. {found['greatest']:.2f}]",
        *(f"{found['peak_share'][side]:.0%}" for side in ("ours", "peer")),
        apart,
        *(
            f"{taken[side]['peak_mb']:,.0f} MB (+{taken[side]['training_mb']:,.0f})" if taken else ""
            for side in ("ours", "peer")
        ),
    ]
    return "| " + " | ".join(cells) + " |"


def show_losses(found: dict[str, Any]) -> None:
    """Both curves, at eight places, for the eye."""
    curves = found["losses"]
    length = min(map(len, curves.values()))
    places = sorted({round(place * (length - 1) / 7) for place in range(8)})
    print("\n  step  " + "".join(f"{place + 1:>9}" for place in places), file=sys.stderr)
    for side, values in curves.items():
        print(f"  {side:<6}" + "".join(f"{values[place]:>9.4f}" for place in places), file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS), help="rows (default: all)")
    parser.add_argument("--slices", type=int, default=8, help="slices of each side that count (default: 8)")
    parser.add_argument("--slice-steps", type=int, default=2, help="steps in a slice (default: 2)")
    parser.add_argument("--same-steps", type=int, default=6, help="steps before, with equal masks (default: 6)")
    parser.add_argument("--size", default="mini", help="the model (default: mini, 4 layers x 256)")
    parser.add_argument("--batch", type=int, default=32, help="sequences in a batch (default: 32)")
    parser.add_argument("--max-len", type=int, default=128, help="tokens in a sequence (default: 128)")
    parser.add_argument("--dropout", type=float, default=0.0, help="of both sides' hidden states (default: 0)")
    parser.add_argument("--lr", type=float, default=2e-4, help="first learning rate of both (default: 2e-4)")
    parser.add_argument("--memory", action="store_true", help="measure memory too, each side in its own process")
    parser.add_argument("--small", action="store_true", help="a smaller model, text and batch")
    parser.add_argument("--json", action="store_true", help="print one JSON object, losses of every step included")
    parser.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.small:
        arguments.batch, arguments.max_len = 4, 32
    torch.set_num_threads(1)
    if arguments.side:
        print(json.dumps(alone(arguments.only[0], arguments.side, arguments, arguments.folder)))
        return
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder, arguments)
        print(HEADER, file=sys.stderr if arguments.json else sys.stdout, flush=True)
        for chosen in arguments.only:
            found = compare(chosen, arguments, folder)
            if arguments.memory:
                found["memory"] = memory(chosen, folder)
            results.append(found)
            print(row(found), file=sys.stderr if arguments.json else sys.stdout, flush=True)
            show_losses(found)
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "results": results}))
    if any((found["loss_difference"] or 0) > 1e-3 for found in results):
        sys.exit("the losses of the two sides differ: they did not learn the same thing")


if __name__ == "__main__":
    main()
