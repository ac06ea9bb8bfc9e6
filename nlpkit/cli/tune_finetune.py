"""nlpkit tune finetune"""

from __future__ import annotations

from nlpkit.cli.tuning import tunes


@tunes("finetune")
def command() -> None:
    """Fine-tune for every point of a grid and every seed; write the model that is best on dev.
    Killed, the search goes on run by run when the same command is given again; a finished run is not made again. The
    runs stay in OUTPUT.runs.

    Examples:

    nlpkit tune finetune bert.safetensors train.jsonl --dev dev.jsonl -o c.safetensors --grid lr=1e-3,3e-3 --seeds 1..3

    nlpkit tune finetune b.safetensors t.jsonl --dev d.jsonl -o c.safetensors --grid lr=1e-3,3e-3 --grid freeze=1,all
    """
