"""Where to compute: the processor, a GPU, or what there is.

``auto`` becomes the name of what was found before anything is recorded, because a GPU's bits are not a processor's.
"""

from __future__ import annotations

import re
from typing import Any

from nlpkit.base.errors import UserError
from nlpkit.base.world import world


def choose_device(device: str) -> str:
    """``cpu``, ``cuda``, ``cuda:1`` or ``mps`` as given, ``auto`` as the first of cuda, mps and cpu that is there.

    Errors: another name, a device that this machine or this torch does not have.
    """
    import torch

    kind, _, number = device.partition(":")
    there: dict[str, Any] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if device == "auto":
        return next(name for name, found in there.items() if found())
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", device):
        raise UserError(f'device "{device}" is unknown', hint="valid: auto, cpu, cuda, cuda:1, mps")
    if not there[kind]() or (number and int(number) >= torch.cuda.device_count()):
        raise UserError(f"device is {device}, but torch finds none here",
                        hint="cpu is everywhere; auto takes what there is")  # fmt: skip
    if number and world().size > 1:
        raise UserError(f"device is {device}, but each of {world().size} processes takes its own", hint="give cuda")
    return device


def local_device(device: str) -> str:
    """The device of this process: of several GPUs the one that is its own among the processes of a machine."""
    return f"cuda:{world().local_rank}" if device == "cuda" and world().size > 1 else device
