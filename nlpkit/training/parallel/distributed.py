"""Several processes train one model: how they meet, check that they agree, exchange numbers, and end together.

torchrun starts them (docs/distributed.md). Control values of the loop are exchanged over gloo, on any device;
nlpkit/training/parallel/reduction.py exchanges gradients. Processes exchange floats and bytes of text, never pickles.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from nlpkit.artifact.promise import cpu_type
from nlpkit.artifact.provenance import Run, differences
from nlpkit.base.canonical import canonical
from nlpkit.base.errors import RunError, UserError
from nlpkit.base.world import world

T = TypeVar("T")
TIMEOUT = timedelta(minutes=10)  # how long a process waits for another that does not answer
PATIENCE = 2.0  # seconds that the others give process 0 to report an error first


class Lost(RunError):
    """Another process of the run has ended, or does not answer."""


def join(device: str) -> None:
    """Set up the process group, once; nothing for a single process. Errors: Lost when a process does not come."""
    if world().size == 1 or dist.is_initialized():
        return
    if torch.device(device).type not in ("cpu", "cuda"):
        raise UserError(f"several processes train on cpu or cuda, device is {device}")
    _gather_at_the_store()
    with raising_lost():
        # Tensors on a CPU go over gloo, those on a GPU over NCCL.
        dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=TIMEOUT)
    atexit.register(leave)


def _gather_at_the_store() -> None:
    """Wait for all processes in a loop that a signal can interrupt, unlike torch's wait: when a process fails before it
    comes here, torchrun sends the others SIGTERM."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    key, until = f"nlpkit here {_attempt()}", time.monotonic() + TIMEOUT.total_seconds()
    with raising_lost():
        store = _store()
        store.add(key, 1)
        while store.add(key, 0) < world().size and time.monotonic() < until:
            time.sleep(0.05)


def _store() -> Any:
    """torchrun's store, which outlives the processes."""
    library: Any = dist
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return library.TCPStore(address, port, world().size, False, timeout=timedelta(seconds=5))


def _attempt() -> str:
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


def leave(*, together: bool = False) -> None:
    """Leave the process group; ``together``: once all processes are here. A process cannot join again, because torch's
    store still holds the addresses of the first group."""
    if dist.is_initialized():
        if together:
            gather([0.0])
        dist.destroy_process_group()


@contextmanager
def raising_lost() -> Iterator[None]:
    """Raise `Lost` in place of torch's error when another process is gone; any other RuntimeError passes through."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not (isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text):
            raise
        raise Lost(
            "another process of this run has ended or does not answer",
            hint="run the same command again to resume from the last save; torchrun names the process that ended first",
        ) from error


def gather(values: Sequence[float]) -> list[list[float]]:
    """Each process's numbers, by rank; all processes pass the same number of values."""
    if world().size == 1:
        return [list(values)]
    mine = torch.tensor(values, dtype=torch.float64)
    return [row.tolist() for row in gather_tensors(mine)]


def gather_tensors(mine: Tensor) -> list[Tensor]:
    """Each process's tensor, by rank; all have the same shape and are on the CPU."""
    tensors = [torch.empty_like(mine) for _ in range(world().size)]
    with raising_lost():
        dist.all_gather(tensors, mine)
    return tensors


def gather_bytes(mine: bytes) -> list[bytes]:
    """Each process's bytes, by rank."""
    sizes = [int(size) for (size,) in gather([float(len(mine))])]
    padded = torch.zeros(max(1, *sizes), dtype=torch.uint8)
    padded[: len(mine)] = torch.frombuffer(bytearray(mine or b"\0"), dtype=torch.uint8)[: len(mine)]
    gathered = gather_tensors(padded) if world().size > 1 else [padded]
    return [bytes(value[:size].numpy()) for value, size in zip(gathered, sizes, strict=True)]


def total(values: Sequence[float]) -> list[float]:
    """The sums of all processes' numbers, added in the order of their ranks; the same in each."""
    return [sum(column) for column in zip(*gather(values), strict=True)]


