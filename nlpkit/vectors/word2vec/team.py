"""Synchronisation of the threads of a kernel: an atomic counter from which they take numbers, and a barrier.

Kernels run without Python's lock (``nogil``), so they may wait for each other. A thread at the barrier spins for a
short time and then sleeps on a futex until the last thread arrives, so that its core is free for another thread. Where
the system has no futex (only Linux has), it yields its core repeatedly.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nlpkit.machine.kernel import helper, inlined
from nlpkit.machine.simd import pointer_to
from nlpkit.vectors.word2vec.rounds import LINE as _LINE

_ARRIVED, _TURN, _TAKEN, _ASLEEP = 0, _LINE, 2 * _LINE, 3 * _LINE
_SPINS = 100000  # a tenth of a millisecond
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE with FUTEX_PRIVATE_FLAG


@intrinsic  # type: ignore[untyped-decorator]
def _fetch_add(typing: Any, array: Any, index: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = pointer_to(context, builder, signature.args[0], *arguments[:2])
        return builder.atomic_rmw("add", pointer, arguments[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def _read(typing: Any, array: Any, index: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = pointer_to(context, builder, signature.args[0], *arguments)
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(array, types.intp), code


@intrinsic  # type: ignore[untyped-decorator]
def _write(typing: Any, array: Any, index: Any, value: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = pointer_to(context, builder, signature.args[0], *arguments[:2])
        builder.store_atomic(arguments[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.none(array, types.intp, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def _call(typing: Any, address: Any) -> Any:
    """Call a system function without arguments."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.none(types.intp), code


@intrinsic  # type: ignore[untyped-decorator]
def _futex(typing: Any, syscall: Any, number: Any, array: Any, index: Any, operation: Any, value: Any) -> Any:
    """futex(2) on the lower half of array[index]."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, number, array, index, operation, value = arguments
        long = ir.IntType(64)
        kind = ir.FunctionType(long, [long], var_arg=True)
        where = builder.ptrtoint(pointer_to(context, builder, signature.args[2], array, index), long)
        function = builder.inttoptr(address, kind.as_pointer())
        builder.call(function, [number, where, operation, value, long(0), long(0), long(0)])
        return context.get_dummy_value()

    return types.none(types.intp, types.int64, array, types.intp, types.int64, types.int64), code


@inlined
def take(team: Any) -> Any:
    """The next number, from 0; each number goes to one thread."""
    return _fetch_add(team, _TAKEN, 1)


@inlined
def wipe(team: Any) -> None:
    """Reset the counter to 0, while no thread takes a number."""
    _write(team, _TAKEN, 0)


@helper
def wait(team: Any, threads: int, system: Any) -> None:
    """Wait until all threads are here. Each then sees what the others wrote before."""
    if threads == 1:
        return
    turn = _read(team, _TURN)
    if _fetch_add(team, _ARRIVED, 1) == threads - 1:
        _write(team, _ARRIVED, 0)
        _fetch_add(team, _TURN, 1)
        if _read(team, _ASLEEP) > 0:
            _futex(system.syscall, system.futex, team, _TURN, _WAKE, threads)
        return
    spins = 0
    while _read(team, _TURN) == turn:
        spins += 1
        if spins <= _SPINS:
            continue
        if system.syscall == 0:
            _call(system.yield_cpu)
            continue
        _fetch_add(team, _ASLEEP, 1)
        _futex(system.syscall, system.futex, team, _TURN, _WAIT, turn)  # sleeps only while the turn is unchanged
        _fetch_add(team, _ASLEEP, -1)
