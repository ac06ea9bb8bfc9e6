"""The base class of all layers: a brick names the module that computes its forward in inference.

A brick that a kernel computes returns another module; all others return themselves, with their parts replaced by the
inference modules of those. Modules that are no bricks stay, and only their parts are replaced. So no code has to
recognise a layer from outside, and a subclass that computes something else (rotary heads, a product with an adapter)
runs its own forward unless it overrides `Brick.inference` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, ClassVar

from torch import Tensor, nn

# Builds the module that computes x weight^T + bias, from weights [E, D] and a bias [E] or None.
MakeProduct = Callable[[Tensor, Tensor | None], nn.Module]


class Brick(nn.Module):
    """``seams``: methods that `inference` calls, so that a subclass may override them and still be replaced."""

    seams: ClassVar[frozenset[str]] = frozenset()

    def inference(self, product: MakeProduct) -> nn.Module:
        """The module that computes this brick in inference. Not called for a subclass that overrides anything else
        (`altered`)."""
        replace_parts(self, product)
        return self


def replace_parts(module: nn.Module, product: MakeProduct) -> None:
    """Replace the parts of ``module``, in place, by their inference modules."""
    for name, part in list(module._modules.items()):
        if part is not None:
            module._modules[name] = for_inference(part, product)


def for_inference(part: nn.Module, product: MakeProduct) -> nn.Module:
    """The module that computes ``part`` in inference: the one that it returns, or ``part`` unchanged where a subclass
    or a hook alters the computation of the class that defines `Brick.inference`."""
    if isinstance(part, Brick):
        kind: Any = next(kind for kind in type(part).__mro__ if "inference" in vars(kind))
        return part if kind is not Brick and altered(part, kind) else part.inference(product)
    replace_parts(part, product)
    return part


def altered(part: nn.Module, kind: Any) -> bool:
    """Whether ``part`` may compute something else than ``kind`` does: its class or the object itself overrides a method
    (other than seams), or it has a hook."""
    actual: Any = type(part)
    if part._forward_hooks or part._forward_pre_hooks or _overridden(actual, kind):
        return True
    return not _methods(kind).isdisjoint(vars(part))


@cache
def _overridden(actual: Any, kind: Any) -> bool:
    return actual is not kind and any(getattr(actual, name) is not getattr(kind, name) for name in _methods(kind))


@cache
def _methods(kind: Any) -> frozenset[str]:
    """Methods and properties of a class that define its computation."""
    names = {name for name, value in vars(kind).items() if isinstance(value, (FunctionType, property))}
    return frozenset(name for name in names if not name.startswith("__")) - {"inference", *kind.seams}
