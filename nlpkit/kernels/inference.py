"""The kernels of inference (nlpkit/kernels/inference_code.py) as functions of tensors: they allocate results and run
kernels in threads.

They are loaded without numba (nlpkit/machine/native.py) and take addresses: a small model computes a token in half a
millisecond, of which numpy would need a third to return the addresses of its arrays. All tensors are float32 on a CPU,
without gradients.

Shapes: M rows, D and E widths, P columns of panels, H heads of queries, K heads of keys and values, W width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlpkit.kernels import attention
from nlpkit.kernels.attention import Bias, View
from nlpkit.kernels.pointwise import WORTH_A_THREAD, run_in_threads
from nlpkit.kernels.shapes import INT8_ROWS, PANEL, ROWS
from nlpkit.machine import pages
from nlpkit.machine.native import Kernels

KERNELS = Kernels("nlpkit.kernels.inference_code")


def usable(x: Tensor, step: int = 8) -> bool:
    """Whether kernels that take ``step`` numbers at once take this width."""
    return x.shape[-1] % step == 0


def panels(weight_ED: Tensor) -> Tensor:
    """Weights packed for `product`, [P / PANEL, D, PANEL] (nlpkit/kernels/panels_code.py), padded with zeros."""
    weight_ED = weight_ED.detach()
    rest = -len(weight_ED) % PANEL
    if rest:
        weight_ED = torch.nn.functional.pad(weight_ED, (0, 0, 0, rest))
    return weight_ED.view(-1, PANEL, weight_ED.shape[1]).transpose(1, 2).contiguous()


def product(x_MD: Tensor, panels: Tensor, bias_P: Tensor) -> Tensor:
    """x weight^T + bias, [M, P]."""
    x_MD, (rows, depth) = x_MD.contiguous(), x_MD.shape
    count = len(panels)
    columns = count * PANEL
    out_MP = pages.empty(x_MD, rows, columns)
    kernel = KERNELS.product
    x, weight, bias, out = x_MD.data_ptr(), panels.data_ptr(), bias_P.data_ptr(), out_MP.data_ptr()
    cost = rows * depth * columns
    if cost < 2 * WORTH_A_THREAD or torch.get_num_threads() == 1:
        kernel(x, weight, bias, out, rows, depth, columns, 0, count)
    elif rows < 64:
        run_in_threads(lambda begin, end: kernel(x, weight, bias, out, rows, depth, columns, begin, end), count, cost)
    else:

        def some_rows(begin: int, end: int) -> None:
            first, result = x + 4 * begin * depth, out + 4 * begin * columns
            kernel(first, weight, bias, result, end - begin, depth, columns, 0, count)

        run_in_threads(some_rows, rows, cost, ROWS)
    return out_MP


def norm(x_MD: Tensor, weight_D: Tensor, bias_D: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) weight + bias of each row. D is a multiple of 8."""
    x_MD, out_MD = x_MD.contiguous(), torch.empty_like(x_MD)
    rows, width = x_MD.shape
    kernel = KERNELS.norm
    x, weight, bias, out = x_MD.data_ptr(), weight_D.data_ptr(), bias_D.data_ptr(), out_MD.data_ptr()

    def some_rows(begin: int, end: int) -> None:
        kernel(x + 4 * begin * width, weight, bias, out + 4 * begin * width, end - begin, width, eps)

    run_in_threads(some_rows, rows, 32 * rows * width)
    return out_MD


