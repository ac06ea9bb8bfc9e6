"""Optimizers, by name. Each is a file of this folder and a line of the table below; it is imported when it is used
(and torch with it).

The loop calls `make`; an estimate of memory calls `state_bytes`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nlpkit.base.errors import choose

if TYPE_CHECKING:
    from torch import nn

    from nlpkit.training.optimizers.base import Optimizer
    from nlpkit.training.options import Training
    from nlpkit.training.parallel.gradients import Parameters

OPTIMIZERS = {  # name -> the class in its module
    "adamw": "nlpkit.training.optimizers.adamw:AdamW",
    "adafactor": "nlpkit.training.optimizers.adafactor:Adafactor",
    "muon": "nlpkit.training.optimizers.muon:Muon",
}


def kind(name: str) -> Any:
    """An optimizer's class. Errors: an unknown name."""
    module, class_name = choose(OPTIMIZERS, name, field="optimizer").split(":")
    return getattr(import_module(module), class_name)


def make(model: nn.Module, parameters: Parameters, settings: Training) -> Optimizer:
    """The optimizer that ``settings`` name, for ``parameters`` of ``model``."""
    optimizer: Optimizer = kind(settings.optimizer)(parameters, settings, matrices(model))
    return optimizer


def resolved(settings: Training) -> dict[str, Any]:
    """The options that the optimizer reads, with its defaults where an option is None."""
    chosen = kind(settings.optimizer)
    options = {name: getattr(settings, name) for name in chosen.options}
    return {name: chosen.defaults.get(name) if value is None else value for name, value in options.items()}


def state_bytes(model: nn.Module, settings: Training) -> int:
    """Bytes of the optimizer's state beside weights and gradients, in one process with the whole model. Nothing is
    allocated, so the model may be on the meta device."""
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return make(model, trained, settings).bytes()


def matrices(model: nn.Module) -> frozenset[str]:
    """Names of the weights of linear layers inside of the blocks: no embeddings, no heads."""
    from torch.nn import Linear

    return frozenset(
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Linear) and ".layers." in name
    )
