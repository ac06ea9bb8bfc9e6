"""nlpkit tokenizer decode"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument

from nlpkit.cli import options, output, terminal
from nlpkit.cli.tokenizer_encode import TokenizerFile


def command(
    tokenizer: TokenizerFile,
    file: Annotated[Path, Argument(help="Ids, a line for each text; - is stdin.", metavar="[FILE]")] = Path("-"),
    json: options.JsonLines = False,
) -> None:
    """Turn lines of ids back into lines of text, as they come. Special pieces are left out.

    Examples:

    nlpkit tokenizer decode tok.safetensors ids.txt

    nlpkit tokenizer encode tok.safetensors corpus.txt | nlpkit tokenizer decode tok.safetensors --json
    """
    from nlpkit.stages.tokenizer_stream import decode_batches

    output.typed(file)
    for lines in decode_batches(tokenizer, file):
        for line in lines:
            if json:
                terminal.record({"text": line})
            else:
                terminal.data(line)
        terminal.flush()
