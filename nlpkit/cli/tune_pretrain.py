"""nlpkit tune pretrain"""

from __future__ import annotations

from nlpkit.cli.tuning import tunes


@tunes("pretrain")
def command() -> None:
    """Pre-train for every point of a grid and every seed; write the model with the lowest loss on dev.
    Killed, the search goes on run by run when the same command is given again; a finished run is not made again. The
    runs stay in OUTPUT.runs.

    Examples:

    nlpkit tune pretrain tokens.safetensors -o bert.safetensors --dev dev.safetensors --grid lr=5e-4,1e-3,2e-3

    nlpkit tune pretrain tokens.safetensors -o m.safetensors --dev dev.safetensors --grid size=tiny,mini --halving
    """
