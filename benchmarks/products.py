"""The products of answers and of training beside torch's, alone: rows of a batch with weights, one thread.

For many rows the speed of computing matters (GFLOPS); for one row, a token of a text that is written, that of reading
weights (GB/s): those of a small model, which stay in the cache, and those of a large one, which do not. In training
there are three products of a layer: the result, the gradient of its input, and those of its weight and bias. Each is
the best of many slices, ours and torch's in turn.

    python benchmarks/products.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn

from nlpkit.kernels import product
from nlpkit.layers.inference import Product


def best(sides: Sequence[Callable[[], object]], tries: int = 25) -> list[float]:
    """Seconds of processor time of each side, least of all tries."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(tries):
        for side, found in zip(sides, times, strict=True):
            began = time.process_time()
            side()
            found.append(time.process_time() - began)
    return [min(found) for found in times]


def row(name: str, rows: int, depth: int, columns: int, megabytes: int, unit: str) -> None:
    """A pass over as many weights as ``megabytes`` hold."""
    layers = [nn.Linear(depth, columns) for _ in range(max(1, megabytes * 2**20 // (4 * depth * columns)))]
    products, x_MD = [Product(layer.weight, layer.bias) for layer in layers], torch.randn(rows, depth)

    def passed(parts: Sequence[nn.Module], x_MD: Tensor = x_MD) -> None:
        for part in parts:
            part(x_MD)

    torchs, ours = best([lambda: passed(layers), lambda: passed(products)])
    done = len(layers) * depth * columns * (4 if unit == "GB/s" else 2 * rows) / 1e9
    print(f"| {name} | {done / torchs:.0f} | {done / ours:.0f} {unit} | {torchs / ours:.2f} |", flush=True)


def learnt(rows: int, depth: int, columns: int) -> None:
    """The three products of a layer in training, as a row of the table."""
    x, weight, bias, dy = (torch.randn(size) for size in ((rows, depth), (columns, depth), (columns,), (rows, columns)))
    dweight, dbias = torch.zeros(columns, depth), torch.zeros(columns)

    def gradients() -> None:
        dweight.addmm_(dy.T, x)
        dbias.add_(dy.sum(0))

    sides = [
        (lambda: torch.addmm(bias, x, weight.T), lambda: product.forward(x, weight, bias)),
        (lambda: torch.mm(dy, weight), lambda: product.input_gradient(dy, weight)),
        (gradients, lambda: product.weight_gradient(dy, x, dweight, dbias, adding=True)),
    ]
    cells, took, done = [], [0.0, 0.0], 2 * rows * depth * columns / 1e9
    for pair in sides:
        torchs, ours = best(pair, 15)
        took = [took[0] + torchs, took[1] + ours]
        cells.append(f"{done / torchs:.0f}, {done / ours:.0f}: {torchs / ours:.2f}")
    print(f"| {rows:,} x {depth} -> {columns:,} | {' | '.join(cells)} | {took[0] / took[1]:.2f} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| product | torch | ours | ratio |\n|---|---|---|---|")
    with torch.inference_mode():
        for rows in (40, 4096):
            for depth, columns in ((256, 1024), (1024, 256), (768, 3072)):
                row(f"{rows:,} x {depth} with {depth} x {columns}", rows, depth, columns, 0, "GFLOPS")
        for megabytes in (16, 400):
            row(f"one row, {megabytes} MB of weights", 1, 768, 3072, megabytes, "GB/s")
        print("\n| layer (GFLOPS: torch, ours) | result | input's | weight's and bias's | all |\n|---|---|---|---|---|")
        for rows, depth, columns in (
            (4096, 256, 256),
            (4096, 256, 1024),
            (4096, 1024, 256),
            (614, 256, 8000),
            (614, 256, 30000),
            (1024, 256, 8000),
            (4096, 768, 768),
            (4096, 768, 3072),
        ):
            learnt(rows, depth, columns)


if __name__ == "__main__":
    main()