def gelu(x_MD: Tensor, *, tanh: bool) -> Tensor:
    """GELU, exact or by tanh, in place. M D is a multiple of 8."""
    kernel = KERNELS.gelu_tanh if tanh else KERNELS.gelu
    x_MD = x_MD.contiguous()
    x, size = x_MD.data_ptr(), x_MD.numel()
    run_in_threads(lambda begin, end: kernel(x, x, 8 * begin, 8 * end), size // 8, 64 * size)
    return x_MD


def attend(
    q_MX: Tensor,
    k_NX: Tensor,
    v_NX: Tensor,
    view: View,
    memory: tuple[Tensor, Tensor] | None = None,
    *,
    heads: int,
    kv_heads: int,
    scale: float,
    bias: Bias | None = None,
    crossing: bool = False,
    filled: bool = False,
) -> Tensor:
    """softmax(q k^T scale + mask + bias) v inside of each sequence, [M, H W].

    Queries [M, H W] and keys and values [N, K W] may be columns of a larger tensor. ``memory`` is the cache of keys,
    [B, panels, K, W, PANEL], and values, [B, S, K W]; it has those that were read before, and gets those of the
    queries' rows, or, ``crossing``, all keys, unless it is ``filled``. W is a multiple of 8.
    """
    rows, model = q_MX.shape
    width = model // heads
    units, masks = attention.described(view, heads, bias)
    out_MX, longest = torch.empty(rows, model), max(view.keys.lengths, default=0)
    wide = -(-longest // PANEL) * PANEL
    kernel, threads = KERNELS.attend, torch.get_num_threads()
    inputs = q_MX.data_ptr(), k_NX.data_ptr(), v_NX.data_ptr()
    values = out_MX if bias is None else bias.values
    others = masks.data_ptr(), values.data_ptr(), units.data_ptr(), out_MX.data_ptr()
    panels = 0 if memory is None else memory[0].shape[1]
    way = 0 if memory is None else 3 if filled else 2 if crossing else 1
    numbers = scale, heads, kv_heads, width, q_MX.stride(0), k_NX.stride(0), panels, way

    def work(begin: int, end: int) -> None:
        if memory is None:  # keys are packed in the thread's workspace, values are read where they are
            workspace = torch.empty((ROWS + width) * wide)
            at = workspace.data_ptr()
            stored = at + 4 * ROWS * wide, inputs[2]
        else:
            workspace = torch.empty(ROWS * wide)
            at = workspace.data_ptr()
            stored = memory[0].data_ptr(), memory[1].data_ptr()
        kernel(*inputs, *stored, *others, at, *numbers, begin, end, threads)

    run_in_threads(work, threads, 2 * rows * longest * model)
    return out_MX


def rounded(x_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Each row quantised to int8, and its scale, [M]. D: see `usable`."""
    rows, width = x_MD.shape
    q_MD, scale_M = torch.empty(rows, width, dtype=torch.int8), torch.empty(rows)
    kernel = KERNELS.rounded
    x, q, scale = x_MD.data_ptr(), q_MD.data_ptr(), scale_M.data_ptr()

    def some_rows(begin: int, end: int) -> None:
        kernel(x + 4 * begin * width, q + begin * width, scale + 4 * begin, end - begin, width)

    run_in_threads(some_rows, rows, 32 * rows * width)
    return q_MD, scale_M


def scaled(sums_ME: Tensor, rows_M: Tensor, columns_E: Tensor, bias_E: Tensor) -> Tensor:
    """Integers times a row's and a column's scale, plus a bias. Of any E."""
    rows, width = sums_ME.shape
    out_ME = torch.empty(rows, width)
    kernel = KERNELS.scaled
    sums, scale, out = sums_ME.data_ptr(), rows_M.data_ptr(), out_ME.data_ptr()
    columns, bias = columns_E.data_ptr(), bias_E.data_ptr()

    def some_rows(begin: int, end: int) -> None:
        first, result = sums + 4 * begin * width, out + 4 * begin * width
        kernel(first, scale + 4 * begin, columns, bias, result, end - begin, width)

    run_in_threads(some_rows, rows, 32 * rows * width)
    return out_ME


def product8(x_MD: Tensor, weight_ED: Tensor, columns_E: Tensor, bias_E: Tensor) -> Tensor:
    """`rounded`, the product with int8 weights, and `scaled`: [M, E]. D is a multiple of 8."""
    (rows, depth), columns = x_MD.shape, len(weight_ED)
    out_ME = pages.empty(x_MD, rows, columns)
    kernel = KERNELS.product8
    x, weight, out = x_MD.data_ptr(), weight_ED.data_ptr(), out_ME.data_ptr()
    scale, bias = columns_E.data_ptr(), bias_E.data_ptr()

    def work(top: int, last: int, begin: int, end: int) -> None:
        q, rest = torch.empty(min(INT8_ROWS, rows) * depth, dtype=torch.int16), torch.empty(INT8_ROWS + 8)
        first, result = x + 4 * top * depth, out + 4 * top * columns
        workspace = q.data_ptr(), rest.data_ptr(), rest.data_ptr() + 4 * INT8_ROWS
        kernel(first, weight, scale, bias, result, *workspace, last - top, depth, columns, begin, end)

    if rows < 2 * INT8_ROWS:
        run_in_threads(lambda begin, end: work(0, rows, begin, end), columns, rows * depth * columns, 4)
    else:
        run_in_threads(lambda begin, end: work(begin, end, 0, columns), rows, rows * depth * columns, 2)
    return out_ME
