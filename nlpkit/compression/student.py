"""The student before training: the teacher's shape with fewer layers, and every n-th layer's weights.

Sanh et al. 2019, section 2 ("Student initialization"): "taking one layer out of two". Which ones is in their code:
0, 2, 4, 7, 9 and 11 of 12, evenly spaced, first and last included, which is what `spaced` returns for any two depths.
Deviation: the student is a whole model of its teacher's family, so a BERT keeps its segment embedding and its pooler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nlpkit.base import events
from nlpkit.base.errors import UserError, choose, refuse
from nlpkit.base.seeds import Address
from nlpkit.compression.objectives import WIDEN
from nlpkit.exchange.opening import load
from nlpkit.layers.block import stacks
from nlpkit.layers.linear import Linear
from nlpkit.models.base import Config, Model
from nlpkit.models.load import Loaded, add_classifier, with_dropout
from nlpkit.models.sizes import SIZES
from nlpkit.tasks.pooling import check_pooler

_BLOCK = re.compile(r"^(.*\blayers\.)(\d+)(\..*)$")


def spaced(n_teacher: int, n_student: int) -> list[int]:
    """The teacher's layers a student begins with: evenly spaced, first and last among them; the first if only one."""
    if n_student == 1:
        return [0]
    return [round(number * (n_teacher - 1) / (n_student - 1)) for number in range(n_student)]


def blocks(teacher: Model, student: Model, layers: list[int]) -> list[int]:
    """The teacher's block that each of the student's begins with, where layer i begins with the teacher's layers[i]:
    of a block that computes several layers its lowest counts."""
    theirs, ours = stacks(teacher), stacks(student)
    if len(theirs) != 1 or len(ours) != 1:
        return layers
    return [theirs[0].order[layers[ours[0].order.index(number)]] for number in range(len(ours[0].layers))]


def initial(teacher: Mapping[str, Tensor], student: Mapping[str, Tensor], layers: list[int]) -> dict[str, Tensor]:
    """The student's tensors, taken from the teacher by canonical name; block i from the teacher's block layers[i].

    Errors: ValueError when a tensor of the student has no counterpart of its shape (the caller has compared widths).
    """
    tensors: dict[str, Tensor] = {}
    for name, value in student.items():
        block = _BLOCK.match(name)
        source = f"{block[1]}{layers[int(block[2])]}{block[3]}" if block else name
        if source not in teacher or teacher[source].shape != value.shape:
            raise ValueError(f"the teacher has nothing for {name}")
        tensors[name] = teacher[source].detach().clone()
    return tensors


def make_student(loaded: Loaded, heads: tuple[str, ...], options: Mapping[str, Any], init: Path | None) -> Model:
    """The student of a teacher: its shape from ``size``, ``n_layers`` or ``init``, its weights as the module says.

    For the cosine loss, a student of another width gets a layer that projects its hidden states to the teacher's width
    (``heads.distill``).
    Errors: more layers than the teacher has, sizes that contradict, a model to begin with that does not fit.
    """
    torch.manual_seed(Address(options["seed"], ("init",)).torch_seed())
    teacher, task = loaded.model, loaded.config.get("task")
    if init is not None:
        network = _continued(loaded, heads, init, options)
    else:
        network = loaded.family.build(student_config(teacher.config, options), heads)
    for name in [name for name in network.heads if name not in heads]:
        del network.heads[name]
    if task and "classify" not in network.heads:
        add_classifier(network, len(task["labels"]))
    config = network.config
    if init is None and config.d_model == teacher.config.d_model:
        layers = spaced(teacher.config.n_layers, config.n_layers)
        network.load_state_dict(initial(teacher.state_dict(), network.state_dict(), blocks(teacher, network, layers)))
        events.note(f"the student begins with the teacher's layers {', '.join(map(str, layers))}")
    elif init is None:
        events.note(f"the student is {config.d_model} wide, the teacher {teacher.config.d_model}: it begins at random")
    if config.d_model != teacher.config.d_model and options["weight_cos"]:
        network.heads[WIDEN] = Linear(config.d_model, teacher.config.d_model)
    return network


def student_config(teacher: Config, options: Mapping[str, Any]) -> Config:
    """The teacher's config with fewer layers, or the layers and width of a size. A size of the teacher's own width
    keeps its heads and its feed-forward too, so that the student can begin with its layers."""
    size, n_layers = options["size"], options["n_layers"]
    if size is None:
        layers = max(1, teacher.n_layers // 2) if n_layers is None else n_layers
        config = replace(teacher, n_layers=layers)
    else:
        shape = choose(SIZES, size, field="size")
        layers = shape.n_layers if n_layers is None else n_layers
        config = replace(teacher, n_layers=layers)
        if shape.d_model != teacher.d_model:
            config = replace(config, d_model=shape.d_model, n_heads=shape.n_heads, d_ff=shape.d_ff)
    if not 1 <= layers <= teacher.n_layers:
        raise UserError(f"n-layers is {layers}, expected 1 to {teacher.n_layers}, which the teacher has")
    return config if options["dropout"] is None else replace(config, dropout=options["dropout"])


def _continued(loaded: Loaded, heads: tuple[str, ...], init: Path, options: Mapping[str, Any]) -> Model:
    """The model to begin with, whatever its shape. Errors: a shape option besides, another family or tokenizer, too
    few positions, no head for what the teacher predicts; its classifier stays when it knows the same labels."""
    refuse({name: options[name] for name in ("size", "n_layers")}, "--init has a shape of its own")
    initial = load(init)
    if initial.family.name != loaded.family.name:
        raise UserError(
            f"is a {initial.family.name} model, the teacher {loaded.family.name}",
            where=init,
            hint="a student is of its teacher's family",
        )
    if initial.need_tokenizer().fingerprint != loaded.need_tokenizer().fingerprint:
        raise UserError(
            "its tokenizer is not the teacher's; their predictions cannot be compared",
            where=init,
            hint="begin with a model that was pre-trained with the teacher's tokenizer",
        )
    most = initial.model.config.max_len
    if most < options["max_len"]:
        raise UserError(
            f"reads at most {most} tokens, and the sequences have up to {options['max_len']}",
            where=init,
            hint=f"--max-len {most}",
        )
    network = initial.model if options["dropout"] is None else with_dropout(initial, options["dropout"])
    if task := loaded.config.get("task"):
        check_pooler(network, str(task.get("pooling")), where=init, hint="the teacher's classifier reads a pooler")
    labels = [(item.config.get("task") or {}).get("labels") for item in (initial, loaded)]
    if "classify" in network.heads and labels[0] != labels[1]:
        del network.heads["classify"]
    for head in heads:
        if head != "classify" and head not in network.heads:
            raise UserError(
                f'has no head "{head}", which the teacher teaches',
                where=init,
                hint=f"its heads: {', '.join(network.heads) or 'none'}",
            )
    return network
