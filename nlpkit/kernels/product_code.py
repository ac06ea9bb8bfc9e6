"""The products of learning, compiled: x weight^T + bias, and the gradients of x, the weight and the bias.

Every number of a result is one written sum of IEEE operations (nlpkit/kernels/tile.py), whatever the number of threads,
the processor or the size of a block: how a product is cut for the caches decides only when a sum's next part is added.
A row is added up in the order of its depth; a gradient of a weight in the order of the tokens, and what a call gives is
added to what is there.

What tiles read again and again lies in the caches: `BLOCK` steps of the depth of a panel of the right factor, and of
some rows of the left one. A factor that lies across is turned once, or laid out in strips as high as a tile.
`nlpkit.kernels.product` calls these.

Shapes: N tokens, D and E widths.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nlpkit.kernels.shapes import BLOCK, HIGH, PANEL, ROWS
from nlpkit.kernels.tile import adding_tile
from nlpkit.machine.kernel import FloatsAt, inlined, kernel
from nlpkit.machine.simd import LANES, WIDE, add, item, load, load16, put, splat, store, transposed

_SHAPE = (PANEL // WIDE, WIDE) if PANEL > WIDE else (PANEL // LANES, LANES)
_six, _four, _two, _one = (adding_tile(rows, *_SHAPE) for rows in (ROWS, 4, 2, 1))
_six_of, _four_of, _two_of, _one_of = (adding_tile(rows, *_SHAPE, strip=ROWS) for rows in (ROWS, 4, 2, 1))
# Numbers from row to row at which the rows of a panel crowd a few places of the caches, so that each drives others out.
_CROWDED = 256
_NEAR = 1 << 17  # numbers of a result to which the next part of the depth is added before the next rows are begun
_GROUP = 8  # tokens that are put into strips together


@kernel
def turned(w_: FloatsAt, out_: FloatsAt, depth: int, columns: int, begin: int, end: int) -> int:
    """The panels begin to end - 1 of w [columns, depth], each [depth, PANEL], filled up with zeros."""
    for first in range(begin * PANEL, end * PANEL, LANES):
        out = first // PANEL * PANEL * depth + first % PANEL
        w, k = first * depth, 0
        if columns - first >= LANES:
            while k + LANES <= depth:
                lines = transposed(
                    load(w_, w + k), load(w_, w + depth + k), load(w_, w + 2 * depth + k),
                    load(w_, w + 3 * depth + k), load(w_, w + 4 * depth + k), load(w_, w + 5 * depth + k),
                    load(w_, w + 6 * depth + k), load(w_, w + 7 * depth + k),
                )  # fmt: skip
                _stored(lines, out_, out + k * PANEL, PANEL)
                k += LANES
        while k < depth:
            for lane in range(LANES):
                given = item(w_, w + lane * depth + k) if first + lane < columns else np.float32(0.0)
                put(out_, out + k * PANEL + lane, given)
            k += 1
    return 0


@inlined
def _stored(lines: Any, out_: Any, out: int, step: int) -> None:
    """Eight vectors, ``step`` apart."""
    a, b, c, d, e, f, g, h = lines
    store(out_, out, a)
    store(out_, out + step, b)
    store(out_, out + 2 * step, c)
    store(out_, out + 3 * step, d)
    store(out_, out + 4 * step, e)
    store(out_, out + 5 * step, f)
    store(out_, out + 6 * step, g)
    store(out_, out + 7 * step, h)


@inlined
def _added(lines: Any, out_: Any, out: int, step: int) -> None:
    """Eight vectors added to what is there."""
    a, b, c, d, e, f, g, h = lines
    store(out_, out, add(load(out_, out), a))
    store(out_, out + step, add(load(out_, out + step), b))
    store(out_, out + 2 * step, add(load(out_, out + 2 * step), c))
    store(out_, out + 3 * step, add(load(out_, out + 3 * step), d))
    store(out_, out + 4 * step, add(load(out_, out + 4 * step), e))
    store(out_, out + 5 * step, add(load(out_, out + 5 * step), f))
    store(out_, out + 6 * step, add(load(out_, out + 6 * step), g))
    store(out_, out + 7 * step, add(load(out_, out + 7 * step), h))


@inlined
def _copied(w_: Any, w: int, step: int, depth: int, count: int, panel_: Any, to: int) -> None:
    """A panel of ``count`` columns, filled up with zeros."""
    for k in range(depth):
        if count == PANEL:
            for place in range(0, PANEL, WIDE):
                store(panel_, to + k * PANEL + place, load16(w_, w + k * step + place))
        else:
            for place in range(PANEL):
                put(
                    panel_, to + k * PANEL + place, item(w_, w + k * step + place) if place < count else np.float32(0.0)
                )


@kernel
def laid(w_: FloatsAt, out_: FloatsAt, depth: int, columns: int, begin: int, end: int) -> int:
    """The panels begin to end - 1 of w [depth, columns], as `turned` has them of one that lies across."""
    for panel in range(begin, end):
        wide = min(PANEL, columns - panel * PANEL)
        _copied(w_, panel * PANEL, columns, depth, wide, out_, panel * depth * PANEL)
    return 0


@inlined
def by_tiles(x_: Any, x: int, step_x: int, w_: Any, w: int, step_w: int, depth: int, out_: Any, out: int, step_out: int,
             start_: Any, start: int, step_start: int, rows: int) -> None:  # fmt: skip
    """Some rows of a product, a panel wide."""
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


@inlined
def _panels(x_: Any, x: int, step_x: int, w_: Any, step_w: int, far: int, bias_: Any, out_: Any, to: int, step_out: int,
            room_: Any, panel_: Any, rows: int, k: int, depth: int, columns: int, begun: bool) -> None:  # fmt: skip
    """What the steps from ``k`` on add to some rows of a product, a panel after the other; ``begun``: not the first."""
    for column in range(0, columns, PANEL):
        w, out, wide = column // PANEL * far + k * step_w, to + column, min(PANEL, columns - column)
        from_, at, step = w_, w, step_w
        if step_w != PANEL and (wide < PANEL or step_w % _CROWDED == 0):
            _copied(w_, w, step_w, depth, wide, panel_, 0)
            from_, at, step = panel_, 0, PANEL
        if wide == PANEL:
            start_, start, step_start = out_, out, step_out
            if not begun:
                start_, start, step_start = bias_, column, 0
            by_tiles(x_, x, step_x, from_, at, step, depth, out_, out, step_out, start_, start, step_start, rows)
            continue
        # In a room as wide as a panel, from where the columns that there are go back.
        for row in range(rows):
            for place in range(wide):
                given = item(out_, out + row * step_out + place) if begun else item(bias_, column + place)
                put(room_, row * PANEL + place, given)
            for place in range(wide, PANEL):
                put(room_, row * PANEL + place, np.float32(0.0))
        by_tiles(x_, x, step_x, from_, at, step, depth, room_, 0, PANEL, room_, 0, PANEL, rows)
        for row in range(rows):
            for place in range(wide):
                put(out_, out + row * step_out + place, item(room_, row * PANEL + place))


@kernel
def product(
    x_: FloatsAt, step_x: int, w_: FloatsAt, step_w: int, far: int, bias_: FloatsAt, out_: FloatsAt, step_out: int,
    room_: FloatsAt, panel_: FloatsAt, rows: int, depth: int, columns: int, adding: int,
) -> int:  # fmt: skip
    """out [rows, columns] = x w + bias, or + what is there if ``adding``.

    x has its rows ``step_x`` apart, out ``step_out``. w has its depth ``step_w`` apart and panels ``far`` apart: turned
    ones, or the columns of an array as they lie. room has `HIGH` x PANEL, panel BLOCK x PANEL numbers.
    """
    tall = max(HIGH, _NEAR // max(columns, 1) // HIGH * HIGH)
    for top in range(0, rows, tall):
        for k in range(0, depth, BLOCK):
            for first in range(top, min(rows, top + tall), HIGH):
                count, x = min(HIGH, rows - first), first * step_x + k
                _panels(x_, x, step_x, w_, step_w, far, bias_, out_, first * step_out, step_out, room_, panel_, count,
                        k, min(BLOCK, depth - k), columns, k > 0 or adding != 0)  # fmt: skip
    return 0


@kernel
def strips(x_: FloatsAt, out_: FloatsAt, tokens: int, width: int, begin: int, end: int) -> int:
    """The strips begin to end - 1 of x [tokens, width] in blocks of tokens: [blocks, strips, BLOCK, ROWS].

    The last strip is filled up with nothing, the last block is shorter.
    """
    high = (width + ROWS - 1) // ROWS * ROWS
    for at in range(0, tokens, BLOCK):
        deep = min(BLOCK, tokens - at)
        for token in range(0, deep, _GROUP):
            last = min(deep, token + _GROUP) - 1
            for first in range(begin * ROWS, min(end * ROWS, width), ROWS):
                out, x = at * high + first * deep, at * width + first
                whole = token  # up to where eight numbers are there, whose last two the next token writes over
                if width - first >= LANES:
                    whole = last
                    for k in range(token, last):
                        store(out_, out + k * ROWS, load(x_, x + k * width))
                for k in range(whole, last + 1):
                    for row in range(min(ROWS, width - first)):
                        put(out_, out + k * ROWS + row, item(x_, x + k * width + row))
    return 0


@inlined
def _strips(x_: Any, x: int, w_: Any, w: int, step_w: int, depth: int, out_: Any, rows: int) -> None:
    """A panel's sums and what all strips of a block add to them."""
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
    strips_: FloatsAt, y_: FloatsAt, dw_: FloatsAt, db_: FloatsAt, room_: FloatsAt, panel_: FloatsAt, tokens: int,
    width: int, columns: int, adding: int, biased: int, across: int, begin: int, end: int,
) -> int:  # fmt: skip
    """x^T y and the sum of y, of the columns of y [tokens, columns] in the panels begin to end - 1.

    x is in `strips`; dw [columns, width], or [width, columns] if ``across``, and, if ``biased``, db [columns] get them,
    or have them added if ``adding``. room has (width + 1) x PANEL, panel BLOCK x PANEL numbers.
    """
    high = (width + ROWS - 1) // ROWS * ROWS
    for first in range(begin * PANEL, end * PANEL, PANEL):
        wide = min(PANEL, columns - first)
        for place in range(0, (width + 1) * PANEL, LANES):
            store(room_, place, splat(np.float32(0.0)))
        for at in range(0, tokens, BLOCK):
            deep, y = min(BLOCK, tokens - at), at * columns + first
            if biased:
                _column_sums(y_, y, columns, deep, wide, room_, width * PANEL)
            if wide == PANEL and columns % _CROWDED:
                _strips(strips_, at * high, y_, y, columns, deep, room_, width)
            else:
                _copied(y_, y, columns, deep, wide, panel_, 0)
                _strips(strips_, at * high, panel_, 0, PANEL, deep, room_, width)
        if across:
            _across(room_, dw_, first, wide, width, columns, adding)
        else:
            _back(room_, dw_, first, wide, width, adding)
        if biased:
            for place in range(wide):
                found = item(room_, width * PANEL + place)
                put(db_, first + place, item(db_, first + place) + found if adding else found)
    return 0


