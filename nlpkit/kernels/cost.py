"""Floating-point operations, counted by the matrix products themselves when they are called.

A product of M x D by D x E is 2 M D E operations, attention two such products in its forward and four in its backward
(scores that the backward recomputes are not work of the model). So no family, objective or technique needs a formula.
What checkpointing recomputes counts; what is not computed does not.
"""

from __future__ import annotations

import torch
from torch import Tensor

_counted = 0


def count(operations: int) -> None:
    """Add operations that are computed now. Compiled code counts nothing, since it would be compiled again for every
    value of the counter; `nlpkit.training.compiling` counts for it."""
    global _counted
    if torch.compiler.is_compiling():
        return
    _counted += operations


def with_backward(operations: int, *factors: Tensor) -> None:
    """Add a product that autograd differentiates: as much again for each factor that needs a gradient."""
    count(operations * (1 + sum(x.requires_grad for x in factors) * torch.is_grad_enabled()))


def counted() -> int:
    """All operations of this process so far; the difference of two calls is what was computed between them."""
    return _counted
