"""nlpkit vectors glove: vectors whose products are the logarithms of counts (Pennington et al. 2014).

Why it is the same on any number of threads: rows and columns of the table are cut in stripes
(`nlpkit.vectors.glove_cells`). An epoch has as many rounds as there are stripes; in a round every stripe of words meets
another stripe of contexts, so its blocks share no row of any matrix, and threads may learn them at the same time in any
order: each block reads and writes what no other one does (Gemulla et al. 2011, "Large-scale matrix factorization with
distributed stochastic gradient descent", section 4). Which stripes meet in which round is drawn from the seed.

Shapes: V words, D width, W the width filled up to a multiple of eight.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlpkit import events
from nlpkit.artifact import resume
from nlpkit.artifact.provenance import Run, default_threads
from nlpkit.errors import RunError, UserError
from nlpkit.seeds import Address
from nlpkit.simd import LANES
from nlpkit.training.stop import StopSignal
from nlpkit.vectors import cooccurrence
from nlpkit.vectors.file import KIND
from nlpkit.vectors.glove_cells import CELL, STRIPES, Blocks, sort_in_blocks
from nlpkit.vectors.glove_kernel import learn

_BYTES_A_WORD = 200  # of a word's text and place in tables

Arrays = dict[str, NDArray[Any]]


def glove(
    counts: Path,
    output: Path,
    *,
    dim: int = 100,
    epochs: int = 25,
    lr: float = 0.05,
    x_max: float = 100.0,
    alpha: float = 0.75,
    seed: int = 0,
    threads: int | None = None,
    save_every: int | None = None,
    log: Path | None = None,
    force: bool = False,
    fresh: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Learn word vectors from a file of `nlpkit vectors cooccur` (GloVe: Pennington et al. 2014).

    Weighted least squares on the logarithms of the counts (equation 8), weights (x / ``x_max``)^``alpha`` up to 1, by
    AdaGrad with rate ``lr``. The result is the sum of a word's two vectors (section 4.2). A run that was killed goes on
    from its last save: once a minute, or every ``save_every`` epochs. The loss that is told is the mean over an epoch's
    steps, each as it was before the step. Errors: UserError for wrong options and inputs; RunError when the disk is
    full or a vector is not finite; Interrupted after Ctrl-C or SIGTERM, state saved.
    """
    run = Run.start("vectors glove", locals(), inputs=("counts",), libraries=("numba", "numpy"))
    least_of = (("dim", dim, 1), ("epochs", epochs, 0), ("alpha", alpha, 0.0), ("save-every", save_every, 1))
    for name, value, least in least_of:
        if value is not None and value < least:
            raise UserError(f"{name} is {value}, expected at least {least}")
    for name, value in (("lr", lr), ("x-max", x_max)):
        if value <= 0:
            raise UserError(f"{name} is {value}, expected more than 0")
    path = run.paths("counts")[0]
    with events.log_to(log):
        given = cooccurrence.load(path)
        if dry_run:
            return run.plan(**_cost(given, dim))
        address = Address(seed, ("vectors", "glove"))
        blocks = sort_in_blocks(given.cells, x_max=x_max, alpha=alpha, seed=address.at("cells"), where=path,
                                target=run.output)  # fmt: skip
        learner = Learner(blocks, dim, lr, address)
        measured = _learn(learner, run, epochs, save_every, threads or default_threads())
        found = learner.vectors()
        config = {
            **given.config, "method": "glove", "dim": dim, "epochs": epochs, "lr": lr, "x_max": x_max, "alpha": alpha,
            "words": given.words,
        }  # fmt: skip
        summary = run.write({**found, "counts": given.counts}, kind=KIND, config=config, tokenizer=given.tokenizer)
        resume.discard(run.output)
        return {**summary, "vocab_size": len(given.words), "cells": len(given.cells.columns), "loss": measured}


def rounds(seed: Address, epoch: int) -> list[list[tuple[int, int]]]:
    """Which stripes of words and contexts meet in each round of an epoch; every two meet once."""
    rng = seed.at("epoch", epoch).generator()
    contexts, shifts = rng.permutation(STRIPES).tolist(), rng.permutation(STRIPES).tolist()
    return [[(words, contexts[(words + shift) % STRIPES]) for words in range(STRIPES)] for shift in shifts]


