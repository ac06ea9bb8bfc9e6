"""Several processes train as one: how they find each other, agree, exchange numbers, and end together.

torchrun starts them (docs/distributed.md). Numbers that steer the loop travel over gloo, on any device; gradients
travel as nlpkit/training/parallel/reduction.py says. What processes exchange is floats and bytes of text, never
pickles.
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
PATIENCE = 2.0  # seconds for process 0 to say first what is wrong


class Lost(RunError):
    """Another process of the run has ended, or does not answer."""


def join(device: str) -> None:
    """Meet the other processes, once; alone there is nobody to meet. Errors: Lost when they do not come."""
    if world().size == 1 or dist.is_initialized():
        return
    if torch.device(device).type not in ("cpu", "cuda"):
        raise UserError(f"several processes train on cpu or cuda, device is {device}")
    _gather_at_the_store()
    with answering():
        # Tensors on a processor go over gloo, those on a GPU over NCCL.
        dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=TIMEOUT)
    atexit.register(leave)


def _gather_at_the_store() -> None:
    """Wait until all are there, in a way that a signal can end, as torch's own wait cannot: when one of them has failed
    before it came here, torchrun asks the others to end."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    key, until = f"nlpkit here {_attempt()}", time.monotonic() + TIMEOUT.total_seconds()
    with answering():
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
    """The end of a process's part in the run; ``together``: when all are done. Nobody can come back: the addresses of a
    first meeting would mislead a second."""
    if dist.is_initialized():
        if together:
            gather([0.0])
        dist.destroy_process_group()


@contextmanager
def answering() -> Iterator[None]:
    """What torch raises when another process is gone becomes `Lost`; any other RuntimeError stays what it is."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not (isinstance(error, dist.DistError) or "gloo" in text or "NCCL" in text):
            raise
        raise Lost(
            "another process of this run has ended or does not answer",
            hint="the same command again goes on from the last save; torchrun names the process that ended first",
        ) from error


def gather(values: Sequence[float]) -> list[list[float]]:
    """Each process's numbers, by rank; all give equally many."""
    if world().size == 1:
        return [list(values)]
    mine = torch.tensor(values, dtype=torch.float64)
    return [found.tolist() for found in gather_tensors(mine)]


def gather_tensors(mine: Tensor) -> list[Tensor]:
    """Each process's tensor, by rank; all have the same shape and lie on the processor."""
    found = [torch.empty_like(mine) for _ in range(world().size)]
    with answering():
        dist.all_gather(found, mine)
    return found


def gather_bytes(mine: bytes) -> list[bytes]:
    """Each process's bytes, by rank."""
    sizes = [int(size) for (size,) in gather([float(len(mine))])]
    padded = torch.zeros(max(1, *sizes), dtype=torch.uint8)
    padded[: len(mine)] = torch.frombuffer(bytearray(mine or b"\0"), dtype=torch.uint8)[: len(mine)]
    found = gather_tensors(padded) if world().size > 1 else [padded]
    return [bytes(value[:size].numpy()) for value, size in zip(found, sizes, strict=True)]


def total(values: Sequence[float]) -> list[float]:
    """The sums of all processes' numbers, added in the order of their ranks; the same in each."""
    return [sum(column) for column in zip(*gather(values), strict=True)]


def agree(run: Run, step: int) -> None:
    """Refuse to train when a process was told, or has found, something else than process 0. ``step``: where its saved
    state is. Errors: a UserError that names each difference."""
    if world().size == 1:
        return
    facts = {"host": socket.gethostname(), "provenance": run.provenance(), "processor": cpu_type(run.libraries),
             "step": step}  # fmt: skip
    first, *others = (json.loads(text) for text in gather_bytes(canonical(facts).encode()))
    for rank, theirs in enumerate(others, 1):
        found = differences(first["provenance"], theirs["provenance"])
        found += [f"{name} was {first[name]}, is {theirs[name]}" for name in ("processor", "step")
                  if first[name] != theirs[name]]  # fmt: skip
        if found:
            raise UserError(
                f"process {rank} on {theirs['host']} has another run than process 0 on {first['host']}: "
                + "; ".join(found),
                hint="all machines need the same inputs, command, versions, processor type, and folder for the output",
            )


def spread(function: Callable[[T], np.ndarray], items: Sequence[T]) -> list[np.ndarray]:
    """``function`` of every item, in order, computed by all processes in turn; each gets all results.

    A result is an array of floats. Every process calls the function equally often, because where parameters are
    sharded they must all take part: one that has no item left repeats the last.
    """
    place = world()
    if place.size == 1:
        return [function(item) for item in items]
    rounds = -(-len(items) // place.size)
    mine = [np.asarray(function(items[min(turn * place.size + place.rank, len(items) - 1)]), np.float64)
            for turn in range(rounds)]  # fmt: skip
    shapes = [np.array(gather([float(len(found.shape)), *found.shape]), np.int64) for found in mine]
    found: list[np.ndarray] = []
    for turn, value in enumerate(mine):
        sizes = [tuple(row[1 : 1 + row[0]]) for row in shapes[turn]]
        padded = torch.zeros(max(int(np.prod(size)) for size in sizes), dtype=torch.float64)
        padded[: value.size] = torch.from_numpy(np.ascontiguousarray(value).reshape(-1))
        for result, size in zip(gather_tensors(padded), sizes, strict=True):
            found.append(result[: int(np.prod(size))].numpy().reshape(size))
    return found[: len(items)]


def whole(value: Tensor) -> Tensor:
    """A tensor on the processor, put together from its shards where it has any; then every process must ask."""
    gathered: Any = value.full_tensor() if hasattr(value, "full_tensor") else value  # type: ignore[operator]
    done: Tensor = gathered.detach().cpu()
    return done


def whole_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Arrays by name. Of shards only process 0 keeps the whole: the others could not hold it."""
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        array = whole(value).numpy()
        if world().leads or not hasattr(value, "full_tensor"):
            found[name] = array
    return found


def like(array: np.ndarray, tensor: Tensor) -> Tensor:
    """An array as ``tensor`` is: on its device, and only this process's shard of it where it is sharded."""
    made = torch.from_numpy(np.array(array)).to(tensor.device)
    if not hasattr(tensor, "full_tensor"):
        return made
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = tensor
    return distribute_tensor(made, sharded.device_mesh, sharded.placements, src_data_rank=None)


def first_to_speak() -> bool:
    """Whether this process is the one that says why the run fails: process 0, or the first other when that is silent.

    The processes of a run mostly fail together, or because one of them has. The store knows whether one has spoken.
    """
    here, key = world(), f"nlpkit spoke {_attempt()}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # another launcher has no store that outlives us
        return True
    try:
        store = _store()
        until = time.monotonic() + PATIENCE
        with suppress(KeyboardInterrupt):  # torchrun asks to end because another has ended
            while not here.leads and time.monotonic() < until and not store.check([key]):
                time.sleep(0.1)
        return bool(store.add(key, 1) == 1)
    except RuntimeError:  # the store is gone: better twice than never
        return True
