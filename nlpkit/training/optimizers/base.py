"""What an optimizer is: parameters by name, what it keeps of each between two updates, and the update.

An update is a function of gradients and of what is kept, with the same bits for any number of threads and of
processes. Where parameters are sharded (nlpkit/training/parallel/sharded.py) an update that looks at one number at a
time works on each process's shard; one that looks at a whole matrix gathers it, computes it in every process, and keeps
its shard.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from nlpkit.training.parallel.distributed import like
from nlpkit.training.parallel.gradients import Parameters

Kept = dict[str, Tensor]


class Optimizer(ABC):
    """``parameters`` are those to update; one without a gradient is left as it is, and so is what is kept of it.

    ``options`` names the settings that the optimizer reads beside the learning rate and the weight decay.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    defaults: ClassVar[dict[str, float]] = {}  # of these options, where nothing is given

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    @abstractmethod
    def begin(self, name: str, like: Tensor) -> Kept:
        """What is kept of the parameter ``name`` before its first update; ``like`` has its shape and device."""

    @abstractmethod
    def update(self, lr: float) -> None:
        """Apply the gradients that are there."""

    def forget_gradients(self) -> None:
        """Before the next backward."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @abstractmethod
    def kept(self, name: str) -> Kept:
        """What is kept of a parameter now; empty before its first update."""

    @abstractmethod
    def keep(self, name: str, kept: Kept) -> None:
        """The way back."""

    def state(self) -> dict[str, Tensor]:
        """Everything kept, by the parameter's name and its own; what a resumed run needs."""
        return {f"{name}.{key}": value for name in self.parameters for key, value in self.kept(name).items()}

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """The way back: ``tensors`` are what `state` gave, whole."""
        found: dict[str, Kept] = {}
        for key, array in tensors.items():
            name, _, part = key.rpartition(".")
            parameter = self.parameters[name]
            same = array.shape == tuple(parameter.shape)  # only what has a parameter's shape is sharded with it
            found.setdefault(name, {})[part] = like(array, parameter) if same else torch.from_numpy(np.array(array))
        for name, kept in found.items():
            self.keep(name, kept)

    def bytes(self) -> int:
        """Of what is kept once every parameter has been updated; nothing is allocated."""
        shapes = ((name, torch.empty(value.shape, device="meta")) for name, value in self.parameters.items())
        kept = (value for name, shape in shapes for value in self.begin(name, shape).values())
        return sum(value.numel() * value.element_size() for value in kept)

    def passing(self) -> int:
        """Bytes that an update holds for a moment beside gradients and what is kept: a few matrices, one after the
        other, each as large as a parameter."""
        return 3 * max((value.numel() * value.element_size() for value in self.parameters.values()), default=0)


class Own(Optimizer):
    """An optimizer whose arithmetic is ours: it keeps tensors by name."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.memory: dict[str, Kept] = {}

    def kept(self, name: str) -> Kept:
        return self.memory.get(name, {})

    def keep(self, name: str, kept: Kept) -> None:
        device = self.parameters[name].device
        self.memory[name] = {key: value if key == "step" else value.to(device) for key, value in kept.items()}

    def with_gradients(self) -> dict[str, tuple[torch.nn.Parameter, Tensor, Kept]]:
        """Each parameter that has a gradient, with it and with what is kept of it."""
        found = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                if name not in self.memory:
                    self.memory[name] = self.begin(name, parameter)
                found[name] = (parameter, parameter.grad.contiguous(), self.memory[name])  # sums have one order so
        return found


def gathered(value: Tensor) -> Tensor:
    """A tensor whole, on its device; every process must ask."""
    sharded: Any = value
    whole: Tensor = sharded.full_tensor() if hasattr(value, "full_tensor") else value
    return whole


def shard_of(whole: Tensor, value: Tensor) -> Tensor:
    """``whole`` as ``value`` is: only this process's shard of it where that is sharded."""
    if not hasattr(value, "full_tensor"):
        return whole
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = value
    return distribute_tensor(whole, sharded.device_mesh, sharded.placements, src_data_rank=None)
