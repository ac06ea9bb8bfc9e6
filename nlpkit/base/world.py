"""The rank of this process among several, from the variables that torchrun sets; without them it is the only one.

Data parallelism itself is in nlpkit/training/parallel/distributed.py. This module holds what packages without torch
need: only the leader, rank 0, writes files and reports to people.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from nlpkit.base.errors import UserError

COMMANDS = ("pretrain", "finetune", "distill")  # the commands that several processes may run together


@dataclass(frozen=True)
class World:
    """``rank`` of ``size`` processes; ``local_rank`` of the ``local_size`` on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0


def world() -> World:
    """This process among the others. Errors: variables that are not numbers, or contradict each other."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return World()
    rank, size = _number("RANK", "0"), _number("WORLD_SIZE", "1")
    process = World(rank, size, _number("LOCAL_RANK", "0"), _number("LOCAL_WORLD_SIZE", "1"))
    if not (0 <= process.rank < process.size and 0 <= process.local_rank < process.local_size <= process.size):
        raise UserError(
            f"RANK {rank} of WORLD_SIZE {size} (on this machine {process.local_rank} of {process.local_size}) "
            "is no valid rank",
            where="environment",
            hint="torchrun sets these variables",
        )
    return process


def default_threads() -> int:
    """One thread for each core that this process may use, divided by the number of processes on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // world().local_size)


def _number(name: str, default: str) -> int:
    text = os.environ.get(name, default)
    if not text.isdecimal():
        raise UserError(
            f'{name} is "{text}", expected a number', where="environment", hint="torchrun sets these variables"
        )
    return int(text)
