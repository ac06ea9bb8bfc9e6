"""GloVe: vectors whose dot products are the logarithms of counts (Pennington et al. 2014).

Why the result is the same on any number of threads: rows and columns of the table are cut in stripes
(`nlpkit.vectors.glove.glove_cells`). An epoch has as many rounds as there are stripes; in a round every stripe of words
is paired with another stripe of contexts, so its blocks have no row of any matrix in common, and threads may train on
them at the same time in any order: each block reads and writes rows that no other block does (Gemulla et al. 2011,
"Large-scale matrix factorization with distributed stochastic gradient descent", section 4). The pairs of each round are
drawn from the seed.

Shapes: V words, D width, W the width padded to a multiple of eight.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit.artifact import resume
from nlpkit.artifact.provenance import Run
from nlpkit.base import events
from nlpkit.base.errors import RunError
from nlpkit.base.seeds import Address
from nlpkit.base.stop import StopSignal
from nlpkit.machine.kernel import LANES
from nlpkit.machine.native import Kernels
from nlpkit.vectors.glove.glove_cells import STRIPES, Blocks

KERNELS = Kernels("nlpkit.vectors.glove.glove_kernel")
Arrays = dict[str, NDArray[Any]]


def rounds(seed: Address, epoch: int) -> list[list[tuple[int, int]]]:
    """The pairs of stripes, words and contexts, of each round of an epoch; an epoch has every pair once."""
    rng = seed.at("epoch", epoch).generator()
    contexts, shifts = rng.permutation(STRIPES).tolist(), rng.permutation(STRIPES).tolist()
    return [[(words, contexts[(words + shift) % STRIPES]) for words in range(STRIPES)] for shift in shifts]


class Learner:
    """The parameters of a run and their training.

    ``state`` holds ``words`` and ``contexts`` [V, 2, W] (parameters, and sums of squared gradients), ``word_bias`` and
    ``context_bias`` [V, 2], rows in the order of `Blocks.row_of_word`; and ``losses`` [STRIPES, STRIPES] of this
    epoch's blocks.
    """

    def __init__(self, blocks: Blocks, dim: int, lr: float, seed: Address) -> None:
        self.blocks, self.dim, self.lr, self.seed = blocks, dim, np.float32(lr), seed
        self.width = -(-dim // LANES) * LANES
        vocab_size = len(blocks.row_of_word)
        self.state: Arrays = {"losses": np.zeros((STRIPES, STRIPES))}
        for side, bias in (("words", "word_bias"), ("contexts", "context_bias")):
            drawn = seed.at(side).generator().random((vocab_size, dim), np.float32)
            matrix = np.zeros((vocab_size, 2, self.width), np.float32)
            matrix[blocks.row_of_word, 0, :dim] = (drawn - np.float32(0.5)) / np.float32(dim)
            matrix[:, 1] = 1  # the initial sum of squared gradients
            self.state[side] = matrix
            self.state[bias] = np.tile(np.array([0, 1], np.float32), (vocab_size, 1))

    def learn(self, pairs: list[tuple[int, int]], threads: int, pool: ThreadPoolExecutor) -> None:
        """One round: an idle thread takes the next block, the largest first."""
        flat = {name: array.reshape(-1) for name, array in self.state.items()}
        words = flat["words"], flat["word_bias"]
        contexts = flat["contexts"], flat["context_bias"]
        blocks = {pair: self.blocks.block(*sorted(pair)) for pair in pairs}
        waiting = deque(sorted(pairs, key=lambda pair: -len(blocks[pair])))

        def work() -> None:
            while waiting:
                try:
                    pair = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                sides = (*words, *contexts) if pair[0] <= pair[1] else (*contexts, *words)
                self.state["losses"][pair] = KERNELS.learn(blocks[pair], *sides, self.width, self.lr)

        if threads == 1:
            work()
        else:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()

    def loss(self, epoch: int) -> float:
        """The mean loss of this epoch's steps, summed in a fixed order. Errors: RunError when it is not finite."""
        value = math.fsum(self.state["losses"].flat) / self.blocks.visits
        if not math.isfinite(value):
            raise RunError(f"the vectors are not finite after epoch {epoch}", hint="a smaller --lr")
        return value

    def vectors(self) -> Arrays:
        """The tensors of the file, rows in the order of the words. Errors: RunError when a number is not finite."""
        rows = self.blocks.row_of_word
        words, contexts = (self.state[side][rows, 0, : self.dim] for side in ("words", "contexts"))
        tensors = {
            "vectors": words + contexts,
            "context": contexts,
            "bias": self.state["word_bias"][rows, 0],
            "context_bias": self.state["context_bias"][rows, 0],
        }
        if not all(np.isfinite(array).all() for array in tensors.values()):
            raise RunError("the vectors are not finite", hint="a smaller --lr")
        return tensors


def learn_all(learner: Learner, run: Run, epochs: int, save_every: int | None, threads: int) -> float | None:
    """All epochs, from the start or from the saved state of an unfinished run; returns the loss of the last."""
    position = {"epoch": 1, "round": 0}  # the next round to train
    loss: float | None = None
    if saved := resume.load(run):
        state, config = saved
        learner.state.update({name: np.array(array) for name, array in state.items()})
        loss = config.pop("loss")
        position = config
        events.note(f"resuming {run.output.name} in epoch {position['epoch']} of {epochs}")
    saves, visits = resume.Saves(run, save_every), learner.blocks.visits
    threads = min(threads, STRIPES)
    with StopSignal() as stop, ThreadPoolExecutor(threads) as pool:
        while (epoch := position["epoch"]) <= epochs:
            learner.learn(rounds(learner.seed, epoch)[position["round"]], threads, pool)
            position = {"epoch": epoch, "round": position["round"] + 1}
            fraction = (epoch - 1 + position["round"] / STRIPES) / epochs
            events.emit(
                "progress",
                label=f"epoch {epoch}/{epochs}",
                done=round(fraction * visits * epochs),
                total=visits * epochs,
                unit="steps",
            )
            ended = position["round"] == STRIPES
            if ended:
                loss = learner.loss(epoch)
                text = f"epoch {epoch}/{epochs}: loss {loss:.5f}"
                events.emit("note", text=text, epoch=epoch, loss=loss)
                position = {"epoch": epoch + 1, "round": 0}
            stopping = stop.requested
            if position["epoch"] <= epochs and (stopping or saves.due(epoch if ended else None)):
                resume.save(run, learner.state, {**position, "loss": loss})
                saves.saved(stop=stopping, where=f"in epoch {epoch} of {epochs}")
    return loss
