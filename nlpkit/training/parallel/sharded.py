"""Large models: every process holds a shard of each weight, its gradient and its moments.

Weights are gathered block by block when a block is computed, and its gradients are scattered again (Zhao et al. 2023,
"PyTorch FSDP", section 3; torch's `fully_shard`). In place of torch's reduction stand an all-to-all and the sum along
the tree (nlpkit/training/parallel/tree.py), so the bits are those of one process, and of `Replicated`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nlpkit.base.errors import UserError
from nlpkit.base.world import world
from nlpkit.models.base import Model
from nlpkit.training.parallel.distributed import gather_tensors, whole
from nlpkit.training.parallel.gradients import row_norms
from nlpkit.training.parallel.reduction import Local
from nlpkit.training.parallel.tree import Tree


class Sharded(Local):
    """The parts are computed in rounds, one part a process; the sum of a round is a branch of the tree."""

    empties = True  # a block's weights are gathered by all processes or by none

    def __init__(self, model: Model, parts: int, device: str) -> None:
        here = world()
        self.rank, self.size, self.keeps = here.rank, here.size, here.leads
        tree = Tree(parts)
        if any(
            tree.cover(first, first + self.size) != [(first, first + self.size)] for first in range(0, parts, self.size)
        ):
            raise UserError(
                f"parallel fsdp cannot divide {parts} parts among {self.size} processes",
                hint="give --parts the number of processes; or both powers of two, --parts the larger",
            )
        _shard(model, device)
        super().__init__(model, parts)
        self.model: Any = model
        self.parts = list(range(self.rank, parts, self.size))

    def backward_next(self, part: int, *, last_of_part: bool, last: bool) -> None:
        self.model.set_requires_gradient_sync(last_of_part)

    def part_done(self, part: int) -> None:
        first = part - self.rank
        for name, parameter in self.parameters.items():
            self._take(name, parameter, (first, first + self.size))

    def finish(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.grad = self.tree.take(self.sums[name], self.tree.root)

    def row_norms(self, gradients: list[Tensor]) -> list[Tensor]:
        """Each row is whole in one process, so its norm has the same bits as in a run of one process."""
        shards: list[Any] = gradients
        mine = torch.cat(row_norms([shard.to_local() for shard in shards])).cpu()
        sizes = [[_rows(len(shard), self.size, rank) for shard in shards] for rank in range(self.size)]
        padded = mine.new_zeros(max(map(sum, sizes)))
        padded[: len(mine)] = mine
        split = [
            torch.split(norms[: sum(rows)], rows) for norms, rows in zip(gather_tensors(padded), sizes, strict=True)
        ]
        return [torch.cat(parts) for parts in zip(*split, strict=True)]

    def close(self, model: Model) -> None:
        """Process 0 gets a whole model; the others keep their shards."""
        for module in model.modules():
            if isinstance(module, _library().FSDPModule):
                module.reshard()  # because an evaluation leaves weights gathered
        replacements: dict[int, tuple[Any, nn.Parameter]] = {}  # by identity: tied weights stay tied
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                sharded: Any = parameter
                if id(sharded) not in replacements:
                    value = whole(sharded)
                    replacements[id(sharded)] = (
                        sharded,
                        nn.Parameter(value if self.keeps else sharded.to_local().detach()),
                    )
                setattr(module, name, replacements[id(sharded)][1])


class _Scatter:
    """The reduce-scatter that torch calls: each process's slice of the gradients, summed in the order of the tree."""

    def __init__(self, size: int) -> None:
        self.tree = Tree(size)

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False
    ) -> None:
        into = torch.empty_like(input_tensor)
        dist.all_to_all_single(into, input_tensor, group=group)
        rows = into.view(group.size(), -1)
        summed = self.tree.take({(rank, rank + 1): rows[rank] for rank in range(len(rows))}, self.tree.root)
        assert summed is not None, "every process has sent a row"
        output_tensor.copy_(summed)


def _shard(model: Model, device: str) -> None:
    """Shard every block, then the rest of the model."""
    from torch.distributed.device_mesh import init_device_mesh

    mesh, library = init_device_mesh(torch.device(device).type, (world().size,)), _library()
    for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for block in stack:
            library.fully_shard(block, mesh=mesh)
    library.fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, library.FSDPModule):
            module.set_custom_reduce_scatter(_Scatter(world().size))
            module.set_gradient_divide_factor(1.0)  # a sum, not a mean
            module.set_force_sum_reduction_for_comms(True)


def _library() -> Any:
    """torch.distributed.fsdp. Errors: a torch that does not allow a custom reduce-scatter."""
    import torch.distributed.fsdp as library

    if not hasattr(getattr(library, "FSDPModule", None), "set_custom_reduce_scatter"):
        raise UserError(
            f"parallel fsdp needs a newer torch than {torch.__version__}", hint="pip install --upgrade torch"
        )
    return library


def _rows(rows: int, size: int, rank: int) -> int:
    """How many of a tensor's rows a process holds: the same number each, rounded up; the last have fewer or none."""
    each = -(-rows // size)
    return max(0, min(rows, (rank + 1) * each) - min(rows, rank * each))
