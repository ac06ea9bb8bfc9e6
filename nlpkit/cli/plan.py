"""nlpkit plan"""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument, Option

from nlpkit.cli import options
from nlpkit.cli.output import call, human_bytes
from nlpkit.cli.pace import duration
from nlpkit.cli.terminal import tell

# The words of another command follow; the parser must not interpret their flags.
CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def command(
    command: Annotated[
        list[str], Argument(help="pretrain, finetune or distill, as you would run it.", metavar="COMMAND...")
    ],
    memory: Annotated[
        str | None,
        Option(help="Memory limit, such as 2G or 800M: suggest options that keep it (default: none)."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Estimate the time, operations and memory of a training run, and how it fits in less memory. Nothing is written.

    Examples:

    nlpkit plan pretrain tokens.safetensors --size base

    nlpkit plan --memory 2G finetune bert.safetensors train.jsonl --batch-tokens 8192
    """
    from nlpkit.cli.app import parsed

    name, arguments = parsed(command)
    call("plan", {"command": name, "options": arguments, "memory": memory}, json=json, show=show)


def show(plan: dict[str, Any]) -> None:
    """The plan, for people."""
    trained = plan["trained_parameters"]
    some = "all trained" if trained == plan["parameters"] else f"{trained:,} of them trained"
    tell(f"parameters  {plan['parameters']:,}, {some}")
    tell(f"updates     {plan['steps']:,} of about {plan['tokens_per_step']:,} tokens")
    which = ", with the options suggested below" if plan.get("change") else ""
    tell(f"operations  {plan['operations_per_step'] * plan['steps']:.2e}{which}")
    tell(f"memory      {human_bytes(plan['memory_bytes'])}{which}")
    tell(f"time        {duration(plan['seconds'])}, without evaluations{which}")
    if "tried" not in plan:
        return
    tell()
    tell(f"in {human_bytes(plan['memory_limit'])}:")
    first = plan["tried"][0]["operations_per_step"]
    for way in plan["tried"]:
        words = [f"--batch-tokens {way['batch_tokens']} --accumulate {way['accumulate']}"]
        words += ["--checkpointing"] if way["checkpointing"] else []
        verdict = "fits" if way["memory_bytes"] <= plan["memory_limit"] else "does not fit"
        verdict += " (as typed)" if way is plan["tried"][0] else " (suggested)" if way is plan["tried"][-1] else ""
        same = "same bytes" if way["same_bytes"] else "equal to 1e-6"
        tell(
            f"  {human_bytes(way['memory_bytes']):>9}  {way['operations_per_step'] / first:.2f} x the operations  "
            f"{same:<13}  {' '.join(words)}: {verdict}"
        )
    flags = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in plan["change"].items()
    ]
    tell()
    tell("add " + " ".join(flags) if flags else "nothing has to be changed")
