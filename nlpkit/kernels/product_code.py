"""The products of training, compiled: x weight^T + bias, and the gradients of x, the weight and the bias.

Every number of a result is one written sum of IEEE operations (nlpkit/kernels/tile.py), whatever the number of threads,
the CPU or the size of a block: blocking for the caches decides only when the next part of a sum is added. A row is
added up in the order of its depth, a weight's gradient in the order of the tokens, continued over several calls.

What tiles read repeatedly stays in the caches: `BLOCK` steps of the depth of a panel of the right factor
(nlpkit/kernels/panels_code.py), and of some rows of the left one. A left factor that has to be transposed is packed in
row blocks as high as a tile, a block of tokens after the other:

    x [tokens, width]                    packed [token blocks, row blocks, BLOCK, ROWS]

    |<- ROWS ->|<- ROWS ->| ..           +----------+
    +----------+----------+--            |  0, 0    |  line k is x[k, 0 : ROWS]
    |  0, 0    |  0, 1    | .. BLOCK     +----------+
    +----------+----------+--            |  0, 1    |  line k is x[k, ROWS : 2 ROWS]
    |  1, 0    |  1, 1    | ..           +----------+
    +----------+----------+--                 ..

`nlpkit.kernels.product` calls these.

Shapes: N tokens, D and E widths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.panels_code import TILE, add_rows, by_tiles, copy_panel, load_transposed, store_rows
from nlpkit.kernels.shapes import BLOCK, PANEL, ROWS, TALL
from nlpkit.kernels.tile import adding_tile
from nlpkit.machine.kernel import FloatsAt, inlined, kernel
from nlpkit.machine.simd import LANES, WIDE, add, item, load, load16, put, splat, store

_six_of, _four_of, _two_of, _one_of = (adding_tile(rows, *TILE, block_rows=ROWS) for rows in (ROWS, 4, 2, 1))
# With a stride that is a multiple of this the rows of a panel map to the same cache sets and evict each other.
_SAME_SETS = 256
_NEAR_RESULT = 1 << 17  # numbers of a result to which the next part of the depth is added before the next rows begin
_TOKENS = 8  # tokens that are packed in row blocks together


@kernel
def pack_transposed(w_: FloatsAt, out_: FloatsAt, depth: int, columns: int, begin: int, end: int) -> int:
    """Pack the panels begin to end - 1 of w^T, w [columns, depth]; the last is padded with zeros."""
    for first in range(begin * PANEL, end * PANEL, LANES):
        out = first // PANEL * PANEL * depth + first % PANEL
        w, k = first * depth, 0
        if columns - first >= LANES:
            while k + LANES <= depth:
                store_rows(load_transposed(w_, w + k, depth), out_, out + k * PANEL, PANEL)
                k += LANES
        while k < depth:
            for lane in range(LANES):
                value = item(w_, w + lane * depth + k) if first + lane < columns else np.float32(0.0)
                put(out_, out + k * PANEL + lane, value)
            k += 1
    return 0


@kernel
def pack(w_: FloatsAt, out_: FloatsAt, depth: int, columns: int, begin: int, end: int) -> int:
    """Pack the panels begin to end - 1 of w [depth, columns]; the last is padded with zeros."""
    for panel in range(begin, end):
        wide = min(PANEL, columns - panel * PANEL)
        copy_panel(w_, panel * PANEL, columns, depth, wide, out_, panel * depth * PANEL)
    return 0


@inlined
def _panels(
    x_: Any,
    x: int,
    step_x: int,
    w_: Any,
    step_w: int,
    panel_step: int,
    bias_: Any,
    out_: Any,
    to: int,
    step_out: int,
    work_: Any,
    panel_: Any,
    rows: int,
    k: int,
    depth: int,
    columns: int,
    begun: bool,
) -> None:
    """Add the steps from ``k`` on to some rows of a product, a panel after the other; ``begun``: not the first."""
    for column in range(0, columns, PANEL):
        w, out, wide = column // PANEL * panel_step + k * step_w, to + column, min(PANEL, columns - column)
        from_, at, step = w_, w, step_w
        if step_w != PANEL and (wide < PANEL or step_w % _SAME_SETS == 0):
            copy_panel(w_, w, step_w, depth, wide, panel_, 0)
            from_, at, step = panel_, 0, PANEL
        if wide == PANEL:
            start_, start, step_start = out_, out, step_out
            if not begun:
                start_, start, step_start = bias_, column, 0
            by_tiles(x_, x, step_x, from_, at, step, depth, out_, out, step_out, start_, start, step_start, rows)
            continue
        # The last, narrower panel is computed in the workspace, and its columns are copied back.
        for row in range(rows):
            for lane in range(wide):
                value = item(out_, out + row * step_out + lane) if begun else item(bias_, column + lane)
                put(work_, row * PANEL + lane, value)
            for lane in range(wide, PANEL):
                put(work_, row * PANEL + lane, np.float32(0.0))
        by_tiles(x_, x, step_x, from_, at, step, depth, work_, 0, PANEL, work_, 0, PANEL, rows)
        for row in range(rows):
            for lane in range(wide):
                put(out_, out + row * step_out + lane, item(work_, row * PANEL + lane))


@kernel
def product(
    x_: FloatsAt,
    step_x: int,
    w_: FloatsAt,
    step_w: int,
    panel_step: int,
    bias_: FloatsAt,
    out_: FloatsAt,
    step_out: int,
    work_: FloatsAt,
    panel_: FloatsAt,
    rows: int,
    depth: int,
    columns: int,
    adding: int,
) -> int:
    """out [rows, columns] = x w + bias, or out += x w if ``adding``.

    Rows of x are ``step_x`` apart, those of out ``step_out``. Rows of w are ``step_w`` apart and its panels
    ``panel_step``: packed panels, or the columns of a plain matrix. work has `TALL` x PANEL, panel BLOCK x PANEL
    numbers.
    """
    tall = max(TALL, _NEAR_RESULT // max(columns, 1) // TALL * TALL)
    for top in range(0, rows, tall):
        for k in range(0, depth, BLOCK):
            for first in range(top, min(rows, top + tall), TALL):
                count, x = min(TALL, rows - first), first * step_x + k
                _panels(
                    x_,
                    x,
                    step_x,
                    w_,
                    step_w,
                    panel_step,
                    bias_,
                    out_,
                    first * step_out,
                    step_out,
                    work_,
                    panel_,
                    count,
                    k,
                    min(BLOCK, depth - k),
                    columns,
                    k > 0 or adding != 0,
                )
    return 0


@kernel
def pack_row_blocks(x_: FloatsAt, out_: FloatsAt, tokens: int, width: int, begin: int, end: int) -> int:
    """Pack the row blocks begin to end - 1 of x^T, x [tokens, width]: [token blocks, row blocks, BLOCK, ROWS].

    The padding of the last row block is not written; the last block of tokens is shorter.
    """
    high = (width + ROWS - 1) // ROWS * ROWS
    for at in range(0, tokens, BLOCK):
        deep = min(BLOCK, tokens - at)
        for token in range(0, deep, _TOKENS):
            last = min(deep, token + _TOKENS) - 1
            for first in range(begin * ROWS, min(end * ROWS, width), ROWS):
                out, x = at * high + first * deep, at * width + first
                vectors = token  # up to here eight numbers are stored, and the next token overwrites the last two
                if width - first >= LANES:
                    vectors = last
                    for k in range(token, last):
                        store(out_, out + k * ROWS, load(x_, x + k * width))
                for k in range(vectors, last + 1):
                    for row in range(min(ROWS, width - first)):
                        put(out_, out + k * ROWS + row, item(x_, x + k * width + row))
    return 0


@inlined
def _add_row_blocks(x_: Any, x: int, w_: Any, w: int, step_w: int, depth: int, out_: Any, rows: int) -> None:
    """Add all row blocks of a block of tokens to a panel's column_sums."""
    row = 0
    while row < rows:
        left, at, to = rows - row, x + row // ROWS * ROWS * depth + row % ROWS, row * PANEL
        if left >= 6:
            _six_of(x_, at, 1, w_, w, step_w, depth, out_, to, PANEL, out_, to, PANEL)
            row += 6
        elif left >= 4:
            _four_of(x_, at, 1, w_, w, step_w, depth, out_, to, PANEL, out_, to, PANEL)
            row += 4
        elif left >= 2:
            _two_of(x_, at, 1, w_, w, step_w, depth, out_, to, PANEL, out_, to, PANEL)
            row += 2
        else:
            _one_of(x_, at, 1, w_, w, step_w, depth, out_, to, PANEL, out_, to, PANEL)
            row += 1


