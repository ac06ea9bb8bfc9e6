"""AdamW (Loshchilov and Hutter 2019, algorithm 2).

float32 parameters on a CPU are updated by a compiled kernel in one pass (nlpkit/kernels/adamw_code.py), others by
torch's functions, one cache-sized piece of a parameter at a time. torch.optim has the same loop, but it imports torch's
compiler: a second of CPU time and 70 MB of memory in every run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlpkit.kernels.pointwise import run_in_threads
from nlpkit.machine.kernel import WIDE
from nlpkit.machine.native import Kernels
from nlpkit.training.optimizers.base import State, Stateful
from nlpkit.training.parallel.gradients import Parameters
from nlpkit.training.settings import Settings

KERNELS = Kernels("nlpkit.kernels.adamw_code")
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # where nothing is said
PIECE = 1 << 16  # elements, for each thread; every operation is elementwise, so the size changes no bit


class AdamW(Stateful):
    """Two moments for each parameter. Weight decay on matrices only, not on biases and norms (Devlin et al. 2019, their
    code).

    On a GPU torch's fused kernel is used, whose bits differ.
    """

    options: ClassVar[frozenset[str]] = frozenset({"beta1", "beta2", "adam_eps"})
    defaults: ClassVar[dict[str, float]] = {"beta1": BETA1, "beta2": BETA2, "adam_eps": EPS}

    def __init__(self, parameters: Parameters, settings: Settings, matrices: Collection[str] = ()) -> None:
        super().__init__(parameters)
        self.beta1 = BETA1 if settings.beta1 is None else settings.beta1
        self.beta2 = BETA2 if settings.beta2 is None else settings.beta2
        self.eps = EPS if settings.adam_eps is None else settings.adam_eps
        self.weight_decay = settings.weight_decay

    def begin(self, name: str, like: Tensor) -> State:
        return {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(like), "exp_avg_sq": torch.zeros_like(like)}

    @torch.no_grad()
    def update(self, lr: float) -> None:
        for parameter, gradient, state in self.with_gradients().values():
            decay = self.weight_decay if parameter.ndim >= 2 else 0.0
            state["step"] += 1
            step = state["step"].item()
            whole = [local(value) for value in (parameter, gradient, state["exp_avg"], state["exp_avg_sq"])]
            if parameter.device.type == "cuda":
                value, gradients, mean, square = ([part] for part in whole)
                torch._fused_adamw_(
                    value,
                    gradients,
                    mean,
                    square,
                    [],
                    [state["step"].to(parameter.device)],
                    lr=lr,
                    beta1=self.beta1,
                    beta2=self.beta2,
                    weight_decay=decay,
                    eps=self.eps,
                    amsgrad=False,
                    maximize=False,
                )
                continue
            size, spread, shrink = lr / (1 - self.beta1**step), (1 - self.beta2**step) ** 0.5, 1 - lr * decay
            if _has_kernel(whole):
                self._update_by_kernel(whole, size, spread, shrink)
            else:
                for part in pieces(whole):
                    self._update(part, size, spread, shrink)

    def _update_by_kernel(self, whole: list[Tensor], size: float, spread: float, shrink: float) -> None:
        """Update a whole parameter by the compiled kernel."""
        contiguous, kernel, count = [part.contiguous() for part in whole], KERNELS.adamw, whole[0].numel()
        addresses = [part.data_ptr() for part in contiguous]

        def work(begin: int, end: int) -> None:
            workspace = torch.empty(4 * WIDE)
            kernel(
                *addresses,
                workspace.data_ptr(),
                begin * WIDE,
                min(count, end * WIDE),
                shrink,
                1 - self.beta1,
                self.beta2,
                spread,
                self.eps,
                size,
            )

        run_in_threads(work, -(-count // WIDE), 32 * count)
        for part, updated in zip(whole, contiguous, strict=True):
            if updated is not part:
                part.copy_(updated)

    def _update(self, part: list[Tensor], size: float, spread: float, shrink: float) -> None:
        value, gradient, mean, square = part
        if shrink != 1:
            value.mul_(shrink)
        mean.lerp_(gradient, 1 - self.beta1)
        square.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        value.addcdiv_(mean, square.sqrt().div_(spread).add_(self.eps), value=-size)

    def transient_bytes(self) -> int:
        """Bytes of the divisor of a piece; none by the kernel, which computes in place."""
        if _has_kernel(self.parameters.values()):
            return 0
        largest = max((value.numel() * value.element_size() for value in self.parameters.values()), default=0)
        return min(largest, 4 * PIECE * torch.get_num_threads())


def _has_kernel(tensors: Iterable[Tensor]) -> bool:
    """Whether the compiled kernel can update these tensors."""
    return all(value.dtype == torch.float32 and value.device.type == "cpu" for value in tensors)


def local(value: Tensor) -> Tensor:
    """This process's shard of a tensor, where it is sharded."""
    sharded: Any = value
    shard: Tensor = sharded.to_local() if hasattr(value, "to_local") else value
    return shard


def pieces(whole: list[Tensor]) -> Iterator[list[Tensor]]:
    """Pieces of `PIECE` elements a thread: the same range of each tensor, from first to last."""
    size = PIECE * torch.get_num_threads()
    if whole[0].numel() <= size or not all(value.is_contiguous() for value in whole):
        yield whole
        return
    for parts in zip(*(torch.split(value.view(-1), size) for value in whole), strict=True):
        yield list(parts)
