"""The heart of a matrix product: some rows of the result, some vectors of columns wide, all in registers.

A row of x and a column of weights give one sum, added up in the order of the depth, each step one fused product and
addition, whatever the size of the tile and wherever in the product the row stands. So a row has the same bits alone,
in any company, on any number of threads and on any processor. For use inside of compiled functions (nlpkit/simd.py).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from nlpkit.simd import place


def tile(rows: int, vectors: int, lanes: int, *, biased: bool) -> Any:
    """A function that computes x w (+ bias) for ``rows`` rows and ``vectors`` times ``lanes`` columns:

    out[r, c] = bias[c] + sum over k < depth of x[r, k] w[k, c], where x, w and out begin at a place of their array and
    have strides from row to row; the columns of each lie side by side.
    """
    kind = ir.VectorType(ir.FloatType(), lanes)
    ints = ir.VectorType(ir.IntType(32), lanes)
    wide = ir.IntType(64)

    def typed(
        typing: Any, x: Any, at_x: Any, step_x: Any, w: Any, at_w: Any, step_w: Any, depth: Any, out: Any, at_out: Any,
        step_out: Any, bias: Any, at_bias: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, at_x, step_x, w, at_w, step_w, depth, out, at_out, step_out, bias, at_bias = arguments
            of = signature.args
            function = ir.FunctionType(kind, [kind] * 3)
            fma = cgutils.get_or_insert_function(builder.module, function, f"llvm.fma.v{lanes}f32")

            def vector(base: Any, number: int) -> Any:
                pointer = builder.gep(base, [wide(number * lanes)])
                return builder.bitcast(pointer, kind.as_pointer())

            sums = [[cgutils.alloca_once(builder, kind) for _ in range(vectors)] for _ in range(rows)]
            first = place(context, builder, of[10], bias, at_bias)
            for number in range(vectors):
                start = builder.load(vector(first, number), align=4) if biased else ir.Constant(kind, [0.0] * lanes)
                for row in range(rows):
                    builder.store(start, sums[row][number])
            begin = place(context, builder, of[0], x, at_x)
            given = [builder.gep(begin, [builder.mul(step_x, wide(row))]) for row in range(rows)]
            weights = place(context, builder, of[3], w, at_w)
            none = ir.Constant(kind, ir.Undefined)
            with cgutils.for_range(builder, depth) as loop:
                line = builder.gep(weights, [builder.mul(loop.index, step_w)])
                columns = [builder.load(vector(line, number), align=4) for number in range(vectors)]
                for row in range(rows):
                    one = builder.insert_element(none, builder.load(builder.gep(given[row], [loop.index])), wide(0))
                    factor = builder.shuffle_vector(one, none, ir.Constant(ints, [0] * lanes))
                    for number in range(vectors):
                        sum_ = builder.load(sums[row][number])
                        builder.store(builder.call(fma, [factor, columns[number], sum_]), sums[row][number])
            end = place(context, builder, of[7], out, at_out)
            for row in range(rows):
                line = builder.gep(end, [builder.mul(step_out, wide(row))])
                for number in range(vectors):
                    builder.store(builder.load(sums[row][number]), vector(line, number), align=4)
            return context.get_dummy_value()

        number = types.intp
        made = types.none(x, number, number, w, number, number, number, out, number, number, bias, number)
        return made, code

    return intrinsic(typed)
