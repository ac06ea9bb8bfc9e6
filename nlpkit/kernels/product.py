"""The products of learning (nlpkit/kernels/product_code.py) as functions of tensors: where they may be used, who
shares the work.

They are for 32-bit numbers on a processor, of any widths, and loaded without numba (nlpkit/machine/native.py).
Elsewhere torch is asked. Which it is depends on a tensor's type and device, never on how many rows it has. Threads
share rows or columns of the result, of which each number is one sum in a written order.

Shapes: M rows, D and E widths.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from nlpkit.kernels.cost import count as count_operations
from nlpkit.kernels.pointwise import share
from nlpkit.kernels.shapes import BLOCK, HIGH, PANEL, ROWS
from nlpkit.machine import pages
from nlpkit.machine.native import Kernels

KERNELS = Kernels("nlpkit.kernels.product_code")
_KEPT = 1 << 18  # numbers of x that are made strips at once, a megabyte
_LAID = 1 << 19  # numbers of a weight that are laid in panels before they are multiplied
_COLUMNS = 1024  # of a weight that are turned before they are multiplied: they stay in the cache


def usable(*tensors: Tensor | None) -> bool:
    """Whether kernels take these tensors; one without memory (an estimate's) or of another kind not."""
    return not torch.is_autocast_enabled("cpu") and all(
        type(x) in (Tensor, nn.Parameter) and x.dtype == torch.float32 and x.device.type == "cpu"
        for x in tensors
        if x is not None
    )


def forward(x_MD: Tensor, weight_ED: Tensor, bias_E: Tensor | None, out_ME: Tensor | None = None) -> Tensor:
    """x weight^T + bias, [M, E]; in the place of ``out_ME`` if it is given, which is contiguous."""
    x_MD, weight_ED = x_MD.detach().contiguous(), weight_ED.detach().contiguous()
    (rows, depth), columns = x_MD.shape, len(weight_ED)
    panels, cost = -(-columns // PANEL), rows * depth * columns
    count_operations(2 * cost)
    bias_E = x_MD.new_zeros(columns) if bias_E is None else bias_E.detach().contiguous()
    out_ME = pages.empty(x_MD, rows, columns) if out_ME is None else out_ME
    x, weight, bias, out = x_MD.data_ptr(), weight_ED.data_ptr(), bias_E.data_ptr(), out_ME.data_ptr()
    turned, product = KERNELS.turned, KERNELS.product
    across = pages.empty(x_MD, depth * PANEL * (panels if rows >= columns else 0))

    def some_rows(begin: int, end: int) -> None:
        own = torch.empty((HIGH + BLOCK) * PANEL)
        product(x + 4 * begin * depth, depth, across.data_ptr(), PANEL, depth * PANEL, bias, out + 4 * begin * columns,
                columns, own.data_ptr(), own.data_ptr() + 4 * HIGH * PANEL, end - begin, depth, columns, 0)  # fmt: skip

    def some_columns(begin: int, end: int) -> None:
        step = _COLUMNS // PANEL
        own = torch.empty((HIGH + BLOCK + depth * min(step, end - begin)) * PANEL)
        at = own.data_ptr() + 4 * (HIGH + BLOCK) * PANEL
        for panel in range(begin, end, step):
            count, first = min(step, end - panel), panel * PANEL
            wide = min(columns - first, count * PANEL)
            turned(weight + 4 * first * depth, at, depth, wide, 0, count)
            product(x, depth, at, PANEL, depth * PANEL, bias + 4 * first, out + 4 * first, columns, own.data_ptr(),
                    own.data_ptr() + 4 * HIGH * PANEL, rows, depth, wide, 0)  # fmt: skip

    def turn(begin: int, end: int) -> None:
        turned(weight, across.data_ptr(), depth, columns, begin, end)

    if rows >= columns:
        share(turn, panels, 8 * columns * depth)
        share(some_rows, rows, cost, ROWS)
    else:
        share(some_columns, panels, cost)
    return out_ME


def input_gradient(dy_ME: Tensor, weight_ED: Tensor) -> Tensor:
    """dy weight, [M, D]."""
    dy_ME, weight_ED = dy_ME.detach().contiguous(), weight_ED.detach().contiguous()
    (rows, depth), columns = dy_ME.shape, weight_ED.shape[1]
    out_MD = pages.empty(dy_ME, rows, columns)
    count_operations(2 * rows * depth * columns)
    zeros, panels = dy_ME.new_zeros(columns), -(-columns // PANEL)
    dy, weight, out = dy_ME.data_ptr(), weight_ED.data_ptr(), out_MD.data_ptr()
    laid, product = KERNELS.laid, KERNELS.product
    part = max(BLOCK, _LAID // columns // BLOCK * BLOCK) if rows >= columns else 0
    all_laid = dy_ME.new_empty(min(part, depth) * PANEL * panels)

    def lay(begin: int, end: int, first: int) -> None:
        laid(weight + 4 * first * columns, all_laid.data_ptr(), min(part, depth - first), columns, begin, end)

    def some_rows(begin: int, end: int, first: int) -> None:
        deep, own = min(part, depth - first), torch.empty((HIGH + BLOCK) * PANEL)
        product(dy + 4 * (begin * depth + first), depth, all_laid.data_ptr(), PANEL, deep * PANEL, zeros.data_ptr(),
                out + 4 * begin * columns, columns, own.data_ptr(), own.data_ptr() + 4 * HIGH * PANEL, end - begin,
                deep, columns, int(first > 0))  # fmt: skip

    def some_columns(begin: int, end: int) -> None:
        own = torch.empty((HIGH + BLOCK) * PANEL)
        product(dy, depth, weight + 4 * begin, columns, PANEL, zeros.data_ptr(), out + 4 * begin, columns,
                own.data_ptr(), own.data_ptr() + 4 * HIGH * PANEL, rows, depth, end - begin, 0)  # fmt: skip

    if rows < columns:
        share(some_columns, columns, rows * depth * columns, PANEL)
        return out_MD
    for first in range(0, max(1, depth), part):
        share(partial(lay, first=first), panels, 8 * columns * min(part, depth - first))
        share(partial(some_rows, first=first), rows, rows * columns * min(part, depth - first), ROWS)
    return out_MD


def weight_gradient(
    dy_ME: Tensor, x_MD: Tensor, dweight_ED: Tensor, dbias_E: Tensor | None, *, adding: bool = False
) -> None:
    """dy^T x in dweight, and the sum of dy in dbias, if there is one; added to what is there if ``adding``."""
    dy_ME, x_MD = dy_ME.detach().contiguous(), x_MD.detach().contiguous()
    if not len(x_MD) and not adding:
        dweight_ED.zero_()
        _ = dbias_E if dbias_E is None else dbias_E.zero_()
    across = x_MD.shape[1] > dy_ME.shape[1]  # the narrower one is put into strips, which takes time
    left, right = (dy_ME, x_MD) if across else (x_MD, dy_ME)
    (rows, width), columns = left.shape, right.shape[1]
    count_operations(2 * rows * width * columns)
    count, panels = -(-width // ROWS), -(-columns // PANEL)
    step = max(1, _KEPT // (width * BLOCK)) * BLOCK
    strips = x_MD.new_empty(min(step, rows) * count * ROWS + 8)
    make, gradient = KERNELS.strips, KERNELS.gradient
    biased, dbias = dbias_E is not None, 0 if dbias_E is None else dbias_E.data_ptr()
    if across and biased and rows:
        _sums(dy_ME, dbias, adding=adding)
    for first in range(0, rows, step):
        tokens = min(step, rows - first)
        x, y = left.data_ptr() + 4 * first * width, right.data_ptr() + 4 * first * columns
        flags = (int(adding or first > 0), int(biased and not across), int(across))

        def put(begin: int, end: int, x: int = x, tokens: int = tokens) -> None:
            make(x, strips.data_ptr(), tokens, width, begin, end)

        def work(begin: int, end: int, y: int = y, tokens: int = tokens, flags: tuple[int, int, int] = flags) -> None:
            own = torch.empty((width + 1 + BLOCK) * PANEL)
            gradient(strips.data_ptr(), y, dweight_ED.data_ptr(), dbias, own.data_ptr(),
                     own.data_ptr() + 4 * (width + 1) * PANEL, tokens, width, columns, *flags, begin, end)  # fmt: skip

        share(put, count, 8 * tokens * width)
        share(work, panels, tokens * width * columns)


def _sums(dy_ME: Tensor, dbias: int, *, adding: bool) -> None:
    """The sum of dy for `weight_gradient`."""
    (rows, columns), kernel, dy = dy_ME.shape, KERNELS.sums, dy_ME.data_ptr()

    def work(begin: int, end: int) -> None:
        own = torch.empty(end - begin)
        kernel(dy, dbias, own.data_ptr(), rows, columns, int(adding), begin, end)

    share(work, columns, 8 * rows * columns, PANEL)
