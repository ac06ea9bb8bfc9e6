"""The stages of the demonstration, as a person would type them.

Each stage is one command with the options of ``recipe.toml``, which is written beside the results, so that any of them
can be run again by hand, changed, or verified.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.config import command_options

RECIPE = "recipe.toml"


@dataclass(frozen=True)
class Stage:
    """One command: what it reads (by argument), what it writes, and why it is there."""

    command: str
    why: str
    output: str
    positional: tuple[str, ...] = ()
    named: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """The command line, to be typed in the demonstration's folder."""
        words = ["nlpkit", self.command, *self.positional, "-o", self.output]
        for name, value in self.named.items():
            words += [f"--{name}", value]
        return " ".join([*words, "--config", RECIPE])

    def run(self, folder: Path, threads: int | None) -> dict[str, Any]:
        """Call the function behind the command, with the recipe's options."""
        options = command_options(folder / RECIPE, self.command, _AnyKey(), nlpkit.FUNCTIONS)
        arguments = [folder / name for name in self.positional]
        listed: list[Any] = [arguments] if self.command in _READS_MANY else list(arguments)
        inputs = {name: folder / value for name, value in self.named.items()}
        function = getattr(nlpkit, self.command.replace(" ", "_"))
        result: dict[str, Any] = function(*listed, output=folder / self.output, **inputs, **options, threads=threads)
        return result


class _AnyKey(frozenset[str]):
    """The recipe is ours and a test runs all of it; the functions themselves refuse what they do not know."""

    def __contains__(self, key: object) -> bool:
        return True


_READS_MANY = frozenset({"tokenizer train", "tokens", "vectors train", "pretrain"})

STAGES: tuple[Stage, ...] = (
    Stage("tokenizer train", "cut words into pieces", "tokenizer.safetensors", ("corpus.txt",)),
    Stage("tokens", "text to numbers", "tokens.safetensors", ("corpus.txt",), {"tokenizer": "tokenizer.safetensors"}),
    Stage("vectors train", "one vector a word", "vectors.safetensors", ("corpus.txt",)),
    Stage("pretrain", "learn the language", "bert.safetensors", ("tokens.safetensors",)),
    Stage("finetune", "learn the task", "teacher.safetensors", ("bert.safetensors", "train.jsonl"),
          {"dev": "dev.jsonl"}),
    Stage("distill", "teach a smaller model", "student.safetensors", ("teacher.safetensors", "train.jsonl"),
          {"dev": "dev.jsonl"}),
)  # fmt: skip


def recipe() -> bytes:
    """The packaged recipe, as it is written into the demonstration's folder."""
    return files("nlpkit").joinpath("demo/recipe.toml").read_bytes()
