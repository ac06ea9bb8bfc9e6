"""Panels and tiles of products, helpers of kernels.

A panel is `PANEL` columns of a matrix, packed so that a tile (nlpkit/kernels/tile.py) reads it from beginning to end:

    w [depth, columns]                  panels [columns / PANEL, depth, PANEL]

    |<- PANEL ->|<- PANEL ->| ..        +-----------+
    +-----------+-----------+--         |  panel 0  |  row k is w[k, 0 : PANEL]
    |           |           |           +-----------+
    |  panel 0  |  panel 1  | ..        |  panel 1  |  row k is w[k, PANEL : 2 PANEL]
    |           |           |           +-----------+
    +-----------+-----------+--               ..        the last panel is padded with zeros
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.shapes import PANEL, ROWS
from nlpkit.kernels.tile import adding_tile
from nlpkit.machine.kernel import inlined
from nlpkit.machine.simd import LANES, WIDE, add, item, load, load16, put, store, transposed

# The widest tile, as (vectors, lanes of a vector).
TILE = (PANEL // WIDE, WIDE) if PANEL > WIDE else (PANEL // LANES, LANES)
_six, _four, _two, _one = (adding_tile(rows, *TILE) for rows in (ROWS, 4, 2, 1))


@inlined
def load_transposed(x_: Any, x: int, step: int) -> Any:
    """Eight rows of eight numbers, ``step`` apart, as eight columns."""
    a, b = load(x_, x), load(x_, x + step)
    c, d = load(x_, x + 2 * step), load(x_, x + 3 * step)
    e, f = load(x_, x + 4 * step), load(x_, x + 5 * step)
    g, h = load(x_, x + 6 * step), load(x_, x + 7 * step)
    return transposed(a, b, c, d, e, f, g, h)


@inlined
def store_rows(rows: Any, out_: Any, out: int, step: int) -> None:
    """Store eight vectors ``step`` apart."""
    a, b, c, d, e, f, g, h = rows
    store(out_, out, a)
    store(out_, out + step, b)
    store(out_, out + 2 * step, c)
    store(out_, out + 3 * step, d)
    store(out_, out + 4 * step, e)
    store(out_, out + 5 * step, f)
    store(out_, out + 6 * step, g)
    store(out_, out + 7 * step, h)


@inlined
def add_rows(rows: Any, out_: Any, out: int, step: int) -> None:
    """Add eight vectors to eight rows, ``step`` apart."""
    a, b, c, d, e, f, g, h = rows
    store(out_, out, add(load(out_, out), a))
    store(out_, out + step, add(load(out_, out + step), b))
    store(out_, out + 2 * step, add(load(out_, out + 2 * step), c))
    store(out_, out + 3 * step, add(load(out_, out + 3 * step), d))
    store(out_, out + 4 * step, add(load(out_, out + 4 * step), e))
    store(out_, out + 5 * step, add(load(out_, out + 5 * step), f))
    store(out_, out + 6 * step, add(load(out_, out + 6 * step), g))
    store(out_, out + 7 * step, add(load(out_, out + 7 * step), h))


@inlined
def copy_panel(w_: Any, w: int, step: int, depth: int, count: int, panel_: Any, to: int) -> None:
    """Pack ``count`` columns of w as a panel, padded with zeros."""
    for k in range(depth):
        if count == PANEL:
            for column in range(0, PANEL, WIDE):
                store(panel_, to + k * PANEL + column, load16(w_, w + k * step + column))
        else:
            for column in range(PANEL):
                value = item(w_, w + k * step + column) if column < count else np.float32(0.0)
                put(panel_, to + k * PANEL + column, value)


@inlined
def by_tiles(
    x_: Any,
    x: int,
    step_x: int,
    w_: Any,
    w: int,
    step_w: int,
    depth: int,
    out_: Any,
    out: int,
    step_out: int,
    start_: Any,
    start: int,
    step_start: int,
    rows: int,
) -> None:
    """out = start + x w of some rows, a panel wide."""
    row = 0
    while row < rows:
        left, at, to, begin = rows - row, x + row * step_x, out + row * step_out, start + row * step_start
        if left >= 6:
            _six(x_, at, step_x, w_, w, step_w, depth, out_, to, step_out, start_, begin, step_start)
            row += 6
        elif left >= 4:
            _four(x_, at, step_x, w_, w, step_w, depth, out_, to, step_out, start_, begin, step_start)
            row += 4
        elif left >= 2:
            _two(x_, at, step_x, w_, w, step_w, depth, out_, to, step_out, start_, begin, step_start)
            row += 2
        else:
            _one(x_, at, step_x, w_, w, step_w, depth, out_, to, step_out, start_, begin, step_start)
            row += 1
