"""nlpkit: from raw text to a small, evaluated model; a run is a function from files to bytes.

Every command is a function of the same name with the same options: ``nlpkit.pretrain(...)`` is
``nlpkit pretrain``, ``nlpkit.tokenizer_train(...)`` is ``nlpkit tokenizer train``. Paths are text or `pathlib.Path`.
``nlpkit.load(path)`` opens a model. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from nlpkit._version import __version__

# Command -> the function behind it. `nlpkit verify` re-runs stages by this table.
FUNCTIONS: dict[str, str] = {
    "tokenizer train": "nlpkit.stages.tokenizer_train:train",
    "tokenizer encode": "nlpkit.stages.tokenizer_stream:encode",
    "tokenizer decode": "nlpkit.stages.tokenizer_stream:decode",
    "tokenizer compare": "nlpkit.stages.tokenizer_compare:compare",
    "tokens": "nlpkit.stages.tokens:tokens",
    "vectors train": "nlpkit.stages.vectors_train:train",
    "vectors cooccur": "nlpkit.stages.vectors_cooccur:cooccur",
    "vectors glove": "nlpkit.stages.vectors_glove:glove",
    "vectors nearest": "nlpkit.vectors.queries.query:nearest",
    "vectors analogy": "nlpkit.vectors.queries.query:analogy",
    "vectors evaluate": "nlpkit.vectors.queries.evaluate:evaluate",
    "vectors map": "nlpkit.vectors.queries.map:map_words",
    "pretrain": "nlpkit.stages.pretrain:pretrain",
    "finetune": "nlpkit.stages.finetune:finetune",
    "distill": "nlpkit.stages.distill:distill",
    "tune pretrain": "nlpkit.stages.tune:tune_pretrain",
    "tune finetune": "nlpkit.stages.tune:tune_finetune",
    "tune distill": "nlpkit.stages.tune:tune_distill",
    "plan": "nlpkit.stages.plan:plan",
    "evaluate": "nlpkit.stages.evaluate:evaluate",
    "predict": "nlpkit.stages.predict:predict",
    "generate": "nlpkit.stages.generate:generate",
    "embed": "nlpkit.stages.embed:embed",
    "export": "nlpkit.exchange.export:export",
    "import": "nlpkit.exchange.export:import_",
    "info": "nlpkit.stages.info:info",
    "lineage": "nlpkit.stages.info:lineage",
    "diff": "nlpkit.artifact.diff:diff",
    "verify": "nlpkit.stages.verify:verify",
    "report": "nlpkit.stages.report:report",
    "ls": "nlpkit.stages.ls:ls",
    "demo": "nlpkit.stages.demo:demo",
}
# The commands that write an artefact or a directory from which one is made: what `nlpkit verify` may run again.
MAKES = frozenset(
    {
        "tokenizer train",
        "tokens",
        "vectors train",
        "vectors cooccur",
        "vectors glove",
        "pretrain",
        "finetune",
        "distill",
        "tune pretrain",
        "tune finetune",
        "tune distill",
        "embed",
        "export",
        "import",
    }
)
_NAMES = {command.replace(" ", "_"): target for command, target in FUNCTIONS.items()}
_NAMES |= {"import_": FUNCTIONS["import"], "load": "nlpkit.stages.model:load"}
del _NAMES["import"]

__all__ = ["__version__", *sorted(set(_NAMES) - {"tokens"}), "tokens"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'nlpkit' has no attribute {name!r}")
    return _function(_NAMES[name])


@cache
def _function(target: str) -> Any:
    from nlpkit.base.paths import takes_text_as_path

    module, attribute = target.split(":")
    return takes_text_as_path(getattr(import_module(module), attribute))


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
