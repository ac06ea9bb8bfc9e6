"""Flags that several commands have, defined once, and the flags of every command.

The function of a command in this package has the same parameters and defaults as the library function that it calls
(tests/cli holds them equal), plus ``json`` where it prints a summary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typer import BadParameter, Context, Option
from typer.models import ArgumentInfo

from nlpkit.artifact.paths import check_apart
from nlpkit.base.config import ENVIRONMENT, command_options
from nlpkit.base.errors import UserError
from nlpkit.base.limits import range_of
from nlpkit.cli import completion, renamed, terminal
from nlpkit.cli.commands import COMMANDS
from nlpkit.training import options as training_options
from nlpkit.training.options import OPTIONS, Training, default_of

COMMON_NAMES = frozenset({"config", "debug", "help"})  # flags of every command, never passed to its function
# The flags of every command, and two differences between commands, as in README and docs/commands.md;
# tests/cli/test_everywhere.py checks them. -n prints the costs of a command that writes a file in a run, and the
# resolved options of any other. --json prints one object; commands that answer text by text print an object a line,
# `predict` and `embed` always.
EVERYWHERE = ("--config", "--debug", "--dry-run", "--help", "--json")
JSON_LINES = ("tokenizer encode", "tokenizer decode", "predict", "generate", "embed")

Output = Annotated[
    Path, Option("-o", "--output", help="File to write; it appears under this name when it is complete.")
]
Seed = Annotated[int, Option(help="Random seed.")]
Threads = Annotated[int | None, Option(help="CPU threads (default: all cores); changes no byte.")]
Force = Annotated[bool, Option("--force/--no-force", help="Overwrite an existing file.")]
Fresh = Annotated[bool, Option("--fresh/--no-fresh", help="Start over instead of resuming an unfinished run.")]
Log = Annotated[
    Path | None,
    Option(
        help="Append losses, metrics and notes to this file as they come, one JSON object a line (default: no log)."
    ),
]
DryRun = Annotated[
    bool,
    Option(
        "-n", "--dry-run/--no-dry-run", help="Print the value of every option and what the run would cost; do nothing."
    ),
]
Json = Annotated[bool, Option("--json/--no-json", help="Print one JSON object on stdout and nothing else.")]
JsonLines = Annotated[bool, Option("--json/--no-json", help="Print one JSON object a line.")]
JsonOnly = Annotated[bool, Option("--json/--no-json", help="Print one JSON object a line (always on).")]
Device = Annotated[str, Option(help="Device: cpu, cuda, cuda:1, mps, or auto (the first available).")]
Int8 = Annotated[bool, Option("--int8/--no-int8", help="Matrix products in int8: faster, slightly less exact.")]
Field = Annotated[str, Option(help="Field or column that holds the text (JSONL, CSV, TSV, Parquet).")]
StripAccents = Option(
    "--strip-accents/--no-strip-accents",
    help="Drop accents, as BERT's uncased models do, and with them vowel signs of Indic scripts (default: no).",
)
Format = Annotated[
    str | None, Option(help="Input format: text, jsonl, csv, tsv, parquet (default: by name, then content).")
]
OnError = Annotated[str, Option(help="Malformed lines: error (stop) or skip (count and report).")]
MaxLen = Annotated[
    int | None, Option(help="Maximum sequence length in tokens, special tokens included (default: the model's).")
]
Metric = Annotated[
    str | None, Option(help="Metric on --dev that selects the best weights: macro_f1 (default), accuracy, mcc, loss.")
]
MaskMix = Annotated[
    str | None,
    Option(help="Percentages of these that are replaced by [MASK]/by a random token/kept (default: 80/10/10)."),
]
AnalogyScore = Annotated[
    str | None, Option(help="add: cosine to B - A + C (3CosAdd, the default); mul: cosines multiplied (3CosMul).")
]

# Options of training that other commands have too (nlpkit/training/options.py has the rest).
COMMON = {
    "seed": Seed,
    "device": Device,
    "threads": Threads,
    "log": Log,
    "force": Force,
    "fresh": Fresh,
    "dry_run": DryRun,
}


def training_flag(command: str, name: str) -> Any:
    """An option of training as a flag of a command."""
    if name in COMMON:
        return COMMON[name]
    (default, absent), field = default_of(command, name), OPTIONS[name].metadata
    text = field["text"] + (f" (default: {absent})." if default is None and absent else ".")
    complete_names = getattr(completion, field["names"]) if field["names"] else None
    kind = get_type_hints(Training)[name]
    kind = kind | None if default is None else kind
    return Annotated[kind, Option(help=text, min=field["least"], max=field["most"], autocompletion=complete_names)]


def trains(command: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command's function with ``**training`` all flags of training."""
    return training_options.trains(command, annotation=training_flag)


