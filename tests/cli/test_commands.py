"""Every command: help, examples, the same words and defaults as its function, the frozen flags, the reference."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import nlpkit
from nlpkit import models, tasks
from nlpkit.cli import app, reference
from nlpkit.stages import ls as catalogue
from nlpkit.tasks.pooling import POOLINGS

GOLDEN = Path(__file__).parents[1] / "golden" / "flags.json"
DOCS = Path(__file__).parents[2] / "docs" / "commands.md"
# What a command has and its function has not: how results are shown.
SHOWN = {"json", "config", "debug", "help"}


@pytest.mark.parametrize("name", app.COMMANDS)
def test_help_has_two_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run([*name.split(), "--help"]) == 0
    assert "Usage: nlpkit" in capsys.readouterr().out
    lines = [line.strip() for line in app.load(name).help.partition("Examples:")[2].splitlines() if "nlpkit" in line]
    assert len(lines) >= 2, "two examples that can be run"
    for line in lines:
        calls = [part.split(" > ")[0] for part in line.split(" | ") if part.strip().startswith("nlpkit")]
        called = [shlex.split(part)[1:] for part in calls]
        assert any(words[: len(name.split())] == name.split() for words in called), line
        for words in called:  # an unknown flag or a wrong value is an error
            other = max((known for known in app.COMMANDS if " ".join(words).startswith(known)), key=len)
            app.load(other).make_context(other, words[len(other.split()) :])


@pytest.mark.parametrize("name", [name for name in app.COMMANDS if name in nlpkit.FUNCTIONS])
def test_a_command_is_its_function(name: str) -> None:
    module, attribute = nlpkit.FUNCTIONS[name].split(":")
    function = inspect.signature(getattr(import_module(module), attribute)).parameters
    command = inspect.signature(import_module(f"nlpkit.cli.{app.COMMANDS[name][0]}").command).parameters
    extra = set(command) - set(function) - SHOWN
    assert not extra - CLI_ONLY.get(name, set()), "options the function does not have"
    assert not set(function) - set(command) - {"json"} - LIBRARY_ONLY.get(name, set()), "and the other way"
    for parameter in set(function) & set(command):
        assert function[parameter].default == command[parameter].default, parameter


# How a command shows what its function yields; each is named here, so that none comes by accident.
CLI_ONLY: dict[str, set[str]] = {}
LIBRARY_ONLY: dict[str, set[str]] = {
    "plan": {"options"},  # of the command that is planned: on a command line they are its own words
    "generate": {"hear"},  # a terminal is shown each token; what the command prints is decided by where it prints
}


def flags() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in app.COMMANDS:
        found[name] = {
            option: str(param.default) if not callable(param.default) else ""
            for param in app.load(name).params
            if param.param_type_name == "option"
            for option in sorted([*param.opts, *param.secondary_opts])
            if option.startswith("--")
        }
    return found


def test_flags_are_frozen() -> None:
    """A flag that goes, comes or changes its default breaks scripts: this list changes with CHANGELOG.md only.

    Renew: ``python tests/cli/test_commands.py``."""
    assert flags() == json.loads(GOLDEN.read_text("utf-8"))


# Where a flag is of another kind than elsewhere, and why.
OTHERWISE = {
    "text": ("tokenizer compare",),  # the text itself; elsewhere a column of a file
    "tokenizer": ("import",),  # yes or no, for a directory holds its own; elsewhere a file
}


def test_the_same_flag_means_the_same_kind_of_thing() -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name in app.COMMANDS:
        for param in app.load(name).params:
            if param.param_type_name == "option" and name not in OTHERWISE.get(str(param.name), ()):
                kind = (param.type.name.removesuffix(" range"), str(param.is_flag))
                assert seen.setdefault(str(param.name), kind) == kind, f"{name} --{param.name}"


def test_every_yes_has_a_no() -> None:
    for name in app.COMMANDS:
        for param in app.load(name).params:
            if param.param_type_name == "option" and param.is_flag and param.name not in ("help", "debug"):
                assert param.secondary_opts, f"{name} --{param.name} cannot be switched off"


def test_help_says_what_happens_without_an_option() -> None:
    """Where the program shows no default of its own, the help text says what absence means."""
    for name in app.COMMANDS:
        for param in app.load(name).params:
            if param.param_type_name == "option" and not param.required and param.default in (None, ()):
                assert param.name == "config" or "default" in param.help, f"{name} --{param.name}"


def test_the_reference_is_the_program() -> None:
    """Renew: ``python -m nlpkit.cli.reference > docs/commands.md``."""
    assert DOCS.read_text("utf-8") == reference.render()


def test_the_whole_help_and_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name.split()[0] in text for name in app.COMMANDS)
    assert app.run(["--version"]) == 0
    assert capsys.readouterr().out == f"nlpkit {nlpkit.__version__}\n"


def test_shell_completion_knows_names() -> None:
    from nlpkit.cli import completion

    assert completion.models("b") == ["bert"]
    assert "tiny" in completion.sizes("t")
    assert completion.objectives("mlm+") and "mlm+nsp" in completion.objectives("mlm+")
    assert completion.tasks("cl") == ["classify"]
    assert set(completion.tokenizers("")) == {"bpe", "wordpiece", "unigram", "word", "char"}


def completed(words: str) -> list[str]:
    """What bash is offered for a command line that ends here."""
    environment = {
        **os.environ,
        "_NLPKIT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    found = subprocess.run(
        [sys.executable, "-c", "import sys; from nlpkit.cli.app import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stderr == ""
    return found.stdout.split()


def test_a_shell_is_offered_commands_flags_and_names() -> None:
    """Through the program itself, as a shell asks it."""
    assert completed("nlpkit ") == list(dict.fromkeys(name.split()[0] for name in app.COMMANDS))
    assert completed("nlpkit tokenizer ") == ["train", "encode", "decode", "compare"]
    assert sorted(completed("nlpkit generate m --top")) == ["--top-k", "--top-p"]
    for words, names in (
        ("nlpkit pretrain t --model ", models.FAMILIES),
        ("nlpkit finetune m d --task ", tasks.TASKS),
        ("nlpkit ls ", catalogue.LISTS),
        ("nlpkit embed m --pooling ", POOLINGS),
    ):
        assert completed(words) == list(names)


def test_completion_can_be_shown_and_installed(tmp_path: Path) -> None:
    def asked(flag: str) -> str:
        found = subprocess.run(
            [sys.executable, "-c", "import sys; from nlpkit.cli.app import main; main()", flag, "bash"],
            env={**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return found.stdout

    assert "complete -o default -F _nlpkit_completion nlpkit" in asked("--show-completion")
    asked("--install-completion")
    (script,) = (tmp_path / ".bash_completions").iterdir()
    assert "_NLPKIT_COMPLETE=complete_bash" in script.read_text() and str(script) in (tmp_path / ".bashrc").read_text()


def test_usage_lines_say_arguments_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    """NAME, [NAME] when it may be left out, NAME... when there may be several."""
    for name in app.COMMANDS:
        context = app.load(name).make_context(name, [], resilient_parsing=True)
        options, *arguments = context.command.collect_usage_pieces(context)
        params = [param for param in context.command.params if param.param_type_name == "argument"]
        assert options == "[OPTIONS]" and len(arguments) == len(params)
        for said, param in zip(arguments, params, strict=True):
            several = r"\.\.\." if param.nargs != 1 else ""
            assert re.fullmatch(rf"[A-Z]+{several}" if param.required else rf"\[[A-Z]+{several}\]", said), (
                f"{name} {said}"
            )
    assert app.run(["pretrain", "--help"]) == 0
    assert "nlpkit pretrain [OPTIONS] TOKENS..." in capsys.readouterr().out


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(flags(), indent=1, sort_keys=True) + "\n", "utf-8")
