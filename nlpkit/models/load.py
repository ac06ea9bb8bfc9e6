"""A loaded model, and the conversion between models and configs with tensors (`nlpkit.exchange.opening` reads them)."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nlpkit.base.errors import RunError, UserError, choose
from nlpkit.layers.heads import ClassificationHead
from nlpkit.machine import heap
from nlpkit.models import family as family_of
from nlpkit.models.base import Config, Family, Model
from nlpkit.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Loaded:
    """A model from a file: the torch module in eval mode, its tokenizer (None when the file has none), its family, and
    the file's whole config (``task`` describes a fine-tuned head)."""

    model: Model
    tokenizer: Tokenizer | None
    family: Family
    config: dict[str, Any]
    path: Path
    _inference: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def for_inference(self, *, int8: bool, device: str) -> Loaded:
        """A copy for inference (`to_inference`); this model stays as it is. The copy is cached, and built anew when the
        model has changed: its modules, their classes, hooks and attributes (`_parts`), or the values of its weights,
        which are compared because torch counts no version when they change through ``.data``."""
        weights = [*self.model.parameters(), *self.model.buffers()]
        parts = [part for module in self.model.modules() for part in _parts(module)]
        cached = self._inference
        if not (
            cached.get("options") == (int8, device)
            and len(parts) == len(cached["parts"])
            and all(map(operator.is_, parts, cached["parts"]))
            and all(map(_equal, weights, cached["weights"]))
        ):
            copied = replace(self, model=copy.deepcopy(self.model).eval(), _inference={})
            cached.clear()
            cached.update(
                options=(int8, device),
                parts=parts,
                weights=[tensor.detach().clone() for tensor in weights],
                copy=to_inference(copied, int8=int8, device=device),
            )
        copied_model: Loaded = cached["copy"]
        return copied_model

    def need_tokenizer(self) -> Tokenizer:
        """The tokenizer. Errors: a model without one."""
        if self.tokenizer is None:
            raise UserError("holds no tokenizer", where=self.path, hint="import it from a directory that has one")
        return self.tokenizer

    def length(self, max_len: int | None) -> int:
        """Longest sequence in tokens: ``max_len``, or the model's. Errors: more than the model's, less than 4."""
        most = int(self.model.config.max_len)
        if max_len is not None and not 4 <= max_len <= most:
            raise UserError(
                f"max-len is {max_len}, expected 4 to {most}, the model's max_len",
                where=self.path,
                hint="longer sequences need a model that was pre-trained with a larger --max-len",
            )
        return max_len or most


def _parts(module: nn.Module) -> Iterator[object]:
    """What decides a module's computation, beside the values of its weights: itself, its class, and its attributes, of
    which dicts and lists (hooks, parameters, parts) are looked into. Compared by identity."""
    yield module
    yield type(module)
    for name, value in vars(module).items():
        if name == "training":
            continue  # inference is in eval mode
        yield name
        if isinstance(value, dict):
            yield from value
            yield from value.values()
        elif isinstance(value, (list, tuple)):
            yield from value
        else:
            yield value


def _equal(tensor: Tensor, other: Tensor) -> bool:
    return tensor.dtype == other.dtype and tensor.device == other.device and torch.equal(tensor, other)


def to_inference(loaded: Loaded, *, int8: bool, device: str) -> Loaded:
    """Convert a model in place for inference: on a CPU by compiled kernels (nlpkit/layers/inference.py), with int8
    products if ``int8`` (nlpkit/layers/int8.py). Errors: ``int8`` on another device."""
    if device == "cpu":
        from nlpkit.layers import inference
        from nlpkit.layers import int8 as eight

        inference.prepare(loaded.model, eight.Product if int8 else inference.Product)
        heap.give_back(False)  # the next batch reuses the memory of the last
    elif int8:
        raise UserError(
            f"int8 products are for a CPU, and device is {device}",
            where=loaded.path,
            hint="leave out --int8 or --device",
        )
    return loaded


def restore(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], *, where: Path) -> tuple[Model, Family]:
    """A model with the config and the tensors of a file. Errors: the first of either that does not fit."""
    with torch.device("meta"), Uninitialised():  # shapes without memory, because the weights are overwritten anyway
        network, family = build(config, where=where)
    load_tensors(network, tensors, where=where)
    return network, family


