"""The kernels of answers (nlpkit/kernels/answer_code.py) as functions of tensors: what is made, who shares the work.

They are loaded without numba (nlpkit/machine/native.py) and called with places in memory: a token of a small model is
answered in half a millisecond, and asking numpy where an array lies would cost a third of it. All tensors are of 32-bit
numbers on a processor, without gradients.

Shapes: M rows, D and E widths, P columns of panels, H heads, W width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlpkit.kernels.pointwise import LEAST, share
from nlpkit.kernels.shapes import PANEL, ROWS, WHOLE
from nlpkit.machine import pages
from nlpkit.machine.native import Kernels

KERNELS = Kernels("nlpkit.kernels.answer_code")


def usable(x: Tensor, step: int = 8) -> bool:
    """Whether kernels that take ``step`` numbers at a time take this width."""
    return x.shape[-1] % step == 0


def panels(weight_ED: Tensor) -> Tensor:
    """Weights as `product` reads them, [P / PANEL, D, PANEL]: columns are filled up with zeros."""
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
    if cost < 2 * LEAST or torch.get_num_threads() == 1:
        kernel(x, weight, bias, out, rows, depth, columns, 0, count)
    elif rows < 64:
        share(lambda begin, end: kernel(x, weight, bias, out, rows, depth, columns, begin, end), count, cost)
    else:
        share(lambda begin, end: kernel(x + 4 * begin * depth, weight, bias, out + 4 * begin * columns, end - begin,
                                         depth, columns, 0, count), rows, cost, ROWS)  # fmt: skip
    return out_MP


def norm(x_MD: Tensor, weight_D: Tensor, bias_D: Tensor, eps: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) weight + bias of each row. D is a multiple of 8."""
    x_MD, out_MD = x_MD.contiguous(), torch.empty_like(x_MD)
    rows, width = x_MD.shape
    kernel = KERNELS.norm
    x, weight, bias, out = x_MD.data_ptr(), weight_D.data_ptr(), bias_D.data_ptr(), out_MD.data_ptr()
    share(lambda begin, end: kernel(x + 4 * begin * width, weight, bias, out + 4 * begin * width, end - begin, width,
                                     eps), rows, 32 * rows * width)  # fmt: skip
    return out_MD


def gelu(x_MD: Tensor, *, tanh: bool) -> Tensor:
    """GELU, exact or by tanh, in the place of x. M D is a multiple of 8."""
    kernel = KERNELS.gelu_tanh if tanh else KERNELS.gelu
    x_MD = x_MD.contiguous()
    x, size = x_MD.data_ptr(), x_MD.numel()
    share(lambda begin, end: kernel(x, x, 8 * begin, 8 * end), size // 8, 64 * size)
    return x_MD


def attend(
    qkv: Tensor,
    memory: tuple[Tensor, Tensor] | None,
    *,
    heads: int,
    scale: float,
    sequences: int,
    before: int = 0,
    causal: bool = False,
    mask: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T scale + mask) v inside of each sequence, [M, H W].

    qkv [M, 3 H W]: sequences of one length. ``memory`` has room for all keys, [panels, sequences, H, W, PANEL], and
    values, [S, sequences, H W], of which ``before`` are there; the new ones are added. With ``causal`` a token sees
    itself and those before it; ``mask`` is [sequences, H, T, S]. W is a multiple of 8.
    """
    qkv = qkv.contiguous()
    rows, model = len(qkv), qkv.shape[1] // 3
    width, queries = model // heads, rows // sequences
    keys = before + queries
    wide = -(-keys // PANEL) * PANEL
    out_MD = torch.empty(rows, model)
    given, out = qkv.data_ptr(), out_MD.data_ptr()
    kernel = KERNELS.attend
    mask_place = 0 if mask is None else mask.data_ptr()
    flags = (causal, mask is not None)

    def work(begin: int, end: int) -> None:
        if memory is None:  # keys lie in a room of this thread, values where the product left them
            own = torch.empty((ROWS + width) * wide)
            at = own.data_ptr()
            steps = (0, width * PANEL, 3 * model, 3 * model * queries, 0)
            places = (at + 4 * ROWS * wide, given + 8 * model)
        else:
            own = torch.empty(ROWS * wide)
            at = own.data_ptr()
            steps = (width * PANEL, sequences * model * PANEL, sequences * model, model, 1)
            places = (memory[0].data_ptr(), memory[1].data_ptr())
        kernel(given, *places, mask_place, out, at, scale, heads, width, queries, before, *steps, *flags, begin, end)

    share(work, sequences * heads, 2 * rows * keys * model)
    return out_MD


def rounded(x_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as whole numbers from -127 to 127, and the scale by which they are multiplied, [M]. D: see `usable`."""
    rows, width = x_MD.shape
    whole_MD, scale_M = torch.empty(rows, width, dtype=torch.int8), torch.empty(rows)
    kernel = KERNELS.rounded
    x, whole, scale = x_MD.data_ptr(), whole_MD.data_ptr(), scale_M.data_ptr()
    share(lambda begin, end: kernel(x + 4 * begin * width, whole + begin * width, scale + 4 * begin, end - begin,
                                     width), rows, 32 * rows * width)  # fmt: skip
    return whole_MD, scale_M


def scaled(sums_ME: Tensor, rows_M: Tensor, columns_E: Tensor, bias_E: Tensor) -> Tensor:
    """Whole numbers times a row's and a column's scale, plus a bias. Of any E."""
    rows, width = sums_ME.shape
    out_ME = torch.empty(rows, width)
    kernel = KERNELS.scaled
    sums, scale, out = sums_ME.data_ptr(), rows_M.data_ptr(), out_ME.data_ptr()
    columns, bias = columns_E.data_ptr(), bias_E.data_ptr()
    share(lambda begin, end: kernel(sums + 4 * begin * width, scale + 4 * begin, columns, bias,
                                     out + 4 * begin * width, end - begin, width), rows, 32 * rows * width)  # fmt: skip
    return out_ME


def product8(x_MD: Tensor, weight_ED: Tensor, columns_E: Tensor, bias_E: Tensor) -> Tensor:
    """`rounded`, the product with weights of 8 bits, and `scaled`: [M, E]. D is a multiple of 8."""
    (rows, depth), columns = x_MD.shape, len(weight_ED)
    out_ME = pages.empty(x_MD, rows, columns)
    kernel = KERNELS.product8
    x, weight, out = x_MD.data_ptr(), weight_ED.data_ptr(), out_ME.data_ptr()
    scale, bias = columns_E.data_ptr(), bias_E.data_ptr()

    def work(top: int, last: int, begin: int, end: int) -> None:
        whole, rest = torch.empty(min(WHOLE, rows) * depth, dtype=torch.int16), torch.empty(WHOLE + 8)
        kernel(x + 4 * top * depth, weight, scale, bias, out + 4 * top * columns, whole.data_ptr(), rest.data_ptr(),
               rest.data_ptr() + 4 * WHOLE, last - top, depth, columns, begin, end)  # fmt: skip

    if rows < 2 * WHOLE:
        share(lambda begin, end: work(0, rows, begin, end), columns, rows * depth * columns, 4)
    else:
        share(lambda begin, end: work(begin, end, 0, columns), rows, rows * depth * columns, 2)
    return out_ME
