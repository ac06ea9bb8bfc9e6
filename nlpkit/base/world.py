"""Which of several processes this one is, as torchrun says in the environment; the only one where nobody says it.

Data parallelism itself is in nlpkit/training/parallel/distributed.py. Here is what rooms without torch must know: the
leader, process 0, alone writes files and speaks to people.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nlpkit.base.errors import UserError

COMMANDS = ("pretrain", "finetune", "distill")  # what several processes may run together


@dataclass(frozen=True)
class World:
    """``rank`` of ``size`` processes; ``local_rank`` of the ``local_size`` on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0


def world() -> World:
    """This process among the others. Errors: variables that are no numbers, or contradict each other."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return World()
    rank, size = _number("RANK", "0"), _number("WORLD_SIZE", "1")
    found = World(rank, size, _number("LOCAL_RANK", "0"), _number("LOCAL_WORLD_SIZE", "1"))
    if not (0 <= found.rank < found.size and 0 <= found.local_rank < found.local_size <= found.size):
        raise UserError(
            f"RANK {rank} of WORLD_SIZE {size} (on this machine {found.local_rank} of {found.local_size}) "
            "is no process's place",
            where="environment",
            hint="torchrun sets these variables",
        )
    return found


def default_threads() -> int:
    """As many threads as this process may use cores; of several processes on a machine each gets its share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // world().local_size)


def _number(name: str, default: str) -> int:
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise UserError(
            f'{name} is "{text}", expected a number', where="environment", hint="torchrun sets these variables"
        )
    return int(text)
