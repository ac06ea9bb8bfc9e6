"""The table of commands, and the entry point.

A command is imported when it is used: ``nlpkit --help`` reads this table and nothing else, and no command imports
torch before its arguments are right.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from nlpkit._version import __version__
from nlpkit.base.config import unknown_environment
from nlpkit.base.errors import UserError, choose
from nlpkit.base.world import COMMANDS as TRAINING
from nlpkit.base.world import world
from nlpkit.cli import memory, mistakes, streams, terminal
from nlpkit.cli.commands import COMMANDS, GROUPS
from nlpkit.cli.options import complete, read_environment
from nlpkit.cli.panels import RUNNING, arrange
from nlpkit.cli.renamed import RENAMED, today

_UsageError: Any = typer.BadParameter.__bases__[0]
_ClickException: Any = _UsageError.__bases__[0]


def load(name: str, call: Callable[..., None] | None = None) -> Any:
    """The parser of one command, from the function ``command`` of its module; ``call``: a function to call instead."""
    module, line = COMMANDS[name]
    definition = import_module(f"nlpkit.cli.{module}")
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    settings = {"help_option_names": ["-h", "--help"], **getattr(definition, "CONTEXT", {})}
    app.command(name=name.split()[-1], cls=Command, short_help=line, context_settings=settings)(
        complete(definition.command, name, call)
    )
    command: Any = get_command(app)
    command.known_as = name
    read_environment(command, name)
    command.params = arrange(name, command.params)
    for param in command.params:
        if param.param_type_name == "argument" and param.metavar is None:
            param.metavar = str(param.name).upper() + ("..." if param.nargs != 1 else "")
    return command


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The command of a training command line, and the arguments of its function. Errors: a command that does not train,
    and the errors of the parser."""
    name = words[0]
    if name not in TRAINING:
        if name in COMMANDS or not os.path.exists(name):
            choose(dict.fromkeys(TRAINING), name, field="command")
        raise UserError(
            f'"{name}" is a file, expected the command to plan',
            where="plan",
            hint=f"nlpkit plan {guess(Path(name))} {' '.join(words)}",
        )
    arguments_of: dict[str, Any] = {}
    command = load(name, lambda **arguments: arguments_of.update(arguments))
    (output,) = (param for param in command.params if param.name == "output")
    output.required = False
    command.main(list(words[1:]), prog_name=f"nlpkit {name}", standalone_mode=False)
    ignored = {"json"} | ({"output"} if arguments_of.get("output") is None else set())
    return name, {key: value for key, value in arguments_of.items() if key not in ignored}


def guess(path: Path) -> str:
    """The training command whose first argument is such a file: pretrain for token files, finetune for others."""
    from nlpkit.artifact import file

    try:
        return "pretrain" if path.is_file() and file.read(path).kind == "tokens" else "finetune"
    except UserError:  # text, or another tool's file
        return "pretrain"


class Command(TyperCommand):
    """A command whose usage line shows the metavars of its arguments (FILE, [FILE], FILE...), whose help groups options
    in panels, and which accepts the old names of renamed flags."""

    known_as = ""  # its name in the table of commands

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [param for param in self.get_params(ctx) if param.param_type_name == "argument"]
        return [str(self.options_metavar), *(str(param.metavar) for param in arguments)]

    def get_help_option(self, ctx: Any) -> Any:
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = RUNNING
        return option

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, today(self.known_as, args, terminal.say))


