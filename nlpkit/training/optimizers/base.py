"""What an optimizer is: parameters by name, the state of each between two updates, and the update.

An update is a function of gradients and state, with the same bits for any number of threads and of processes. Where
parameters are sharded (nlpkit/training/parallel/sharded.py) an elementwise update works on each process's shard; an
update that needs a whole matrix gathers it, computes it in every process, and stores its shard.
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

State = dict[str, Tensor]


class Optimizer(ABC):
    """``parameters`` are those to update; a parameter without a gradient stays as it is, and so does its state.

    ``options`` names the settings that the optimizer reads beside the learning rate and the weight decay.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    defaults: ClassVar[dict[str, float]] = {}  # of these options, where the setting is None

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    @abstractmethod
    def begin(self, name: str, like: Tensor) -> State:
        """The state of the parameter ``name`` before its first update; ``like`` has its shape and device."""

    @abstractmethod
    def update(self, lr: float) -> None:
        """Apply the gradients to the parameters that have one."""

    def forget_gradients(self) -> None:
        """Drop all gradients, before the next backward."""
        for parameter in self.parameters.values():
            parameter.grad = None

    @abstractmethod
    def state_of(self, name: str) -> State:
        """The current state of a parameter; empty before its first update."""

    @abstractmethod
    def set_state(self, name: str, state: State) -> None:
        """Replace the state of a parameter."""

    def state(self) -> dict[str, Tensor]:
        """The state of all parameters, "PARAMETER.KEY" -> tensor; what a resumed run needs."""
        return {f"{name}.{key}": value for name in self.parameters for key, value in self.state_of(name).items()}

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Restore what `state` returned, each tensor whole."""
        states: dict[str, State] = {}
        for key, array in tensors.items():
            name, _, part = key.rpartition(".")
            parameter = self.parameters[name]
            same = array.shape == tuple(parameter.shape)  # only what has a parameter's shape is sharded with it
            states.setdefault(name, {})[part] = like(array, parameter) if same else torch.from_numpy(np.array(array))
        for name, state in states.items():
            self.set_state(name, state)

    def bytes(self) -> int:
        """Size of the state once every parameter has been updated; nothing is allocated."""
        shapes = ((name, torch.empty(value.shape, device="meta")) for name, value in self.parameters.items())
        tensors = (value for name, shape in shapes for value in self.begin(name, shape).values())
        return sum(value.numel() * value.element_size() for value in tensors)

    def transient_bytes(self) -> int:
        """Bytes that an update allocates temporarily beside gradients and state: a few tensors of the largest
        parameter's size."""
        return 3 * max((value.numel() * value.element_size() for value in self.parameters.values()), default=0)


class Stateful(Optimizer):
    """An optimizer that stores its state itself: tensors by parameter and key."""

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.states: dict[str, State] = {}

    def state_of(self, name: str) -> State:
        return self.states.get(name, {})

    def set_state(self, name: str, state: State) -> None:
        device = self.parameters[name].device
        self.states[name] = {key: value if key == "step" else value.to(device) for key, value in state.items()}

    def with_gradients(self) -> dict[str, tuple[torch.nn.Parameter, Tensor, State]]:
        """Each parameter that has a gradient, with its gradient and its state."""
        updates = {}
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                if name not in self.states:
                    self.states[name] = self.begin(name, parameter)
                gradient = parameter.grad.contiguous()  # sums over it have one order, whatever its strides were
                updates[name] = (parameter, gradient, self.states[name])
        return updates


def gathered(value: Tensor) -> Tensor:
    """A tensor whole, on its device; every process must call this."""
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