@kernel
def gradient(
    packed_: FloatsAt,
    y_: FloatsAt,
    dw_: FloatsAt,
    db_: FloatsAt,
    work_: FloatsAt,
    panel_: FloatsAt,
    tokens: int,
    width: int,
    columns: int,
    adding: int,
    biased: int,
    by_rows: int,
    begin: int,
    end: int,
) -> int:
    """x^T y and the column_sums of y, for the columns of y [tokens, columns] in the panels begin to end - 1.

    x is packed by `pack_row_blocks`. The product is written to dw [columns, width], or [width, columns] if ``by_rows``,
    and the column_sums to db [columns] if ``biased``; they are added to dw and db if ``adding``. work has
    (width + 1) x PANEL, panel BLOCK x PANEL numbers.
    """
    high = (width + ROWS - 1) // ROWS * ROWS
    for first in range(begin * PANEL, end * PANEL, PANEL):
        wide = min(PANEL, columns - first)
        for i in range(0, (width + 1) * PANEL, LANES):
            store(work_, i, splat(np.float32(0.0)))
        for at in range(0, tokens, BLOCK):
            deep, y = min(BLOCK, tokens - at), at * columns + first
            if biased:
                _add_column_sums(y_, y, columns, deep, wide, work_, width * PANEL)
            if wide == PANEL and columns % _SAME_SETS:
                _add_row_blocks(packed_, at * high, y_, y, columns, deep, work_, width)
            else:
                copy_panel(y_, y, columns, deep, wide, panel_, 0)
                _add_row_blocks(packed_, at * high, panel_, 0, PANEL, deep, work_, width)
        if by_rows:
            _write_columns(work_, dw_, first, wide, width, columns, adding)
        else:
            _write_transposed(work_, dw_, first, wide, width, adding)
        if biased:
            for lane in range(wide):
                total = item(work_, width * PANEL + lane)
                put(db_, first + lane, item(db_, first + lane) + total if adding else total)
    return 0


