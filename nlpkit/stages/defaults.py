"""What a training command does where no option is given: functions of the run, so that it learns with names alone.

A rule sees only `Facts`, which are the same for the same inputs; what it returns is printed, recorded as numbers in
the provenance, and overridden by any option. docs/defaults.md has the reason of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nlpkit.base import events
from nlpkit.training.options import PLAIN

if TYPE_CHECKING:  # with them come numpy and torch, which a listing does not need
    from nlpkit.artifact.provenance import Run
    from nlpkit.models.base import Config

Options = Mapping[str, Any]

SMALL = 2 * 128  # layers x width of the model on which the learning rates were measured
PASSES = 8_000_000  # tokens that a pre-training run reads, at least, if these are not more than MOST passes
MOST_PASSES = 40
UPDATES = 400  # that fine-tuning makes, at least, if these are not more than MOST_EPOCHS
EPOCHS, MOST_EPOCHS = 3, 20
MAX_LEN, LONG = 128, 512  # tokens of a sequence, where documents are shorter than MAX_LEN on average, and where longer
WORD2VEC = 10_000  # tokens of a text from which word vectors can be learnt, at least
SHORT = 0.9  # of the updates read LONG / 4 tokens (Devlin et al. 2019, appendix A.2: 128 for nine tenths, then 512)


@dataclass(frozen=True)
class Facts:
    """What the rules depend on; in the config of the result as ``training.facts``.

    layers, width: of the model that is trained. examples: sequences of an epoch. tokens: of all of them. pretrained:
    whether its weights come from a model that was trained. pooling: of the model's own (None: no classifier).
    documents: of a text to pre-train on. vectors: whether a file has the first embeddings.
    """

    layers: int
    width: int
    examples: int
    tokens: int
    pretrained: bool
    pooling: str | None = None
    documents: int | None = None
    vectors: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def facts_of(config: Config, **others: Any) -> Facts:
    """The facts of a run that trains a model of this config; ``others`` are those beside its size."""
    return Facts(layers=config.n_layers, width=config.d_model, **others)


def pretraining(facts: Facts) -> dict[str, Any]:
    """A small text is read several times; a large model takes smaller steps; a model of long documents has
    positions for them, which are trained at the end; a new model's embeddings begin as word vectors of the text."""
    tokens = max(1, facts.tokens)
    long = facts.documents is not None and facts.tokens > MAX_LEN * facts.documents
    sequences = {} if facts.pretrained else {"max_len": LONG, "short_fraction": SHORT} if long else {"max_len": MAX_LEN}
    begins = not facts.pretrained and not facts.vectors
    return {
        **sequences,
        "embeddings": ("word2vec" if tokens >= WORD2VEC else "random") if begins else None,
        "epochs": min(MOST_PASSES, max(1, round(PASSES / tokens))),
        "batch_tokens": 2048 if tokens < 2_000_000 else 4096,
        "lr": rate(1e-3, facts),
        "dropout": None if facts.pretrained else 0.0,  # else the model's own
    }


def finetuning(facts: Facts) -> dict[str, Any]:
    """Batches of 16 examples, and of 8 where these would be few updates; as many epochs as make enough of them."""
    examples = max(1, facts.examples)
    size = 8 if examples < 1000 else 16
    return {
        "batch_tokens": max(64, math.ceil(size * facts.tokens / examples)),
        "epochs": min(MOST_EPOCHS, max(EPOCHS, math.ceil(UPDATES * size / examples))),
        "lr": rate(1e-3, facts),
        "dropout": 0.1,
        "pooling": facts.pooling,
    }


def distilling(facts: Facts) -> dict[str, Any]:
    """A fine-tuned student as `finetuning`, and one of a language model as `pretraining`; a dropout of its own."""
    rule = finetuning if facts.pooling is not None else pretraining
    return {**rule(facts), "dropout": None}


RULES: dict[str, Callable[[Facts], dict[str, Any]]] = {
    "pretrain": pretraining,
    "finetune": finetuning,
    "distill": distilling,
}


def rate(small: float, facts: Facts) -> float:
    """The learning rate of a model of this depth and width: ``small`` for SMALL, in inverse proportion to layers times
    width above it (BERT-base: 2.8e-5 for 1e-3; Devlin et al. 2019 fine-tune with 2e-5 to 5e-5), with two digits."""
    value = small * min(1.0, SMALL / (facts.layers * facts.width))
    return float(f"{value:.1e}")


def choose(run: Run, facts: Facts, options: Options, recipe: Options | None = None) -> dict[str, Any]:
    """``options`` with each None replaced that has a default (`filled`); the run is settled with them, and what was
    chosen is said. Errors: those of `Run.settle`."""
    chosen = filled(run.command, facts, options, recipe or {})
    run.options |= {name: chosen[name] for name in run.options}
    run.settle()
    values = {name: chosen[name] for name in RULES[run.command](facts) if name in options and options[name] is None}
    said = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items() if value is not None)
    if said:
        events.note(f"chosen for this run: {said} (docs/defaults.md)")
    return chosen


def filled(command: str, facts: Facts, options: Options, recipe: Options) -> dict[str, Any]:
    """``options`` with each None replaced that a ``recipe``, a rule, or the table of training options has a value for;
    the number of epochs only where no number of steps is given."""
    values = {**PLAIN, **RULES[command](facts), **recipe}
    if options["steps"] is not None:
        del values["epochs"]
    if options.get("max_len") is not None and "short_fraction" not in recipe:
        values.pop("short_fraction", None)  # it belongs to the length that the rule chooses
    return {**options, **{name: value for name, value in values.items() if name in options and options[name] is None}}
