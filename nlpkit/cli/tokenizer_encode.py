"""nlpkit tokenizer encode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nlpkit.cli import options, output, terminal

TokenizerFile = Annotated[
    Path, Argument(help="Tokenizer: an artefact that holds one, or a Hugging Face directory.", metavar="TOKENIZER")
]


def command(
    tokenizer: TokenizerFile,
    file: Annotated[Path, Argument(help="Text, a line each, or rows; - is stdin.", metavar="[FILE]")] = Path("-"),
    field: options.Field = "text",
    format: options.Format = None,
    pieces: Annotated[bool, Option("--pieces/--ids", help="Print pieces instead of ids.")] = False,
    json: options.JsonLines = False,
) -> None:
    """Turn lines of text into lines of ids, separated by spaces, as they come.

    No framing tokens are added, and a special piece written in the text, such as [MASK], is ordinary text.

    Examples:

    nlpkit tokenizer encode tok.safetensors corpus.txt > ids.txt

    echo "to be or not to be" | nlpkit tokenizer encode bert.safetensors --pieces
    """
    from nlpkit.stages.tokenizer_stream import encode_batches

    key = "pieces" if pieces else "ids"
    with output.progress(quiet=False, name="tokenizer encode", reads=file):
        for lines in encode_batches(tokenizer, file, field=field, format=format, pieces=pieces):
            for line in lines:
                if json:
                    terminal.record({key: line})
                else:
                    terminal.data(" ".join(map(str, line)))
            terminal.flush()
