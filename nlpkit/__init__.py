"""nlpkit: from raw text to a small, evaluated model; a run is a function from files to bytes.

Every command is a function of the same name with the same options: ``nlpkit.pretrain(...)`` is
``nlpkit pretrain``, ``nlpkit.tokenizer_train(...)`` is ``nlpkit tokenizer train``. ``nlpkit.load(path)`` opens a model.
Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from nlpkit._version import __version__

# Command -> the function behind it. `nlpkit verify` re-runs stages by this table.
FUNCTIONS: dict[str, str] = {
    "tokenizer train": "nlpkit.tokenizers.train:train",
    "tokenizer encode": "nlpkit.tokenizers.stream:encode",
    "tokenizer decode": "nlpkit.tokenizers.stream:decode",
    "tokenizer compare": "nlpkit.tokenizers.compare:compare",
    "tokens": "nlpkit.data.tokens:tokens",
    "vectors train": "nlpkit.vectors.train:train",
    "vectors cooccur": "nlpkit.vectors.cooccurrence:cooccur",
    "vectors glove": "nlpkit.vectors.glove:glove",
    "vectors nearest": "nlpkit.vectors.query:nearest",
    "vectors analogy": "nlpkit.vectors.query:analogy",
    "vectors evaluate": "nlpkit.vectors.evaluate:evaluate",
    "vectors map": "nlpkit.vectors.map:map_words",
    "pretrain": "nlpkit.training.pretrain:pretrain",
    "finetune": "nlpkit.training.finetune:finetune",
    "distill": "nlpkit.compression.distill:distill",
    "plan": "nlpkit.training.plan:plan",
    "evaluate": "nlpkit.evaluation.evaluate:evaluate",
    "predict": "nlpkit.tasks.predict:predict",
    "generate": "nlpkit.decoding.generate:generate",
    "embed": "nlpkit.evaluation.embed:embed",
    "export": "nlpkit.artifact.export:export",
    "import": "nlpkit.artifact.export:import_",
    "info": "nlpkit.artifact.inspect:info",
    "lineage": "nlpkit.artifact.inspect:lineage",
    "diff": "nlpkit.artifact.diff:diff",
    "verify": "nlpkit.artifact.verify:verify",
    "report": "nlpkit.reporting.report:report",
    "ls": "nlpkit.catalogue:ls",
    "demo": "nlpkit.showcase.run:demo",
}
_NAMES = {command.replace(" ", "_"): target for command, target in FUNCTIONS.items()}
_NAMES |= {"import_": FUNCTIONS["import"], "load": "nlpkit.models.load:load"}
del _NAMES["import"]

__all__ = ["__version__", *sorted(set(_NAMES) - {"tokens"}), "tokens"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'nlpkit' has no attribute {name!r}")
    module, attribute = _NAMES[name].split(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
