"""SIMD: numba types for vectors of eight or sixteen 32-bit floats.

numba compiles a sum in a loop to single additions, because a sum in another order is another number. Here the order is
written: a value of type `f8` or `f16` is one register of the CPU (or more, where registers are narrower), each
operation is one IEEE operation on each of its lanes, and `fma` rounds once. So the kernels that are written with these
are fast, and their results are the same on every CPU.

Everything here is for use inside of compiled functions. Arrays are one-dimensional and contiguous, and their bounds are
never checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from nlpkit.machine.kernel import LANES as LANES
from nlpkit.machine.kernel import WIDE as WIDE
from nlpkit.machine.kernel import inlined

_INTS = ir.VectorType(ir.IntType(32), LANES)


class Floats(types.Type):  # type: ignore[misc]
    """The type of a vector of floats."""

    def __init__(self, lanes: int) -> None:
        super().__init__(name=f"f{lanes}")
        self.lanes = lanes
        self.code = ir.VectorType(ir.FloatType(), lanes)


f8, f16 = Floats(LANES), Floats(WIDE)


@register_model(Floats)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, numba_type.code)


def pointer_to(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """A pointer to an element of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _load(kind: Floats, document: str) -> Any:
    def load(typing: Any, array: Any, index: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = pointer_to(context, builder, signature.args[0], *arguments)
            return builder.load(builder.bitcast(pointer, kind.code.as_pointer()), align=4)

        return kind(array, types.intp), code

    load.__doc__ = document
    return intrinsic(load)


load = _load(f8, "array[index : index + 8]")
load16 = _load(f16, "array[index : index + 16]")


@intrinsic  # type: ignore[untyped-decorator]
def item(typing: Any, array: Any, index: Any) -> Any:
    """array[index], without the check for a negative index."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(pointer_to(context, builder, signature.args[0], *arguments))

    return array.dtype(array, types.intp), code


@intrinsic  # type: ignore[untyped-decorator]
def put(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index] = value, of the array's type, without the check for a negative index."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], pointer_to(context, builder, signature.args[0], *arguments[:2]))
        return context.get_dummy_value()

    return types.none(array, types.intp, array.dtype), code


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + n] = value, a vector of n floats."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = pointer_to(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(pointer, value.code.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, value), code


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Prefetch the cache line of array[index] for writing."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = pointer_to(context, builder, signature.args[0], *arguments)
        pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.none(array, types.intp), code


@intrinsic  # type: ignore[untyped-decorator]
def eight(typing: Any, array: Any, index: Any) -> Any:
    """The eight bytes array[index : index + 8] as one integer."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = pointer_to(context, builder, signature.args[0], *arguments)
        return builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(array, types.intp), code


@intrinsic  # type: ignore[untyped-decorator]
def touch(typing: Any, array: Any, index: Any) -> Any:
    """Read array[index], 32 bits, and drop it: unlike after a prefetch, its cache line is certainly loaded."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = pointer_to(context, builder, signature.args[0], *arguments)
        builder.load_atomic(builder.bitcast(pointer, ir.IntType(32).as_pointer()), "monotonic", 4)  # stays, unused
        return context.get_dummy_value()

    return types.none(array, types.intp), code


def _spread_out(builder: Any, kind: Floats, value: Any) -> Any:
    """The code of one float in all lanes."""
    none = ir.Constant(kind.code, ir.Undefined)
    one = builder.insert_element(none, value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, none, ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes))


@intrinsic  # type: ignore[untyped-decorator]
def alike(typing: Any, x: Any, value: Any) -> Any:
    """A float in every lane of a vector like x."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread_out(builder, signature.return_type, arguments[1])

    return x(x, types.float32), code


def _splat(kind: Floats, document: str) -> Any:
    def splat(typing: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _spread_out(builder, kind, arguments[0])

        return kind(types.float32), code

    splat.__doc__ = document
    return intrinsic(splat)


splat = _splat(f8, "One float in all of eight lanes.")
splat16 = _splat(f16, "One float in all of sixteen lanes.")


def _binary(name: str, document: str) -> Any:
    def operation(typing: Any, a: Any, b: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return a(a, b), code

    operation.__doc__ = document
    return intrinsic(operation)


add = _binary("fadd", "a + b")
sub = _binary("fsub", "a - b")
mul = _binary("fmul", "a * b")
div = _binary("fdiv", "a / b")


def _call(name: str, operands: int, document: str) -> Any:
    """An operation of LLVM on lanes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.return_type
        function = ir.FunctionType(kind.code, [kind.code] * operands)
        full = f"llvm.{name}.v{kind.lanes}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, function, full), arguments)

    def one(typing: Any, a: Any) -> Any:
        return a(a), code

    def two(typing: Any, a: Any, b: Any) -> Any:
        return a(a, b), code

    def three(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return a(a, b, c), code

    operation: Callable[..., Any] = (one, two, three)[operands - 1]
    operation.__doc__ = document
    return intrinsic(operation)


fma = _call("fma", 3, "a * b + c, rounded once")
sqrt = _call("sqrt", 1, "The square root.")
least = _call("minnum", 2, "The smaller of a and b.")
greatest = _call("maxnum", 2, "The greater of a and b.")
signed = _call("copysign", 2, "a with the sign of b.")
_round = _call("rint", 1, "The nearest integer; of two equally near ones the even one.")


@intrinsic  # type: ignore[untyped-decorator]
def _power_of_two(typing: Any, exponent: Any) -> Any:
    """2 to the power of an integer between -126 and 127, which is written into a float's exponent bits."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.return_type
        ints = ir.VectorType(ir.IntType(32), kind.lanes)
        biased = builder.add(builder.fptosi(arguments[0], ints), ir.Constant(ints, [127] * kind.lanes))
        return builder.bitcast(builder.shl(biased, ir.Constant(ints, [23] * kind.lanes)), kind.code)

    return exponent(exponent), code


@intrinsic  # type: ignore[untyped-decorator]
def sums(typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """The sum of each of eight vectors, in one vector: neighbours are added, then pairs, then halves."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def joined(left: Any, right: Any, first: list[int], second: list[int]) -> Any:
            picked = [builder.shuffle_vector(left, right, ir.Constant(_INTS, lanes)) for lanes in (first, second)]
            return builder.fadd(*picked)

        steps = [
            ([0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]),
            ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
            ([0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
        ]
        values = list(arguments)
        for first, second in steps:
            values = [joined(values[n], values[n + 1], first, second) for n in range(0, len(values), 2)]
        return values[0]

    return f8(*[f8] * 8), code


@intrinsic  # type: ignore[untyped-decorator]
def transposed(typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """Eight vectors of the first lanes, the second lanes, and so on, of eight vectors."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = list(arguments)
        for step, first, second in (
            (1, [0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]),
            (2, [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]),
            (4, [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]),
        ):
            for n in range(LANES):
                if not n & step:
                    left, right = values[n], values[n + step]
                    values[n] = builder.shuffle_vector(left, right, ir.Constant(_INTS, first))
                    values[n + step] = builder.shuffle_vector(left, right, ir.Constant(_INTS, second))
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(f8, LANES)(*[f8] * LANES), code


@intrinsic  # type: ignore[untyped-decorator]
def first(typing: Any, a: Any) -> Any:
    """The first lane, a float."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], ir.IntType(32)(0))

    return types.float32(a), code


def _spread(lanes: list[int], document: str) -> Any:
    def operation(typing: Any, a: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.shuffle_vector(arguments[0], arguments[0], ir.Constant(_INTS, lanes))

        return f8(f8), code

    operation.__doc__ = document
    return intrinsic(operation)


spread2 = _spread([0, 0, 1, 1, 2, 2, 3, 3], "The first four lanes, each twice.")
spread4 = _spread([0, 0, 0, 0, 1, 1, 1, 1], "The first two lanes, each four times.")
_halves = _spread([4, 5, 6, 7, 0, 1, 2, 3], "The lanes, four further.")
_pairs = _spread([2, 3, 0, 1, 6, 7, 4, 5], "The lanes, two further.")
_neighbours = _spread([1, 0, 3, 2, 5, 4, 7, 6], "The lanes, each beside its neighbour.")


@inlined
def largest(x: Any) -> Any:
    """The greatest lane, a float."""
    x = greatest(x, _halves(x))
    x = greatest(x, _pairs(x))
    return first(greatest(x, _neighbours(x)))


@inlined
def exp(x: Any) -> Any:
    """e to the x for x between -80 and 80, to about two ulp; exactly 1 at 0.

    x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its Taylor series to the seventh power.
    """
    n = _round(mul(x, alike(x, 1.4426950408889634)))
    r = fma(n, alike(x, -0.693359375), x)  # the first bits of ln 2, so that the product is exact
    r = fma(n, alike(x, 2.12194440e-4), r)  # and the rest
    p = alike(x, 1 / 5040)
    p = fma(p, r, alike(x, 1 / 720))
    p = fma(p, r, alike(x, 1 / 120))
    p = fma(p, r, alike(x, 1 / 24))
    p = fma(p, r, alike(x, 1 / 6))
    p = fma(p, r, alike(x, 0.5))
    p = fma(p, r, alike(x, 1.0))
    p = fma(p, r, alike(x, 1.0))
    return mul(p, _power_of_two(n))


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x); exactly 1/2 at 0. x is clamped to [-30, 30]."""
    x = greatest(splat(-30.0), least(splat(30.0), x))
    return div(splat(1.0), add(splat(1.0), exp(sub(splat(0.0), x))))
