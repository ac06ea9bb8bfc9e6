"""nlpkit ls"""

from __future__ import annotations

from typing import Annotated, Any

from typer import Argument

from nlpkit.cli import completion, options, output, terminal


def command(
    kind: Annotated[
        str | None,
        Argument(
            help="models, objectives, tasks, sizes, tokenizers, optimizers or recipes (default: the names of all).",
            metavar="[KIND]",
            autocompletion=completion.kinds,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """List what nlpkit knows: each name with what it is, and the paper it is from or the options it sets.

    Examples:

    nlpkit ls models

    nlpkit ls sizes --json | jq '.sizes[].parameters'
    """
    output.call("ls", locals(), json=json, show=show)


def show(result: dict[str, Any]) -> None:
    """A table; of all kinds, a line each."""
    if len(result) > 1:
        for kind, rows in result.items():
            terminal.tell(f"{kind:<10}  {', '.join(row['name'] for row in rows)}")
        return
    (rows,) = result.values()
    columns = list(rows[0])
    table = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[number]) for line in table) for number in range(len(columns))]
    numbers = [isinstance(value, int) for value in rows[0].values()]
    for line in table:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numbers, strict=True)
        ]
        terminal.tell("  ".join(cells).rstrip())


def _cell(value: Any) -> str:
    """A number with separators; options as ``lr=0.1 mlm: mask-ratio=0.3``."""
    if isinstance(value, dict):
        return " ".join(
            f"{k}: {_cell(v)}" if isinstance(v, dict) else f"{k.replace('_', '-')}={v}" for k, v in value.items()
        )
    return f"{value:,}" if isinstance(value, int) else str(value)