@kernel
def sums(
    y_: FloatsAt, db_: FloatsAt, room_: FloatsAt, tokens: int, columns: int, adding: int, begin: int, end: int
) -> int:
    """The sums of the columns begin to end - 1 of y [tokens, columns]; room has end - begin numbers."""
    for place in range(end - begin):
        put(room_, place, np.float32(0.0))
    _column_sums(y_, begin, columns, tokens, end - begin, room_, 0)
    for place in range(begin, end):
        found = item(room_, place - begin)
        put(db_, place, item(db_, place) + found if adding else found)
    return 0


@inlined
def _column_sums(y_: Any, y: int, step: int, depth: int, wide: int, sums_: Any, at: int) -> None:
    """The sums of some columns and what a block adds to them, in the order of the tokens."""
    place = 0
    while place + 4 * WIDE <= wide:
        a, b = load16(sums_, at + place), load16(sums_, at + place + WIDE)
        c, d = load16(sums_, at + place + 2 * WIDE), load16(sums_, at + place + 3 * WIDE)
        for first in range(y + place, y + place + depth * step, step):
            a, b = add(a, load16(y_, first)), add(b, load16(y_, first + WIDE))
            c, d = add(c, load16(y_, first + 2 * WIDE)), add(d, load16(y_, first + 3 * WIDE))
        store(sums_, at + place, a)
        store(sums_, at + place + WIDE, b)
        store(sums_, at + place + 2 * WIDE, c)
        store(sums_, at + place + 3 * WIDE, d)
        place += 4 * WIDE
    while place + LANES <= wide:
        e = load(sums_, at + place)
        for first in range(y + place, y + place + depth * step, step):
            e = add(e, load(y_, first))
        store(sums_, at + place, e)
        place += LANES
    while place < wide:
        one = item(sums_, at + place)
        for first in range(y + place, y + place + depth * step, step):
            one += item(y_, first)
        put(sums_, at + place, one)
        place += 1


