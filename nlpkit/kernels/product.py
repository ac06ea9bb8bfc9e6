"""The products of training (nlpkit/kernels/product_code.py) as functions of tensors: when they may be used, and how
they are run in threads.

They are for float32 on a CPU, of any widths, and loaded without numba (nlpkit/machine/native.py). Elsewhere torch
multiplies. The choice depends on a tensor's type and device, never on its number of rows. Threads compute different
rows or columns of the result, of which each number is one sum in a written order.

Shapes: M rows, D and E widths.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from nlpkit.kernels.cost import count as count_operations
from nlpkit.kernels.pointwise import run_in_threads
from nlpkit.kernels.shapes import BLOCK, PANEL, ROWS, TALL
from nlpkit.machine import pages
from nlpkit.machine.native import Kernels

KERNELS = Kernels("nlpkit.kernels.product_code")
_ROW_BLOCKS = 1 << 18  # numbers of x that are packed in row blocks at once, a megabyte
_PANELS = 1 << 19  # numbers of a weight that are packed in panels before they are multiplied
_COLUMNS = 1024  # of a weight that are transposed before they are multiplied: they stay in the cache


def usable(*tensors: Tensor | None) -> bool:
    """Whether kernels take these tensors; not if one has no memory (memory plans) or is of another class."""
    return not torch.is_autocast_enabled("cpu") and all(
        type(x) in (Tensor, nn.Parameter) and x.dtype == torch.float32 and x.device.type == "cpu"
        for x in tensors
        if x is not None
    )


def _addresses(workspace: Tensor, rows: int = TALL) -> tuple[int, int]:
    """A kernel's workspace of ``rows`` x PANEL numbers, and the panel behind it."""
    return workspace.data_ptr(), workspace.data_ptr() + 4 * rows * PANEL


