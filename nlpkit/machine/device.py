"""Where to compute: on the CPU or a GPU.

``auto`` becomes a device's name before anything is recorded, because a GPU's bits are not a CPU's.
"""

from __future__ import annotations

import re
from typing import Any

from nlpkit.base.errors import UserError
from nlpkit.base.world import world


def choose_device(device: str) -> str:
    """``cpu``, ``cuda``, ``cuda:1`` or ``mps`` unchanged; ``auto``: the first of cuda, mps and cpu that is available.

    Errors: UserError for another name, or a device that this machine or this torch does not have.
    """
    import torch

    kind, _, number = device.partition(":")
    available: dict[str, Any] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if device == "auto":
        return next(name for name, is_available in available.items() if is_available())
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", device):
        raise UserError(f'device "{device}" is unknown', hint="valid: auto, cpu, cuda, cuda:1, mps")
    if not available[kind]() or (number and int(number) >= torch.cuda.device_count()):
        raise UserError(
            f"device is {device}, but torch finds none here",
            hint="cpu always works; auto takes the best device available",
        )
    if number and world().size > 1:
        raise UserError(f"device is {device}, but each of {world().size} processes takes its own", hint="give cuda")
    return device


def local_device(device: str) -> str:
    """The device of this process: with several processes on a machine, each takes the GPU of its local rank."""
    return f"cuda:{world().local_rank}" if device == "cuda" and world().size > 1 else device


def seed(value: int, device: str) -> None:
    """Seed torch's generator of random numbers, of the CPU alone where nothing else is used: all of them take longer
    than the rest of a small update's preparation."""
    import torch

    if device == "cpu":
        torch.default_generator.manual_seed(value)
    else:
        torch.manual_seed(value)
