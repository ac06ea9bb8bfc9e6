"""Draw docs/demo.svg, the end of `nlpkit demo` as a terminal shows it, from what it printed:

    nlpkit demo --dir demo-run --json > demo.json
    python benchmarks/pictures.py demo.json

The SVG names no font of the network, so that a page with it needs none.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from nlpkit.cli import demo

WIDTH = 84  # columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path, help="what `nlpkit demo --json` printed")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/demo.svg"))
    arguments = parser.parse_args()
    result = json.loads(arguments.result.read_text("utf-8"))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print("[bold]$ nlpkit demo[/bold]\n...")
    for part, said in (
        ("nearest", "the nearest words:"),
        ("filled", "words that a sentence makes likelier in place of its mask:"),
    ):
        console.print(said, highlight=False)
        for name, words in result[part].items():
            console.print(f"  {name}  ->  {', '.join(words)}", highlight=False, markup=False)
    console.print("...\n")
    console.print(demo.scores_table(result))
    for line in (*demo.conclusions(result), f"\n{demo.times(result)}\n"):
        console.print(line, highlight=False)
    if result["verified"]:
        console.print(f"[bold green]{demo.VERIFIED}[/bold green]")
    drawn = console.export_svg(title="nlpkit demo", theme=MONOKAI, unique_id="demo")
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.DOTALL)
    drawn = drawn.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono")
    arguments.output.write_text(drawn + "\n", "utf-8")


if __name__ == "__main__":
    main()
