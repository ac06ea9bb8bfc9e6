"""The products of answers beside torch's linear layer, alone: rows of a batch with weights, one thread.

For many rows the speed of computing matters (GFLOPS); for one row, a token of a text that is written, that of reading
weights (GB/s): those of a small model, which stay in the cache, and those of a large one, which do not. Each is the
best of many slices, ours and torch's in turn.

    python benchmarks/products.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn

from nlpkit.layers.answering import Product


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


if __name__ == "__main__":
    main()
