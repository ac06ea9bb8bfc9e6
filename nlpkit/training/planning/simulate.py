"""One update of a run on tensors without values: its peak memory, and its floating-point operations.

The code of a real run is executed (the model, the objective, forward, backward, optimizer), on torch's fake tensors,
which have a shape and no contents. A dispatch mode sees every operation, so families, objectives, optimizers,
precisions, checkpointing and frozen layers need no separate formula, and the counts are the same on every machine.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from nlpkit.base.seeds import Address
from nlpkit.data.batch import Batch, Wanted
from nlpkit.data.order import Part, Read
from nlpkit.kernels import attention as attending
from nlpkit.kernels import pointwise as fused
from nlpkit.kernels import product
from nlpkit.layers.block import use_checkpointing
from nlpkit.layers.packing import Packing
from nlpkit.machine.heap import LARGE
from nlpkit.models.base import Model
from nlpkit.objectives.base import Objective, Target
from nlpkit.training import optimizers
from nlpkit.training.loop import forward_backward
from nlpkit.training.parallel.reduction import Local
from nlpkit.training.settings import Settings

# Operations that allocate a second tensor as large as their first argument inside, where no dispatch mode sees it.
_COPIES = {torch.ops.aten.logsumexp}


@dataclass(frozen=True)
class Update:
    """Bytes and floating-point operations of one update, weights and those of a teacher included.

    peak: the most that tensors hold at once; weights: of that, what was allocated before the run; persistent: what is
    held between two updates; heaped: temporary tensors so small that the heap does not return them to the system
    (`nlpkit.machine.heap`); operations: of products, recomputed ones included.
    """

    peak: int
    weights: int
    persistent: int
    heaped: int
    operations: float


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks every storage from the operation that allocates it until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.large = 0
        self.peak, self.peak_large, self.began_large = 0, 0, 0
        self.operations = 0.0
        self._known: dict[int, Any] = {}

    def hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known[key] = weakref.ref(storage, lambda _: self._drop(key, size))
            self._change(size)

    def _drop(self, key: int, size: int) -> None:
        if self._known.pop(key, None) is not None:
            self._change(-size)

    def _change(self, size: int) -> None:
        self.now += size
        self.large += size if abs(size) >= LARGE else 0
        if self.now > self.peak:
            self.peak, self.peak_large = self.now, self.large

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        out = func(*args, **named)
        if func._overloadpacket in _COPIES:
            size = args[0].numel() * args[0].element_size()
            self._change(size)
            self._change(-size)
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self.hold(value)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += float(count(*args, **named, out_val=out))
        return out


class _Prepared:
    """An objective whose batches were corrupted before, because corruption needs real values."""

    def __init__(self, objective: Any, corrupted: Mapping[int, tuple[Batch, Target]]) -> None:
        self._objective, self._corrupted = objective, corrupted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objective, name)

    def corrupt(self, batch: Batch, rng: Address) -> tuple[Batch, Target]:
        return self._corrupted[id(batch)]


def update(model: Model, objective: Objective, pieces: list[Part], settings: Settings) -> Update:
    """Memory and operations of an update of ``pieces``, the batches of one part, when the optimizer's state exists
    already. The model's values are neither read nor changed. The optimizer reports the memory of its update itself."""
    corrupted = {}
    for piece in pieces:
        batch, target = objective.corrupt(piece.batch, Address(settings.seed, ("objective", 0)))
        # Cached here, because they need real values.
        _ = batch.packing.positions, batch.packing.ends, batch.packing.runs
        positions = model.wanted_positions(target.wanted, batch)
        target = replace(target, wanted=None if positions is None else Wanted(positions))
        corrupted[id(piece.batch)] = (batch, target)
    teacher = getattr(objective, "teacher", None)
    fake, counting = FakeTensorMode(allow_non_fake_inputs=True), _Counting()
    doubles: dict[int, Tensor] = {}
    for whole in (model, teacher):
        doubles |= {} if whole is None else _without_numbers(whole, fake)
    memo: dict[int, Any] = dict(doubles)
    ghost, objective_double = copy.deepcopy(model, memo), _Prepared(copy.deepcopy(objective, memo), corrupted)
    ghost.train()
    use_checkpointing(ghost, settings.checkpointing)
    alone = replace(settings, parts=1, device="cpu")
    gradients = Local(ghost, 1)
    with fake, counting, _kernels():
        for value in doubles.values():
            counting.hold(value)
        weights, counting.began_large = counting.now, counting.large
        task: Any = objective_double
        forward_backward(ghost, task, Read([pieces], 0, {}), alone, 0, gradients)
        after_backward = counting.now
        optimizer = optimizers.make(ghost, gradients.parameters, alone)
    state = optimizer.bytes()
    persistent = weights + state
    peak = max(counting.peak + state, after_backward + state + optimizer.transient_bytes())
    heaped = max(0, counting.peak - weights - max(0, counting.peak_large - counting.began_large))
    return Update(peak, weights, persistent, heaped, counting.operations)