class Lazy(TyperGroup):
    """A group that has the names and one-line helps of its commands, and imports a command when it is called."""

    def __init__(self, *, prefix: str = "", **attributes: Any) -> None:
        super().__init__(**attributes)
        self.prefix = prefix
        rest = [name[len(prefix) :].split() for name in COMMANDS if name.startswith(prefix)]
        self.names = list(dict.fromkeys(words[0] for words in rest))
        # For typer's "did you mean", which reads the names only.
        self.commands = dict.fromkeys(self.names)  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:
        return self.names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        name = f"{self.prefix}{cmd_name}"
        if name in GROUPS:
            return Lazy(
                name=cmd_name,
                prefix=f"{name} ",
                help=GROUPS[name],
                no_args_is_help=True,
                rich_markup_mode="rich",
                context_settings={"help_option_names": ["-h", "--help"]},
            )
        if name not in COMMANDS:
            return None
        if getattr(self, "listing", False):
            return TyperCommand(cmd_name, short_help=COMMANDS[name][1], help=COMMANDS[name][1])
        return load(name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.listing = True  # help shows a line per command and needs no module of theirs
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        self.listing = True
        return super().shell_complete(ctx, incomplete)


def _version(value: bool) -> None:
    if value:
        print(f"nlpkit {__version__}")
        raise typer.Exit


def _portable(value: bool) -> None:
    if value:
        from nlpkit.machine.portable import ask

        ask()


def build() -> Any:
    """The whole program: global options, shell completion, and the lazy table."""
    app = typer.Typer(
        cls=Lazy,
        no_args_is_help=True,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def nlpkit(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
        portable: bool = typer.Option(
            False,
            "--portable/--no-portable",
            callback=_portable,
            envvar="NLPKIT_PORTABLE",
            show_envvar=False,
            help="Same bytes on any x86-64 CPU with AVX2; training is slower.",
        ),
    ) -> None:
        """From raw text to a small, evaluated model. Every stage is one command that writes one file;
        `nlpkit verify` proves it.

        Examples:

        nlpkit demo

        nlpkit tokenizer train corpus.txt -o tok.safetensors --kind bpe --vocab-size 8000
        """

    return get_command(app)


def check_environment() -> None:
    """Refuse NLPKIT_* variables that no command reads."""
    if any(name.startswith("NLPKIT_") for name in os.environ):
        flags = {str(option.name) for name in COMMANDS for option in load(name).params if option.envvar}
        flags |= {"portable", "level", *(old for names in RENAMED.values() for old in names)}
        if error := unknown_environment(os.environ.keys(), flags):
            raise error


def check_completion(request: str) -> None:
    """Refuse a request that no shell makes: a variable that was set by hand or by mistake."""
    does, _, shell = request.partition("_")
    needs = {"bash": ("COMP_WORDS", "COMP_CWORD")}.get(shell, ("_TYPER_COMPLETE_ARGS",))
    missing = [name for name in needs if does == "complete" and name not in os.environ]
    if does not in ("complete", "source") or shell not in ("bash", "zsh", "fish", "powershell", "pwsh") or missing:
        because = f", and {missing[0]} is not set" if missing else ""
        raise UserError(
            f'_NLPKIT_COMPLETE is "{request}"{because}',
            where="environment",
            hint="unset it; a shell's completion sets it by itself",
        )


def check_processes(arguments: Sequence[str]) -> None:
    """Refuse several processes for a command that would do the same work in each: only some commands divide it."""
    name = next((word for word in arguments if not word.startswith("-")), "")
    if world().size > 1 and name not in TRAINING:
        raise UserError(
            f"{world().size} processes were started, but nlpkit {name} runs in one process",
            hint=f"torchrun is for {', '.join(TRAINING)}",
        )


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program; docs/commands.md lists the exit codes."""
    streams.prepare()
    yield_cores()
    for number in (signal.SIGINT, signal.SIGTERM):  # after `run` only the exit of Python could be interrupted
        signal.signal(number, signal.SIG_IGN)
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    if _several():  # gloo's threads may still hold tensors, and freeing one during Python's exit aborts the process
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def yield_cores() -> None:
    """Let waiting OpenMP threads yield their core soon.

    By default they spin for milliseconds, which makes some runs several times slower while another process uses the
    cores (benchmarks/busy_machine.py), as in CI. torch reads the variable when it is loaded; it changes no byte.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; signals are handled as before afterwards."""
    debug = "--debug" in arguments
    interrupts: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    # SIGTERM, by which a scheduler stops a job, is handled like an interrupt.
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if "_NLPKIT_COMPLETE" in os.environ:
            check_completion(os.environ["_NLPKIT_COMPLETE"])
        else:
            check_environment()
        check_processes(arguments)
        code = build().main(arguments, prog_name="nlpkit", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # the parser returns this for an interrupt and prints nothing
            return fail("interrupted", code=130)
        return code if isinstance(code, int) else 0
    except UserError as error:
        if debug:
            raise
        return fail(error.what, where=error.where, hint=error.hint, code=error.exit_code)
    except _ClickException as error:
        return usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return fail("interrupted", code=130)
    except (BrokenPipeError, SystemExit):  # the parser turns a closed pipe into exit 1
        if debug or not streams.reader_gone():
            raise
        streams.leave_stdout()  # the reader has read enough
        return 0
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        if debug:
            raise
        return fail("interrupted", code=130) if interrupts else unexpected(error, arguments)
    except BaseException:
        if debug or not interrupts:
            raise
        # Libraries turn an interrupt into other errors, above all during their import.
        return fail("interrupted", code=130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Parts of error messages when memory runs out: of torch, the dynamic loader, threads.
_NO_MEMORY = ("allocate", "failed to map segment", "start new thread")


def unexpected(error: Exception, arguments: Sequence[str] = ()) -> int:
    """Report an error of the system in one line; any other error is a bug and is raised with its traceback."""
    messages = f"{error} {error.__cause__} {error.__context__}"  # a library may wrap the error of the system
    if isinstance(error, MemoryError) or any(part in messages for part in _NO_MEMORY):
        where, hint = memory.blame(arguments)
        return fail("out of memory", where=where, code=1, hint=hint)
    if not isinstance(error, OSError):
        raise error
    streams.leave_stdout()  # stdout itself may be full
    return fail(error.strerror or str(error), where=error.filename if isinstance(error.filename, str) else None, code=1)


def usage(error: Any) -> int:
    """Report the parser's error; a bare group shows its help."""
    message = mistakes.message(error)
    if type(error).__name__ == "NoArgsIsHelpError":
        if message:
            print(message)
        return 2
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "nlpkit"
    return fail(message, hint=f"{path} --help shows the options, with examples", code=error.exit_code)


def _several() -> bool:
    try:
        return world().size > 1
    except UserError:  # the very error that is reported
        return False


def fail(what: str, *, where: str | None = None, hint: str | None = None, code: int) -> int:
    """Print an error and a hint on stderr; returns the exit code. Of several processes one prints."""
    if _several():
        from nlpkit.training.parallel.distributed import first_to_speak

        if not first_to_speak():
            return code
        if not world().leads:
            where = f"process {world().rank} of {world().size}" + (f": {where}" if where else "")
    terminal.say(f"error: {where}: {what}" if where else f"error: {what}")
    if hint:
        terminal.say(f"hint: {hint}")
    return code
