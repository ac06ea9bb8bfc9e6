"""The stages of the demonstration, as a user would type them.

Each stage is one command, with the options that ``recipe.toml`` has for it, which is written beside the results, so
that any of them can be run again by hand, changed, or verified.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import nlpkit
from nlpkit.base.config import command_options
from nlpkit.base.errors import UserError

RECIPE = "recipe.toml"


@dataclass(frozen=True)
class Stage:
    """One command: its inputs (by argument), its output, and its purpose."""

    command: str
    why: str
    output: str
    positional: tuple[str, ...] = ()
    named: dict[str, str] = field(default_factory=dict)

    def line(self, folder: Path) -> str:
        """The command line, to be typed in the demonstration's folder."""
        words = ["nlpkit", self.command, *self.positional, "-o", self.output]
        for name, value in self.named.items():
            words += [f"--{name}", value]
        return " ".join([*words, *configured(folder, self.command)])

    def run(self, folder: Path, threads: int | None) -> dict[str, Any]:
        """Call the function behind the command, with the recipe's options. It keeps a result that the same call wrote;
        any other is replaced."""
        inputs = [folder / name for name in self.positional]
        arguments: dict[str, Any] = {
            "output": folder / self.output,
            "threads": threads,
            **options(folder, self.command),
        }
        arguments |= {name: folder / value for name, value in self.named.items()}
        function = function_of(self.command)
        try:
            result: dict[str, Any] = function(*inputs, **arguments)
        except UserError:
            if not arguments["output"].exists():
                raise
            result = function(*inputs, **arguments, force=True)
        return result


def function_of(command: str) -> Any:
    """The function behind a command."""
    return getattr(nlpkit, command.replace(" ", "_"))


def options(folder: Path, command: str) -> dict[str, Any]:
    """The options that the folder's recipe sets for a command. Errors: one that the command does not have."""
    known = list(inspect.signature(function_of(command)).parameters)
    return command_options(folder / RECIPE, command, known, nlpkit.FUNCTIONS)


def configured(folder: Path, command: str) -> list[str]:
    """The words of a command line that read the recipe, where it has something for the command."""
    return ["--config", RECIPE] if options(folder, command) else []


STAGES: tuple[Stage, ...] = (
    Stage("tokenizer train", "cut words into pieces", "tokenizer.safetensors", ("corpus.txt",)),
    Stage("tokens", "text to numbers", "tokens.safetensors", ("corpus.txt",), {"tokenizer": "tokenizer.safetensors"}),
    Stage("vectors train", "one vector a word", "vectors.safetensors", ("corpus.txt",)),
    Stage("pretrain", "learn the language", "bert.safetensors", ("tokens.safetensors",), {"log": "bert.log.jsonl"}),
    Stage(
        "finetune",
        "learn the task",
        "teacher.safetensors",
        ("bert.safetensors", "train.jsonl"),
        {"log": "teacher.log.jsonl"},
    ),
    Stage(
        "distill",
        "teach a smaller model",
        "student.safetensors",
        ("teacher.safetensors", "train.jsonl"),
        {"log": "student.log.jsonl"},
    ),
)


def recipe() -> bytes:
    """The packaged recipe, as it is written into the demonstration's folder."""
    return files("nlpkit").joinpath("demo/recipe.toml").read_bytes()
