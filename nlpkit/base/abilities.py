"""What a family of models can do, for which objectives, tasks and decoders ask; nobody asks for a family's name."""

from __future__ import annotations

from enum import Enum


class Ability(Enum):
    """``value`` completes "a model that ..."."""

    BOTH_WAYS = "reads a text from both sides"
    CAUSAL = "reads a text from left to right"
