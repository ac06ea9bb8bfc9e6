"""The command reference (docs/commands.md), written by the program itself: ``python -m nlpkit.cli.reference``."""

from __future__ import annotations

import re
from typing import Any

from nlpkit.cli.app import load
from nlpkit.cli.commands import COMMANDS

HEAD = """# Commands

Written by `python -m nlpkit.cli.reference`; a test holds it equal to the program.

Every command also takes `--config FILE.toml` (its options by name, at the top or in a table named after the command),
`--debug` (show the traceback of an error), `--help`, `--json` and `-n`. Every option can be set by the environment:
`NLPKIT_BATCH_TOKENS=8192`. A flag comes before the environment, that before the file, that before the default; a
name that is not known is an error.

`nlpkit --portable COMMAND`, or `NLPKIT_PORTABLE=1`, gives the same bytes on any x86-64 CPU with AVX2
([reproducibility.md](reproducibility.md#portable-mode)).

`--json` prints one object; commands that answer text by text (`predict`, `embed`, `generate`, `tokenizer encode`,
`tokenizer decode`) print one a line, `predict` and `embed` in any case. `-n` touches nothing: of a command that makes a
file in a run of its own (`tokenizer train`, `tokens`, `vectors train`, `vectors cooccur`, `vectors glove`, `pretrain`,
`finetune`, `distill`, `tune`) it says what the run would cost, every option resolved; of any other it prints the
options and looks whether the inputs are there.

Data goes to stdout, words for people to stderr. `-` is stdin. Exit codes: 0 done; 1 the run failed; 2 wrong usage,
configuration or input; 3 a check failed (`verify`, `diff`, `evaluate --min`); 130 interrupted (the same command goes
on). A reader that closes the pipe ends a command quietly.

A command whose result is there already, made by this command from these inputs and options, exits with 0 and makes
nothing: `--json` says `"already_made": true`, and the file gets the time of now. If anything differs, it exits with 2
and lists what. `--force` makes it again. Two runs of one target exclude each other; no path that is read is written.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(section(name) for name in COMMANDS)])


def section(name: str) -> str:
    """The section of one command: its description, arguments and options with defaults, examples."""
    command = load(name)
    text, _, examples = (command.help or "").partition("Examples:")
    lines = [f"## nlpkit {name}", "", " ".join(text.split()), ""]
    params = [param for param in command.params if param.name not in ("config", "debug", "help")]
    inner = name.removeprefix("tune ")
    if inner != name:
        known = {param.name for param in load(inner).params if param.name != "dev"}
        params = [param for param in params if param.name not in known]
        anchor = inner.replace(" ", "-")
        lines += [
            f"Arguments and options are those of [nlpkit {inner}](#nlpkit-{anchor}), without `--seed`, and these:",
            "",
        ]
    lines += ["| | | default |", "|---|---|---|"]
    lines += [f"| {names(param)} | {escape(getattr(param, 'help', '') or '')} | {default(param)} |" for param in params]
    lines += ["", "```", *(line.strip() for line in examples.splitlines() if line.strip()), "```", ""]
    return "\n".join(lines)


def names(param: Any) -> str:
    """`-o, --output` or `CORPUS...`."""
    if param.param_type_name == "argument":
        return f"`{param.metavar or str(param.name).upper()}`"
    flags = [*param.opts, *param.secondary_opts]
    return ", ".join(f"`{flag}`" for flag in sorted(flags, key=lambda flag: (flag.startswith("--"), flag)))


def default(param: Any) -> str:
    """The default as one would type it; "required" where there is none."""
    if param.required:
        return "required"
    value = param.default
    if value is None or value == () or callable(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"`{value}`"


def escape(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    print(render(), end="")