def forward(x_MD: Tensor, weight_ED: Tensor, bias_E: Tensor | None, out_ME: Tensor | None = None) -> Tensor:
    """x weight^T + bias, [M, E], written to ``out_ME`` if it is passed, which is contiguous."""
    x_MD, weight_ED = x_MD.detach().contiguous(), weight_ED.detach().contiguous()
    (rows, depth), columns = x_MD.shape, len(weight_ED)
    panels, cost = -(-columns // PANEL), rows * depth * columns
    count_operations(2 * cost)
    bias_E = x_MD.new_zeros(columns) if bias_E is None else bias_E.detach().contiguous()
    out_ME = pages.empty(x_MD, rows, columns) if out_ME is None else out_ME
    x, weight, bias, out = x_MD.data_ptr(), weight_ED.data_ptr(), bias_E.data_ptr(), out_ME.data_ptr()
    pack_transposed, product = KERNELS.pack_transposed, KERNELS.product
    packed = pages.empty(x_MD, depth * PANEL * (panels if rows >= columns else 0))

    def some_rows(begin: int, end: int) -> None:
        workspace = torch.empty((TALL + BLOCK) * PANEL)
        left = x + 4 * begin * depth, depth
        right = packed.data_ptr(), PANEL, depth * PANEL, bias
        result = out + 4 * begin * columns, columns
        product(*left, *right, *result, *_addresses(workspace), end - begin, depth, columns, 0)

    def some_columns(begin: int, end: int) -> None:
        step = _COLUMNS // PANEL
        workspace = torch.empty((TALL + BLOCK + depth * min(step, end - begin)) * PANEL)
        at = workspace.data_ptr() + 4 * (TALL + BLOCK) * PANEL
        for panel in range(begin, end, step):
            count, first = min(step, end - panel), panel * PANEL
            wide = min(columns - first, count * PANEL)
            pack_transposed(weight + 4 * first * depth, at, depth, wide, 0, count)
            right = at, PANEL, depth * PANEL, bias + 4 * first
            product(x, depth, *right, out + 4 * first, columns, *_addresses(workspace), rows, depth, wide, 0)

    def pack(begin: int, end: int) -> None:
        pack_transposed(weight, packed.data_ptr(), depth, columns, begin, end)

    if rows >= columns:
        run_in_threads(pack, panels, 8 * columns * depth)
        run_in_threads(some_rows, rows, cost, ROWS)
    else:
        run_in_threads(some_columns, panels, cost)
    return out_ME


def input_gradient(dy_ME: Tensor, weight_ED: Tensor) -> Tensor:
    """dy weight, [M, D]."""
    dy_ME, weight_ED = dy_ME.detach().contiguous(), weight_ED.detach().contiguous()
    (rows, depth), columns = dy_ME.shape, weight_ED.shape[1]
    out_MD = pages.empty(dy_ME, rows, columns)
    count_operations(2 * rows * depth * columns)
    zeros, panels = dy_ME.new_zeros(columns), -(-columns // PANEL)
    dy, weight, out = dy_ME.data_ptr(), weight_ED.data_ptr(), out_MD.data_ptr()
    pack, product = KERNELS.pack, KERNELS.product
    part = max(BLOCK, _PANELS // columns // BLOCK * BLOCK) if rows >= columns else 0
    packed = dy_ME.new_empty(min(part, depth) * PANEL * panels)

    def pack_part(begin: int, end: int, first: int) -> None:
        pack(weight + 4 * first * columns, packed.data_ptr(), min(part, depth - first), columns, begin, end)

    def some_rows(begin: int, end: int, first: int) -> None:
        deep, workspace = min(part, depth - first), torch.empty((TALL + BLOCK) * PANEL)
        left = dy + 4 * (begin * depth + first), depth
        right = packed.data_ptr(), PANEL, deep * PANEL, zeros.data_ptr()
        result = out + 4 * begin * columns, columns
        product(*left, *right, *result, *_addresses(workspace), end - begin, deep, columns, int(first > 0))

    def some_columns(begin: int, end: int) -> None:
        workspace = torch.empty((TALL + BLOCK) * PANEL)
        right = weight + 4 * begin, columns, PANEL, zeros.data_ptr()
        product(dy, depth, *right, out + 4 * begin, columns, *_addresses(workspace), rows, depth, end - begin, 0)

    if rows < columns:
        run_in_threads(some_columns, columns, rows * depth * columns, PANEL)
        return out_MD
    for first in range(0, max(1, depth), part):
        run_in_threads(partial(pack_part, first=first), panels, 8 * columns * min(part, depth - first))
        run_in_threads(partial(some_rows, first=first), rows, rows * columns * min(part, depth - first), ROWS)
    return out_MD


def weight_gradient(
    dy_ME: Tensor, x_MD: Tensor, dweight_ED: Tensor, dbias_E: Tensor | None, *, adding: bool = False
) -> None:
    """Write dy^T x to dweight, and the sum of dy to dbias if there is one; add to them if ``adding``."""
    dy_ME, x_MD = dy_ME.detach().contiguous(), x_MD.detach().contiguous()
    if not len(x_MD) and not adding:
        dweight_ED.zero_()
        _ = dbias_E if dbias_E is None else dbias_E.zero_()
    by_rows = x_MD.shape[1] > dy_ME.shape[1]  # pack the narrower one in row blocks, which takes time
    left, right = (dy_ME, x_MD) if by_rows else (x_MD, dy_ME)
    (rows, width), columns = left.shape, right.shape[1]
    count_operations(2 * rows * width * columns)
    count, panels = -(-width // ROWS), -(-columns // PANEL)
    step = max(1, _ROW_BLOCKS // (width * BLOCK)) * BLOCK
    packed = x_MD.new_empty(min(step, rows) * count * ROWS + 8)
    pack_row_blocks, gradient = KERNELS.pack_row_blocks, KERNELS.gradient
    biased, dbias = dbias_E is not None, 0 if dbias_E is None else dbias_E.data_ptr()
    if by_rows and biased and rows:
        _bias_gradient(dy_ME, dbias, adding=adding)
    for first in range(0, rows, step):
        tokens = min(step, rows - first)
        x, y = left.data_ptr() + 4 * first * width, right.data_ptr() + 4 * first * columns
        flags = (int(adding or first > 0), int(biased and not by_rows), int(by_rows))

        def pack(begin: int, end: int, x: int = x, tokens: int = tokens) -> None:
            pack_row_blocks(x, packed.data_ptr(), tokens, width, begin, end)

        def work(begin: int, end: int, y: int = y, tokens: int = tokens, flags: tuple[int, int, int] = flags) -> None:
            workspace = torch.empty((width + 1 + BLOCK) * PANEL)
            results = dweight_ED.data_ptr(), dbias, *_addresses(workspace, width + 1)
            gradient(packed.data_ptr(), y, *results, tokens, width, columns, *flags, begin, end)

        run_in_threads(pack, count, 8 * tokens * width)
        run_in_threads(work, panels, tokens * width * columns)


def _bias_gradient(dy_ME: Tensor, dbias: int, *, adding: bool) -> None:
    """The sum of dy for `weight_gradient`."""
    (rows, columns), kernel, dy = dy_ME.shape, KERNELS.column_sums, dy_ME.data_ptr()

    def work(begin: int, end: int) -> None:
        workspace = torch.empty(end - begin)
        kernel(dy, dbias, workspace.data_ptr(), rows, columns, int(adding), begin, end)

    run_in_threads(work, columns, 8 * rows * columns, PANEL)