class Learner:
    """The matrices of a run, and what is done to them.

    ``state`` holds ``words`` and ``contexts`` [V, 2, W] (numbers, and their sums of squares), ``word_bias`` and
    ``context_bias`` [V, 2], rows in the blocks' order; and ``losses`` [STRIPES, STRIPES] of this epoch's blocks.
    """

    def __init__(self, blocks: Blocks, dim: int, lr: float, seed: Address) -> None:
        self.blocks, self.dim, self.lr, self.seed = blocks, dim, np.float32(lr), seed
        self.width = -(-dim // LANES) * LANES
        vocab_size = len(blocks.places)
        self.state: Arrays = {"losses": np.zeros((STRIPES, STRIPES))}
        for side, bias in (("words", "word_bias"), ("contexts", "context_bias")):
            drawn = seed.at(side).generator().random((vocab_size, dim), np.float32)
            matrix = np.zeros((vocab_size, 2, self.width), np.float32)
            matrix[blocks.places, 0, :dim] = (drawn - np.float32(0.5)) / np.float32(dim)
            matrix[:, 1] = 1  # where the sums of squares begin
            self.state[side] = matrix
            self.state[bias] = np.tile(np.array([0, 1], np.float32), (vocab_size, 1))

    def learn(self, meeting: list[tuple[int, int]], threads: int, pool: ThreadPoolExecutor) -> None:
        """One round: each thread takes a block when it has done one, the largest first."""
        flat = {name: array.reshape(-1) for name, array in self.state.items()}
        words = flat["words"], flat["word_bias"]
        contexts = flat["contexts"], flat["context_bias"]
        blocks = {pair: self.blocks.block(*sorted(pair)) for pair in meeting}
        waiting = deque(sorted(meeting, key=lambda pair: -len(blocks[pair])))

        def work() -> None:
            while waiting:
                try:
                    pair = waiting.popleft()
                except IndexError:  # another thread took the last one
                    return
                sides = (*words, *contexts) if pair[0] <= pair[1] else (*contexts, *words)
                self.state["losses"][pair] = learn(blocks[pair], *sides, self.width, self.lr)

        if threads == 1:
            work()
        else:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()

    def loss(self, epoch: int) -> float:
        """The mean loss of this epoch's steps, summed in one order. Errors: RunError when it is not finite."""
        value = math.fsum(self.state["losses"].flat) / self.blocks.visits
        if not math.isfinite(value):
            raise RunError(f"the vectors are not finite after epoch {epoch}", hint="a smaller --lr")
        return value

    def vectors(self) -> Arrays:
        """What the file holds, in the order of the words. Errors: RunError when a number is not finite."""
        places = self.blocks.places
        words, contexts = (self.state[side][places, 0, : self.dim] for side in ("words", "contexts"))
        found = {
            "vectors": words + contexts, "context": contexts, "bias": self.state["word_bias"][places, 0],
            "context_bias": self.state["context_bias"][places, 0],
        }  # fmt: skip
        if not all(np.isfinite(array).all() for array in found.values()):
            raise RunError("the vectors are not finite", hint="a smaller --lr")
        return found


def _learn(learner: Learner, run: Run, epochs: int, save_every: int | None, threads: int) -> float | None:
    """All epochs, from the start or from where an unfinished run was saved; returns the last one's loss."""
    position = {"epoch": 1, "round": 0}  # what comes next
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
            share = (epoch - 1 + position["round"] / STRIPES) / epochs
            events.emit("progress", label=f"epoch {epoch}/{epochs}", done=round(share * visits * epochs),
                        total=visits * epochs, unit="steps")  # fmt: skip
            ended = position["round"] == STRIPES
            if ended:
                loss = learner.loss(epoch)
                text = f"epoch {epoch}/{epochs}: loss {loss:.5f}"
                events.emit("note", text=text, epoch=epoch, loss=loss)
                position = {"epoch": epoch + 1, "round": 0}
            stopping = stop.asked
            if position["epoch"] <= epochs and (stopping or saves.due(epoch if ended else None)):
                resume.save(run, learner.state, {**position, "loss": loss})
                saves.saved(stop=stopping, where=f"in epoch {epoch} of {epochs}")
    return loss


def _cost(given: cooccurrence.Cooccurrence, dim: int) -> dict[str, Any]:
    """What a dry run tells: sizes, the memory of the matrices and the vocabulary, and the disk of the sorted cells."""
    words, width = len(given.words), -(-dim // LANES) * LANES
    return {
        "vocab_size": words,
        "cells": len(given.cells.columns),
        "parameters": 2 * words * (dim + 1),
        "memory_bytes": 4 * 2 * words * 2 * (width + 1) + _BYTES_A_WORD * words,
        "disk_bytes": CELL.itemsize * len(given.cells.columns) * (STRIPES + 1) // STRIPES,
    }
