"""Short sequences first, then those of full length.

Attention costs less on short sequences, and with few tokens a model learns sooner which of them matter; positions that
only long sequences have are learnt at the end (Devlin et al. 2019, appendix A.2: nine tenths of the updates read 128
tokens, the rest 512; Li et al. 2022, "The Stability-Efficiency Dilemma").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nlpkit.data.order import START, Epochs, Position, Read

DIVISOR, LEAST = 4, 8  # short is a quarter of the length, and no less than eight tokens


def short(max_len: int) -> int:
    """How many tokens short sequences have."""
    return min(max_len, max(LEAST, max_len // DIVISOR))


class Staged:
    """A `Source`: ``updates`` updates of ``first``, and then ``then`` from its beginning."""

    def __init__(self, first: Epochs, updates: int, then: Epochs) -> None:
        self.first, self.updates, self.then = first, updates, then

    def read(self, position: Position, parts: int, chosen: Sequence[int]) -> Iterator[Read]:
        done = position.get("short", 0)
        if done < self.updates:
            for read in self.first.read(position, parts, chosen):
                done += 1
                after = read.after if done < self.updates else START
                yield Read(read.parts, read.epoch, {**after, "short": done})
                if done == self.updates:
                    break
            position = START
        for read in self.then.read(position, parts, chosen):
            yield Read(read.parts, read.epoch, {**read.after, "short": self.updates})

    def count(self, epochs: int) -> int:
        return self.then.count(epochs)
