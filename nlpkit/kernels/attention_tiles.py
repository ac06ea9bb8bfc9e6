"""The products of nlpkit/kernels/attention_code.py, by tiles (nlpkit/kernels/tile.py).

With a causal mask the query of row r attends to the keys up to r + ``ahead``; tiles that are masked as a whole are left
out. Widths are multiples of `PAD`, and there are rows up to a multiple of `ROWS`.
"""

from __future__ import annotations

from typing import Any

from nlpkit.kernels.panels_code import TILE, store_rows
from nlpkit.kernels.shapes import KEYS, PAD, PANEL, ROWS
from nlpkit.kernels.tile import adding_tile, tile
from nlpkit.machine.kernel import helper
from nlpkit.machine.simd import LANES, item, load, put, transposed

_HALF = max(PANEL // 2, LANES)
_SHAPES = TILE, (_HALF // TILE[1], TILE[1]), (PAD // TILE[1], TILE[1])
_wide0, _half0, _least0 = (tile(ROWS, *shape) for shape in _SHAPES)
_wide1, _half1, _least1 = (adding_tile(ROWS, *shape) for shape in _SHAPES)
_wide6, _half6, _least6 = (adding_tile(ROWS, *shape, block_rows=KEYS) for shape in _SHAPES)
_wide4, _half4, _least4 = (adding_tile(4, *shape, block_rows=KEYS) for shape in _SHAPES)
ALL = 1 << 40  # without a causal mask


@helper
def multiply(
    x_: Any,
    x: int,
    w_: Any,
    w: int,
    depth: int,
    step_x: int,
    out_: Any,
    out: int,
    step_out: int,
    rows: int,
    columns: int,
    ahead: int,
) -> int:
    """out [rows, columns] = x w, w [depth, KEYS]; columns beyond r + ``ahead`` of row r may be left out."""
    column = 0
    while column < columns:
        begin, left = max(0, column - ahead) // ROWS * ROWS, columns - column
        at, to = w + column, out + column
        if left >= PANEL:
            for row in range(begin, rows, ROWS):
                _wide0(x_, x + row * step_x, step_x, w_, at, KEYS, depth, out_, to + row * step_out, step_out)
            column += PANEL
        elif left >= _HALF:
            for row in range(begin, rows, ROWS):
                _half0(x_, x + row * step_x, step_x, w_, at, KEYS, depth, out_, to + row * step_out, step_out)
            column += _HALF
        else:
            for row in range(begin, rows, ROWS):
                _least0(x_, x + row * step_x, step_x, w_, at, KEYS, depth, out_, to + row * step_out, step_out)
            column += PAD
    return 0


@helper
def add_product(
    x_: Any, x: int, step_x: int, w_: Any, w: int, depth: int, out_: Any, out: int, rows: int, columns: int, ahead: int
) -> int:
    """out [rows, columns] += x w, w [depth, columns]; the depth of a tile ends where x is 0 in all its rows, beyond
    r + ``ahead`` of its last row r."""
    column = 0
    while column < columns:
        left = columns - column
        for row in range(0, rows, ROWS):
            at, to, deep = x + row * step_x, out + row * columns + column, min(depth, row + ROWS + ahead)
            if deep <= 0:
                continue
            if left >= PANEL:
                _wide1(x_, at, step_x, w_, w + column, columns, deep, out_, to, columns, out_, to, columns)
            elif left >= _HALF:
                _half1(x_, at, step_x, w_, w + column, columns, deep, out_, to, columns, out_, to, columns)
            else:
                _least1(x_, at, step_x, w_, w + column, columns, deep, out_, to, columns, out_, to, columns)
        column += PANEL if left >= PANEL else _HALF if left >= _HALF else PAD
    return 0


@helper
def add_transposed_product(
    x_: Any, x: int, w_: Any, w: int, depth: int, out_: Any, out: int, rows: int, columns: int, ahead: int
) -> int:
    """out [rows, columns] += x^T w, x [depth, KEYS], w [depth, columns]; row r of x is 0 beyond r + ``ahead``."""
    column = 0
    while column < columns:
        left = columns - column
        for row in range(0, rows, ROWS):
            start = max(0, row - ahead)
            deep, at, to = depth - start, x + start * KEYS + row, out + row * columns + column
            by = w + start * columns + column
            if deep <= 0:
                continue
            if row + ROWS <= KEYS:
                if left >= PANEL:
                    _wide6(x_, at, 1, w_, by, columns, deep, out_, to, columns, out_, to, columns)
                elif left >= _HALF:
                    _half6(x_, at, 1, w_, by, columns, deep, out_, to, columns, out_, to, columns)
                else:
                    _least6(x_, at, 1, w_, by, columns, deep, out_, to, columns, out_, to, columns)
            elif left >= PANEL:
                _wide4(x_, at, 1, w_, by, columns, deep, out_, to, columns, out_, to, columns)
            elif left >= _HALF:
                _half4(x_, at, 1, w_, by, columns, deep, out_, to, columns, out_, to, columns)
            else:
                _least4(x_, at, 1, w_, by, columns, deep, out_, to, columns, out_, to, columns)
        column += PANEL if left >= PANEL else _HALF if left >= _HALF else PAD
    return 0


@helper
def pack_rows_transposed(x_: Any, x: int, step: int, width: int, out_: Any, out: int, rows: int) -> int:
    """Pack x^T, x [rows, W], in blocks [W, KEYS]. The last row is repeated up to a multiple of `PAD`."""
    for begin in range(0, (rows + PAD - 1) // PAD * PAD, LANES):
        to, k = out + begin // KEYS * KEYS * width + begin % KEYS, 0
        at, last = x + min(begin, rows - 1) * step, max(0, rows - 1 - begin)
        b, c, d = at + min(1, last) * step, at + min(2, last) * step, at + min(3, last) * step
        e, f = at + min(4, last) * step, at + min(5, last) * step
        g, h = at + min(6, last) * step, at + min(7, last) * step
        while k + LANES <= width:
            first_four = load(x_, at + k), load(x_, b + k), load(x_, c + k), load(x_, d + k)
            last_four = load(x_, e + k), load(x_, f + k), load(x_, g + k), load(x_, h + k)
            store_rows(transposed(*first_four, *last_four), out_, to + k * KEYS, KEYS)
            k += LANES
        while k < width:
            for lane in range(LANES):
                put(out_, to + k * KEYS + lane, item(x_, at + min(lane, last) * step + k))
            k += 1
    return 0