def complete(function: Callable[..., None], name: str, call: Callable[..., None] | None = None) -> Callable[..., None]:
    """A command's function with the flags of every command: --config, which sets defaults, --debug, and -n, which
    prints the options of a function without a dry run. ``call``: a function to call instead, with the same
    arguments."""
    common_names = COMMON_NAMES if "dry_run" in inspect.signature(function).parameters else COMMON_NAMES | {"dry_run"}

    def wrapper(**arguments: Any) -> None:
        config = arguments.get("config")
        check_apart({**arguments, "config": None if config is None else Path(config)})
        passed = {key: value for key, value in arguments.items() if key not in common_names}
        if "dry_run" in common_names and arguments["dry_run"]:
            resolved(name, passed, json=bool(arguments.get("json")))
        else:
            (call or function)(**passed)

    def read_config(ctx: Context, value: str | None) -> str | None:
        if value is not None and not ctx.resilient_parsing:
            params = {str(item.name): item for item in ctx.command.params if item.param_type_name == "option"}
            flags = [flag for flag in params if flag not in COMMON_NAMES]
            known = [*flags, *renamed.RENAMED.get(name, {})]
            values = renamed.with_todays_names(name, command_options(Path(value), name, known, COMMANDS))
            typed = {flag: as_typed(params[flag], value_given, value, ctx) for flag, value_given in values.items()}
            ctx.default_map = {**(ctx.default_map or {}), **typed}
        return value

    text = "TOML file with values of options; flags and NLPKIT_* variables override it (default: none)."
    common = {
        "config": Annotated[
            str | None, Option("--config", metavar="FILE", is_eager=True, callback=read_config, help=text)
        ],
        "debug": Annotated[bool, Option("--debug", help="Show the traceback of an error.")],
        **({"dry_run": DryRun} if "dry_run" in common_names else {}),
    }
    hints = {key: limited(name, key, kind) for key, kind in get_type_hints(function, include_extras=True).items()}
    hints |= common
    defaults = {key: item.default for key, item in inspect.signature(function).parameters.items()}
    keyword = inspect.Parameter.KEYWORD_ONLY
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(key, keyword, default=default, annotation=hints[key])
            for key, default in {**defaults, **dict.fromkeys(common, False), "config": None}.items()
        ]
    )
    wrapper.__annotations__ = hints
    wrapper.__doc__ = function.__doc__
    return wrapper


def limited(command: str, name: str, kind: Any) -> Any:
    """A flag's annotation with the limits that its stage checks (`nlpkit.base.limits`)."""
    allowed = range_of(command, name)
    if allowed is None:
        return kind
    info = copy(kind.__metadata__[0])
    info.min, info.max = allowed
    return Annotated[kind.__origin__, info]


def resolved(command: str, options: dict[str, Any], *, json: bool) -> None:
    """Print the resolved options of a command. Errors: a missing input."""
    hints = get_type_hints(import_module(f"nlpkit.cli.{COMMANDS[command][0]}").command, include_extras=True)
    for name, value in options.items():
        if any(isinstance(item, ArgumentInfo) for item in getattr(hints[name], "__metadata__", ())):
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and str(path) != "-" and not path.exists():
                    raise UserError("no such file", where=path)
    plain_options = {name: plain(value) for name, value in options.items() if name != "json"}
    record = {"schema": 1, "dry_run": True, "command": command, "options": plain_options}
    terminal.record(record, indent=None if json else 2)


def plain(value: Any) -> Any:
    """The value of an option as a JSON value."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def json_only(json: bool) -> None:
    """Refuse --no-json for a command that prints JSON only."""
    if not json:
        raise UserError("prints JSON objects only", where="--no-json", hint="jq picks out a field: | jq .label")


def as_typed(param: Any, value: Any, path: str, ctx: Context) -> Any:
    """A value of a configuration file as if it had been typed: 5.5 is no integer, true is no probability.

    Errors: a UserError with the file and the option.
    """
    several = isinstance(value, list) and param.multiple
    texts = [str(item).lower() if isinstance(item, bool) else str(item) for item in (value if several else [value])]
    flag = str(param.name).replace("_", "-")
    try:
        if isinstance(value, list) and not several:
            raise BadParameter("one value is expected, not a list")
        param.process_value(ctx, texts if several else texts[0])
    except BadParameter as error:
        raise UserError(f"{flag} = {value!r}: {error.message}", where=path) from None
    return texts if several else texts[0]


def read_environment(command: Any, name: str) -> None:
    """Let every option of a command be set by NLPKIT_NAME."""
    for param in command.params:
        if param.param_type_name == "option" and param.name not in ("help", "debug"):
            names = [str(param.name), *renamed.old_names(name, str(param.name))]
            param.envvar = [ENVIRONMENT + known.upper() for known in names]
            param.show_envvar = False
