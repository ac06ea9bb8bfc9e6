"""The inner loop of a matrix product: a tile of the result, some rows by some vectors of columns, all in registers.

                      w [depth, columns]
                     +----+----+          each step of the depth loads a row of w (one vector per ``vectors``) and
                     | v0 | v1 |          broadcasts one number of each row of x:
                     +----+----+
    x [rows, depth]  out: rows x vectors  sums[r][v] = fma(x[r, k], w[k, v], sums[r][v])

A row of x and a column of weights give one sum, added up in the order of the depth by one fused multiply-add a step,
whatever the size of the tile and the row's position in the product. So a row has the same bits alone, in any batch, on
any number of threads and on any CPU. For use inside of compiled functions (nlpkit/machine/simd.py).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nlpkit.machine.simd import pointer_to

STEP = 16  # integers of a row that one vector has


def tile(rows: int, vectors: int, lanes: int) -> Any:
    """A function that computes x w for ``rows`` rows and ``vectors`` times ``lanes`` columns:

    out[r, c] = sum over k < depth of x[r, k] w[k, c], where x, w and out begin at an offset of their array and have
    strides from row to row; the columns of each are contiguous.
    """

    def typed(
        typing: Any,
        x: Any,
        at_x: Any,
        step_x: Any,
        w: Any,
        at_w: Any,
        step_w: Any,
        depth: Any,
        out: Any,
        at_out: Any,
        step_out: Any,
    ) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _compute(context, builder, signature.args, [*arguments, *[None] * 3], rows, vectors, lanes, 0)

        number = types.intp
        return types.none(x, number, number, w, number, number, number, out, number, number), code

    return intrinsic(typed)


def adding_tile(rows: int, vectors: int, lanes: int, *, block_rows: int = 0) -> Any:
    """A function like that of `tile` that adds to the numbers of an array:

    out[r, c] = start[r, c] + sum over k < depth of x[r, k] w[k, c]. ``start`` may be out; with a step of 0 from row to
    row it is a bias. With ``block_rows`` x is a packed row block [depth, block_rows].
    """

    def typed(
        typing: Any,
        x: Any,
        at_x: Any,
        step_x: Any,
        w: Any,
        at_w: Any,
        step_w: Any,
        depth: Any,
        out: Any,
        at_out: Any,
        step_out: Any,
        start: Any,
        at_start: Any,
        step_start: Any,
    ) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _compute(context, builder, signature.args, arguments, rows, vectors, lanes, block_rows)

        number = types.intp
        signature = types.none(x, number, number, w, number, number, number, out, number, number, start, number, number)
        return signature, code

    return intrinsic(typed)


def _compute(
    context: Any, builder: Any, of: Any, arguments: Any, rows: int, vectors: int, lanes: int, block_rows: int
) -> Any:
    """The code of both; a start of None is zero."""
    kind = ir.VectorType(ir.FloatType(), lanes)
    ints = ir.VectorType(ir.IntType(32), lanes)
    wide = ir.IntType(64)
    x, at_x, step_x, w, at_w, step_w, depth, out, at_out, step_out, start, at_start, step_start = arguments
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.v{lanes}f32")

    def vector(base: Any, number: int) -> Any:
        return builder.bitcast(builder.gep(base, [wide(number * lanes)]), kind.as_pointer())

    def lines(base: Any, step: Any) -> list[Any]:
        return [builder.gep(base, [builder.mul(step, wide(row))]) for row in range(rows)]

    sums = [[cgutils.alloca_once(builder, kind) for _ in range(vectors)] for _ in range(rows)]
    begins = None if start is None else lines(pointer_to(context, builder, of[10], start, at_start), step_start)
    for row in range(rows):
        for number in range(vectors):
            zero = ir.Constant(kind, [0.0] * lanes)
            begin = zero if begins is None else builder.load(vector(begins[row], number), align=4)
            builder.store(begin, sums[row][number])
    x_rows = lines(pointer_to(context, builder, of[0], x, at_x), wide(1) if block_rows else step_x)
    weights = pointer_to(context, builder, of[3], w, at_w)
    none = ir.Constant(kind, ir.Undefined)
    with cgutils.for_range(builder, depth) as loop:
        line = builder.gep(weights, [builder.mul(loop.index, step_w)])
        columns = [builder.load(vector(line, number), align=4) for number in range(vectors)]
        offset = builder.mul(loop.index, wide(block_rows)) if block_rows else loop.index
        for row in range(rows):
            one = builder.insert_element(none, builder.load(builder.gep(x_rows[row], [offset])), wide(0))
            factor = builder.shuffle_vector(one, none, ir.Constant(ints, [0] * lanes))
            for number in range(vectors):
                sum_ = builder.load(sums[row][number])
                builder.store(builder.call(fma, [factor, columns[number], sum_]), sums[row][number])
    for row, line in enumerate(lines(pointer_to(context, builder, of[7], out, at_out), step_out)):
        for number in range(vectors):
            builder.store(builder.load(sums[row][number]), vector(line, number), align=4)
    return context.get_dummy_value()


def int8_tile(rows: int, columns: int) -> Any:
    """A function that adds up products of int16 x and int8 w in int32, which is exact:

    out[r * columns + c] = sum over k < depth of x[r, k] w[c, k]. Rows of x and w are ``depth`` long, a multiple of
    `STEP`; x, w and out begin at an offset of their array.
    """
    step = STEP

    def typed(typing: Any, x: Any, at_x: Any, w: Any, at_w: Any, depth: Any, out: Any, at_out: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            of, wide, half = signature.args, ir.IntType(64), step // 2
            pairs, sums_of = ir.VectorType(ir.IntType(32), step), ir.VectorType(ir.IntType(32), half)
            x, at_x, w, at_w, depth, out, at_out = arguments
            none = ir.Constant(pairs, ir.Undefined)
            even, odd = (ir.Constant(sums_of, list(range(begin, step, 2))) for begin in (0, 1))
            sums = [[cgutils.alloca_once(builder, sums_of) for _ in range(columns)] for _ in range(rows)]
            for line in sums:
                for sum_ in line:
                    builder.store(ir.Constant(sums_of, [0] * half), sum_)
            x_data = pointer_to(context, builder, of[0], x, at_x)
            w_data = pointer_to(context, builder, of[2], w, at_w)

            def numbers(base: Any, row: int, k: Any, bits: int) -> Any:
                at = builder.gep(base, [builder.add(builder.mul(depth, wide(row)), k)])
                kind = ir.VectorType(ir.IntType(bits), step)
                return builder.sext(builder.load(builder.bitcast(at, kind.as_pointer()), align=bits // 8), pairs)

            with cgutils.for_range(builder, builder.sdiv(depth, wide(step))) as loop:
                k = builder.mul(loop.index, wide(step))
                weights = [numbers(w_data, column, k, 8) for column in range(columns)]
                for row in range(rows):
                    values = numbers(x_data, row, k, 16)
                    for column in range(columns):
                        # One instruction (pmaddwd) with the addition of its halves.
                        both = builder.mul(values, weights[column])
                        halves = (builder.shuffle_vector(both, none, half) for half in (even, odd))
                        sum_ = builder.load(sums[row][column])
                        builder.store(builder.add(sum_, builder.add(*halves)), sums[row][column])
            kind = ir.FunctionType(ir.IntType(32), [sums_of])
            total = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{half}i32")
            to = pointer_to(context, builder, of[5], out, at_out)
            for row in range(rows):
                for column in range(columns):
                    at = builder.gep(to, [wide(row * columns + column)])
                    builder.store(builder.call(total, [builder.load(sums[row][column])]), at)
            return context.get_dummy_value()

        number = types.intp
        return types.none(x, number, w, number, number, out, number), code

    return intrinsic(typed)