@contextmanager
def _kernels() -> Iterator[None]:
    """Inside the block doubles replace the compiled kernels, which read addresses: they allocate the same tensors and
    count the same operations, without values."""
    empty: Any = torch.empty_like

    def usable(*tensors: Tensor | None) -> bool:
        present = [x for x in tensors if x is not None]
        return not torch.is_autocast_enabled("cpu") and all(x.dtype == torch.float32 for x in present)

    def run_kernel(name: str, inputs: Sequence[Tensor], heads: int, workspace: int, cost: int) -> None:
        inputs[0].new_empty(torch.get_num_threads() * workspace)
        one = inputs[0].new_empty(1)
        _ = one.expand(1, cost) @ one.expand(cost, 1)  # adds ``cost`` to the count of operations

    numbers = attending.query_ranges

    def query_ranges(packing: Packing, positions: Tensor | None) -> tuple[Any, Any]:
        with _disable_current_modes():  # positions are real values: the number of operations depends on them
            return numbers(packing, positions)

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
        return x @ weight.T if out is None else torch.mm(x, weight.T, out=out)

    def weight_gradient(dy: Tensor, x: Tensor, dweight: Tensor, dbias: Tensor | None, *, adding: bool = False) -> None:
        torch.mm(dy.T, x, out=dweight)

    doubles: dict[ModuleType, dict[str, Any]] = {
        fused: {
            "usable": lambda x, step=8: x.dtype == torch.float32 and x.shape[-1] % step == 0,
            "gelu_": lambda x, tanh: empty(x),
            "norm_backward": lambda grad, x, mean, scale, weight: (empty(x), empty(weight), empty(weight)),
            "softmax_loss_": lambda logits, target: logits.new_empty(len(logits)),
        },
        product: {
            "usable": usable,
            "forward": forward,
            "input_gradient": lambda dy, weight: dy @ weight,
            "weight_gradient": weight_gradient,
        },
        attending: {"usable": usable, "run_kernel": run_kernel, "query_ranges": query_ranges},
    }
    originals = [
        (module, name, getattr(module, name)) for module, replacements in doubles.items() for name in replacements
    ]
    try:
        for module, replacements in doubles.items():
            for name, double in replacements.items():
                setattr(module, name, double)
        yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


def _without_numbers(module: nn.Module, fake: FakeTensorMode) -> dict[int, Tensor]:
    """Every weight and buffer's double, by the identity of the original."""
    with fake:
        weights: dict[int, Tensor] = {
            id(value): nn.Parameter(torch.empty(value.shape, dtype=value.dtype), requires_grad=value.requires_grad)
            for value in module.parameters()
        }
        return weights | {id(value): torch.empty(value.shape, dtype=value.dtype) for value in module.buffers()}