class Uninitialised(TorchFunctionMode):
    """Weights stay as they are when they are initialised: for normal numbers of weights without memory torch would
    import its compiler, which takes more than a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.normal_ or getattr(func, "__module__", "") == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build(config: Mapping[str, Any], *, where: Path | None = None) -> tuple[Model, Family]:
    """A model from the config of a file, weights initialised anew; its task's head too."""
    family = family_of(str(config.get("family")))
    known = {item.name for item in fields(family.config)}
    try:
        shape: Config = family.config(**{name: value for name, value in config.items() if name in known})
        heads = tuple(config.get("heads", ()))
        for head in heads:
            choose(dict.fromkeys(family.heads), head, field=f"head of {family.name}")
        network = family.build(shape, heads)
        if task := config.get("task"):
            add_classifier(network, len(task["labels"]), bias=bool(task.get("bias", True)))
    except (TypeError, KeyError) as error:
        raise UserError(f"its config does not describe a {family.name} model: {error}", where=where) from None
    except UserError as error:
        raise UserError(error.what, where=where, hint=error.hint) from None
    return network, family


def add_classifier(network: Model, n_labels: int, *, bias: bool = True) -> None:
    """Put a fresh classification head on a model (``heads.classify``); it has a bias if the family's heads have one."""
    config = network.config
    bias = bias and network.classifier_bias
    head = ClassificationHead(config.d_model, n_labels, dropout=config.dropout, bias=bias)
    network.heads["classify"] = head.train(network.training)


def with_dropout(loaded: Loaded, dropout: float) -> Model:
    """The same model with another dropout."""
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, expected 0 to less than 1", hint="0.1 is usual")
    network, _ = build({**loaded.config, "dropout": dropout}, where=loaded.path)
    network.load_state_dict(loaded.model.state_dict())
    return network


def load_tensors(network: Model, tensors: Mapping[str, np.ndarray], *, where: Path | None = None) -> None:
    """Copy arrays into a model by name. Errors: the first name that is missing, unknown or of another shape; RunError
    for one with NaN or infinity."""
    state = own_tensors(network)
    for name in sorted({*state, *tensors}):
        if name not in tensors:
            raise UserError(f'has no tensor "{name}", which its config requires', where=where)
        if name not in state:
            raise UserError(f'has a tensor "{name}" that its config does not have', where=where)
        if tuple(state[name].shape) != tensors[name].shape:
            expected = list(state[name].shape)
            raise UserError(f'tensor "{name}" is {list(tensors[name].shape)}, expected {expected}', where=where)
    # In C order: a transposed weight would be transposed for every product, and its sums have another order.
    values: dict[int, Tensor] = {}
    for name, value in tensors.items():
        tensor = torch.from_numpy(np.array(value, np.float32, order="C"))
        if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():  # a sum alone may overflow
            raise RunError(
                f'its weights are not numbers: tensor "{name}"',
                where=where,
                hint="its training diverged, or the file is damaged",
            )
        is_parameter = isinstance(state[name], nn.Parameter)
        values[id(state[name])] = nn.Parameter(tensor) if is_parameter else tensor
    # By identity, so that modules that shared a tensor share it again.
    names = network.state_dict(keep_vars=True)
    network.load_state_dict({name: values[id(value)] for name, value in names.items()}, assign=True)


def own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """A model's parameters and buffers by canonical name; a tensor that several modules share has only its first name,
    in files and in the state of an unfinished run."""
    tensors: dict[int, tuple[str, Tensor]] = {}
    for name, value in network.state_dict(keep_vars=True).items():
        tensors.setdefault(id(value), (name, value))
    return dict(tensors.values())


def state_tensors(network: Model) -> dict[str, np.ndarray]:
    """A model's tensors by canonical name, for a file."""
    return {name: value.detach().cpu().numpy() for name, value in own_tensors(network).items()}


def model_config(network: Model, family: Family, *, task: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A model's config in a file: family, heads, shape, and the task of a fine-tuned model."""
    heads = [name for name in network.heads if name != "classify"]
    config = {"family": family.name, "heads": heads, **network.config.to_json()}
    return config if task is None else {**config, "task": dict(task)}
