"""What every brick says of itself: by which module its forward is computed in inference.

A brick whose numbers a kernel makes returns another module; all others return themselves, their parts replaced by what
those say. A module of a family that is no brick is only looked through. So nothing has to be recognised from outside,
and a subclass that computes something else (heads that are rotated, a product with an adapter) runs its own forward
unless it says more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, ClassVar

from torch import Tensor, nn

# Makes the module that computes x weight^T + bias, from weights [E, D] and a bias [E] or None.
MakeProduct = Callable[[Tensor, Tensor | None], nn.Module]


class Brick(nn.Module):
    """``seams``: methods that `answering` asks itself, so that a subclass may override them and still be replaced."""

    seams: ClassVar[frozenset[str]] = frozenset()

    def answering(self, product: MakeProduct) -> nn.Module:
        """What computes this brick in inference. Called for objects whose class overrides nothing else (`altered`)."""
        replace_parts(self, product)
        return self


def replace_parts(module: nn.Module, product: MakeProduct) -> None:
    """Replace what ``module`` is made of, in place, by what computes it in inference."""
    for name, part in list(module._modules.items()):
        if part is not None:
            module._modules[name] = for_inference(part, product)


def for_inference(part: nn.Module, product: MakeProduct) -> nn.Module:
    """What computes ``part`` in inference: what it says itself, or ``part``, left alone, where a subclass or a hook
    changes what the class that says it computes."""
    if isinstance(part, Brick):
        kind: Any = next(kind for kind in type(part).__mro__ if "answering" in vars(kind))
        return part if kind is not Brick and altered(part, kind) else part.answering(product)
    replace_parts(part, product)
    return part


def altered(part: nn.Module, kind: Any) -> bool:
    """Whether ``part`` may compute something else than ``kind`` says: its class or the object itself overrides a
    method, seams apart, or a hook is called with it."""
    own: Any = type(part)
    if part._forward_hooks or part._forward_pre_hooks or _overridden(own, kind):
        return True
    return not _methods(kind).isdisjoint(vars(part))


@cache
def _overridden(own: Any, kind: Any) -> bool:
    return own is not kind and any(getattr(own, name) is not getattr(kind, name) for name in _methods(kind))


@cache
def _methods(kind: Any) -> frozenset[str]:
    """Methods and properties of a class that say what it computes."""
    names = {name for name, value in vars(kind).items() if isinstance(value, (FunctionType, property))}
    return frozenset(name for name in names if not name.startswith("__")) - {"answering", *kind.seams}
