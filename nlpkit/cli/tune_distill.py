"""nlpkit tune distill"""

from __future__ import annotations

from nlpkit.cli.tuning import tunes


@tunes("distill")
def command() -> None:
    """Distil for every point of a grid and every seed; write the student that is best on dev.
    Killed, the search goes on run by run when the same command is given again; a finished run is not made again. The
    runs stay in OUTPUT.runs.

    Examples:

    nlpkit tune distill c.safetensors train.jsonl --dev dev.jsonl -o s.safetensors --grid temperature=1,2,4 --seeds 1..3

    nlpkit tune distill c.safetensors train.jsonl --dev dev.jsonl -o s.safetensors --grid n-layers=1,2 --halving
    """
