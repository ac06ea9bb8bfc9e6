"""nlpkit generate"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.base import events
from nlpkit.cli import options, output, terminal


def command(
    model: Annotated[Path, Argument(help="A causal model, such as GPT-2.", metavar="MODEL")],
    data: Annotated[
        Path | None, Argument(help="Prompts: a line each, JSONL, CSV, TSV, Parquet; - is stdin.", metavar="[FILE]")
    ] = None,
    prompt: Annotated[
        str | None, Option(help="Text to continue; - reads one prompt a line from stdin (default: an empty document).")
    ] = None,
    text: Annotated[str, Option(help="Column of the prompt.")] = "prompt",
    samples: Annotated[int, Option(help="Continuations of each prompt.")] = 1,
    max_new_tokens: Annotated[
        int, Option(help="Maximum length of a continuation; beyond the model's max_len the window slides.")
    ] = 100,
    temperature: Annotated[float, Option(help="Temperature of the softmax; 0: greedy decoding.")] = 1.0,
    top_k: Annotated[int | None, Option(help="Sample from the k most likely tokens (default: all).")] = None,
    top_p: Annotated[
        float | None, Option(help="Sample from the most likely tokens of this total probability (default: all).")
    ] = None,
    repetition_penalty: Annotated[
        float | None, Option(help="Divide the scores of tokens that occurred already by this (default: none).")
    ] = None,
    stop: Annotated[
        list[str] | None, Option(help="End a continuation before this text; repeatable (default: none).")
    ] = None,
    on_error: options.OnError = "error",
    format: options.Format = None,
    seed: options.Seed = 0,
    int8: options.Int8 = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.JsonLines = False,
) -> None:
    """Continue a text, and print it with its prompt as it comes. The same seed gives the same text.

    Examples:

    nlpkit generate gpt2.safetensors --prompt "O happy dagger!" --temperature 0.8 --top-p 0.95

    nlpkit generate gpt2.safetensors prompts.txt --samples 3 --json | jq -r .text
    """
    arguments = {name: value for name, value in locals().items() if name != "json"}
    from nlpkit.stages.generate import generate

    page = _Page()
    output.typed(Path("-") if prompt == "-" else data)
    with events.listen(output.note):
        for record in generate(**arguments, hear=_discard if json else page.hear):
            if json:
                terminal.record(record, flush=True)
            else:
                page.end()


def _discard(part: str) -> None:
    """Ignore a part of a text: with --json only complete records are printed."""


class _Page:
    """Texts on stdout, an empty line between two. A terminal shows each token as it is chosen."""

    def __init__(self) -> None:
        self.separator = ""
        self.on_terminal = sys.stdout.isatty()

    def hear(self, part: str) -> None:
        terminal.data(self.separator + part, end="", flush=self.on_terminal)
        self.separator = ""

    def end(self) -> None:
        terminal.data("", flush=True)
        self.separator = "\n"