@inlined
def _across(room_: Any, dw_: Any, first: int, wide: int, width: int, columns: int, adding: int) -> None:
    """A room [width, PANEL] put into, or added to, its columns of dw."""
    for row in range(width):
        out, place = row * columns + first, 0
        while place + LANES <= wide:
            found = load(room_, row * PANEL + place)
            store(dw_, out + place, add(load(dw_, out + place), found) if adding else found)
            place += LANES
        while place < wide:
            one = item(room_, row * PANEL + place)
            put(dw_, out + place, item(dw_, out + place) + one if adding else one)
            place += 1


@inlined
def _back(room_: Any, dw_: Any, first: int, wide: int, width: int, adding: int) -> None:
    """A room [width, PANEL] turned into, or added to, its rows of dw."""
    for column in range(0, wide, LANES):
        row = 0
        if wide - column >= LANES:
            while row + LANES <= width:
                at, out = row * PANEL + column, (first + column) * width + row
                lines = transposed(
                    load(room_, at), load(room_, at + PANEL), load(room_, at + 2 * PANEL),
                    load(room_, at + 3 * PANEL), load(room_, at + 4 * PANEL), load(room_, at + 5 * PANEL),
                    load(room_, at + 6 * PANEL), load(room_, at + 7 * PANEL),
                )  # fmt: skip
                if adding:
                    _added(lines, dw_, out, width)
                else:
                    _stored(lines, dw_, out, width)
                row += LANES
        while row < width:
            for place in range(column, min(wide, column + LANES)):
                out, found = (first + place) * width + row, item(room_, row * PANEL + place)
                put(dw_, out, item(dw_, out) + found if adding else found)
            row += 1