@kernel
def column_sums(
    y_: FloatsAt, db_: FloatsAt, work_: FloatsAt, tokens: int, columns: int, adding: int, begin: int, end: int
) -> int:
    """The column_sums of the columns begin to end - 1 of y [tokens, columns]; work has end - begin numbers."""
    for column in range(end - begin):
        put(work_, column, np.float32(0.0))
    _add_column_sums(y_, begin, columns, tokens, end - begin, work_, 0)
    for column in range(begin, end):
        total = item(work_, column - begin)
        put(db_, column, item(db_, column) + total if adding else total)
    return 0


@inlined
def _add_column_sums(y_: Any, y: int, step: int, depth: int, wide: int, sums_: Any, at: int) -> None:
    """Add a block of tokens to the column_sums of some columns, in the order of the tokens."""
    column = 0
    while column + 4 * WIDE <= wide:
        a, b = load16(sums_, at + column), load16(sums_, at + column + WIDE)
        c, d = load16(sums_, at + column + 2 * WIDE), load16(sums_, at + column + 3 * WIDE)
        for first in range(y + column, y + column + depth * step, step):
            a, b = add(a, load16(y_, first)), add(b, load16(y_, first + WIDE))
            c, d = add(c, load16(y_, first + 2 * WIDE)), add(d, load16(y_, first + 3 * WIDE))
        store(sums_, at + column, a)
        store(sums_, at + column + WIDE, b)
        store(sums_, at + column + 2 * WIDE, c)
        store(sums_, at + column + 3 * WIDE, d)
        column += 4 * WIDE
    while column + LANES <= wide:
        e = load(sums_, at + column)
        for first in range(y + column, y + column + depth * step, step):
            e = add(e, load(y_, first))
        store(sums_, at + column, e)
        column += LANES
    while column < wide:
        one = item(sums_, at + column)
        for first in range(y + column, y + column + depth * step, step):
            one += item(y_, first)
        put(sums_, at + column, one)
        column += 1


@inlined
def _write_columns(work_: Any, dw_: Any, first: int, wide: int, width: int, columns: int, adding: int) -> None:
    """Write the workspace [width, PANEL] to its columns of dw, or add it to them."""
    for row in range(width):
        out, column = row * columns + first, 0
        while column + LANES <= wide:
            values = load(work_, row * PANEL + column)
            store(dw_, out + column, add(load(dw_, out + column), values) if adding else values)
            column += LANES
        while column < wide:
            one = item(work_, row * PANEL + column)
            put(dw_, out + column, item(dw_, out + column) + one if adding else one)
            column += 1


@inlined
def _write_transposed(work_: Any, dw_: Any, first: int, wide: int, width: int, adding: int) -> None:
    """Write the transposed workspace [width, PANEL] to its rows of dw, or add it to them."""
    for column in range(0, wide, LANES):
        row = 0
        if wide - column >= LANES:
            while row + LANES <= width:
                at, out = row * PANEL + column, (first + column) * width + row
                lines = load_transposed(work_, at, PANEL)
                if adding:
                    add_rows(lines, dw_, out, width)
                else:
                    store_rows(lines, dw_, out, width)
                row += LANES
        while row < width:
            for lane in range(column, min(wide, column + LANES)):
                out, value = (first + lane) * width + row, item(work_, row * PANEL + lane)
                put(dw_, out, item(dw_, out) + value if adding else value)
            row += 1