def agree(run: Run, step: int) -> None:
    """Refuse to train when a process's command, inputs, versions or saved state differ from those of process 0.
    ``step``: of its saved state. Errors: a UserError that names each difference."""
    if world().size == 1:
        return
    facts = {
        "host": socket.gethostname(),
        "provenance": run.provenance(),
        "CPU type": cpu_type(run.libraries),
        "step": step,
    }
    first, *others = (json.loads(text) for text in gather_bytes(canonical(facts).encode()))
    for rank, theirs in enumerate(others, 1):
        problems = differences(first["provenance"], theirs["provenance"])
        problems += [
            f"{name} was {first[name]}, is {theirs[name]}"
            for name in ("CPU type", "step")
            if first[name] != theirs[name]
        ]
        if problems:
            raise UserError(
                f"process {rank} on {theirs['host']} has another run than process 0 on {first['host']}: "
                + "; ".join(problems),
                hint="all machines need the same inputs, command, versions, CPU type, and output folder",
            )


def spread(function: Callable[[T], np.ndarray], items: Sequence[T]) -> list[np.ndarray]:
    """``function`` of every item, in order, divided among the processes round robin; each gets all results.

    A result is an array of floats. Every process calls the function equally often, because sharded parameters need all
    processes in every forward: one that has no item left repeats the last.
    """
    here = world()
    if here.size == 1:
        return [function(item) for item in items]
    rounds = -(-len(items) // here.size)
    mine = [
        np.asarray(function(items[min(turn * here.size + here.rank, len(items) - 1)]), np.float64)
        for turn in range(rounds)
    ]
    shapes = [np.array(gather([float(len(array.shape)), *array.shape]), np.int64) for array in mine]
    results: list[np.ndarray] = []
    for turn, value in enumerate(mine):
        sizes = [tuple(row[1 : 1 + row[0]]) for row in shapes[turn]]
        padded = torch.zeros(max(int(np.prod(size)) for size in sizes), dtype=torch.float64)
        padded[: value.size] = torch.from_numpy(np.ascontiguousarray(value).reshape(-1))
        for result, size in zip(gather_tensors(padded), sizes, strict=True):
            results.append(result[: int(np.prod(size))].numpy().reshape(size))
    return results[: len(items)]


def whole(value: Tensor) -> Tensor:
    """A tensor on the CPU, gathered from its shards where it has any; then every process must call this."""
    gathered: Any = value.full_tensor() if hasattr(value, "full_tensor") else value  # type: ignore[operator]
    done: Tensor = gathered.detach().cpu()
    return done


def whole_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Arrays by name. Of sharded tensors only process 0 returns the whole: the others may lack the memory."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        array = whole(value).numpy()
        if world().leads or not hasattr(value, "full_tensor"):
            arrays[name] = array
    return arrays


def like(array: np.ndarray, tensor: Tensor) -> Tensor:
    """An array as ``tensor`` is: on its device, and only this process's shard of it where it is sharded."""
    copy = torch.from_numpy(np.array(array)).to(tensor.device)
    if not hasattr(tensor, "full_tensor"):
        return copy
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = tensor
    return distribute_tensor(copy, sharded.device_mesh, sharded.placements, src_data_rank=None)


def first_to_speak() -> bool:
    """Whether this process reports why the run fails: process 0, or the first other if process 0 does not.

    The processes of a run mostly fail together, or because one of them has. The store counts the reports.
    """
    here, key = world(), f"nlpkit spoke {_attempt()}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # another launcher's store ends with a process
        return True
    try:
        store = _store()
        until = time.monotonic() + PATIENCE
        with suppress(KeyboardInterrupt):  # torchrun sends SIGTERM because another process has ended
            while not here.leads and time.monotonic() < until and not store.check([key]):
                time.sleep(0.1)
        return bool(store.add(key, 1) == 1)
    except RuntimeError:  # the store is gone: two reports are better than none
        return True
