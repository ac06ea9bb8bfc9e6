"""A module's kernels -> one object file, by numba and LLVM. Runs in a process of its own (`nlpkit.machine.build`).

numba types and translates the functions; all optimising is done here, once, for the requested level, so that the same
sources give the same bytes in any folder and on any CPU. Each kernel is wrapped in a function of addresses and numbers,
which builds arrays and tuples from them. A kernel raises nothing: what numba would record for an error, such as the
sources' paths, is left out.

A kernel's signature, as JSON, says how it is called: "int", "float", {"dtype", "ndim", "sized"}, or a list for a tuple
of these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types as numba_types
from numba.core import callconv, cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import typeof_impl
from numba.np.arrayobj import populate_array

from nlpkit.machine.kernel import Array, Marked
from nlpkit.machine.level import Level
from nlpkit.machine.native import PREFIX

types: Any = numba_types
_NUMBER, _FLOAT, _ADDRESS = ir.IntType(64), ir.DoubleType(), ir.IntType(8).as_pointer()
_OUTSIDE = re.compile(r"llvm\.|mem(cpy|move|set)$|log$")  # external functions that a kernel may call


@dataclass(frozen=True)
class Compiled:
    """``signatures``: kernel -> parameters and result."""

    signatures: dict[str, tuple[list[Any], str]]
    code: bytes


@cache
def _dispatcher(marked: Marked) -> Any:
    return numba.njit(error_model="numpy", forceinline=marked.inline, _nrt=False)(marked.function)


@typeof_impl.register(Marked)  # type: ignore[untyped-decorator]
def _(value: Any, context: Any) -> Any:
    return types.Dispatcher(_dispatcher(value))


def _quiet(self: Any, builder: Any, *_: object, **__: object) -> None:
    self._return_errcode_raw(builder, callconv.RETCODE_USEREXC)


def compile_module(module: str, level: Level) -> Compiled:
    """Compile every kernel of a module. Errors: TypeError for a signature no kernel can have; numba's own."""
    callconv.CPUCallConv.return_user_exc = _quiet
    kernels = {
        name: item
        for name, item in sorted(vars(import_module(module)).items())
        if isinstance(item, Marked) and item.entry and item.__module__ == module
    }
    library: Any = None
    signatures = {}
    for name, item in kernels.items():
        hints = get_type_hints(item.function, include_extras=True)
        returned = "float" if hints.pop("return") is float else "int"
        dispatcher, argument_types = _dispatcher(item), tuple(_type(hint) for hint in hints.values())
        dispatcher.compile(argument_types)
        overload = dispatcher.overloads[argument_types]
        if library is None:
            library = overload.target_context.codegen().create_library(module)
        _add_wrapper(library, overload, name, list(hints.values()), returned)
        signatures[name] = ([_json_type(hint) for hint in hints.values()], returned)
    with global_compiler_lock:
        library.finalize()
    return Compiled(signatures, _object(library._final_module.as_bitcode(), {PREFIX + name for name in kernels}, level))


def _type(hint: Any) -> Any:
    """numba's type of a parameter."""
    if hint in (int, bool):
        return types.int64
    if hint is float:
        return types.float64
    if get_origin(hint) is tuple:
        return types.BaseTuple.from_types(tuple(map(_type, get_args(hint))))
    if hasattr(hint, "_fields"):
        fields = get_type_hints(hint, include_extras=True)
        return types.BaseTuple.from_types(tuple(_type(fields[name]) for name in hint._fields), hint)
    array = _array(hint)
    return types.Array(numba.from_dtype(np.dtype(array.dtype)), array.ndim, "C")


def _array(hint: Any) -> Array:
    arrays = [item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Array)]
    if not arrays:
        raise TypeError(f"no kernel takes {hint}")
    return arrays[0]


def _fields(hint: Any) -> list[Any] | None:
    """The parts of a tuple; None for anything else."""
    if get_origin(hint) is tuple:
        return list(get_args(hint))
    return list(get_type_hints(hint, include_extras=True).values()) if hasattr(hint, "_fields") else None


def _json_type(hint: Any) -> Any:
    """A parameter's type, as JSON."""
    if hint in (int, bool, float):
        return "float" if hint is float else "int"
    if (fields := _fields(hint)) is not None:
        return [_json_type(part) for part in fields]
    array, dtype = _array(hint), np.dtype(_array(hint).dtype)
    return {"dtype": dtype.descr if dtype.names else dtype.str, "ndim": array.ndim, "sized": array.sized}


def _llvm_types(json_type: Any) -> list[Any]:
    """LLVM's types of the addresses and numbers that are passed for a parameter."""
    if isinstance(json_type, list):
        return [kind for part in json_type for kind in _llvm_types(part)]
    if isinstance(json_type, dict):
        return [_ADDRESS, *[_NUMBER] * (json_type["ndim"] if json_type["sized"] else 0)]
    return [_FLOAT if json_type == "float" else _NUMBER]


def _add_wrapper(library: Any, overload: Any, name: str, hints: list[Any], returned: str) -> None:
    """Add the function of addresses and numbers that calls a kernel."""
    context, module = overload.target_context, library.create_ir_module(name)
    kinds = [kind for hint in hints for kind in _llvm_types(_json_type(hint))]
    result = _FLOAT if returned == "float" else _NUMBER
    function = ir.Function(module, ir.FunctionType(result, kinds), PREFIX + name)
    builder, rest = ir.IRBuilder(function.append_basic_block()), list(function.args)
    arguments = [_value(context, builder, hint, rest) for hint in hints]
    _, value = context.call_conv.call_function(
        builder,
        context.declare_function(module, overload.fndesc),
        overload.signature.return_type,
        overload.signature.args,
        arguments,
    )
    to = types.float64 if returned == "float" else types.int64
    builder.ret(context.cast(builder, value, overload.signature.return_type, to))
    library.add_ir_module(module)
    library.add_linking_library(overload.library)


def _value(context: Any, builder: Any, hint: Any, rest: list[Any]) -> Any:
    """A parameter's value, built from the first of ``rest``, which are removed."""
    kind = _type(hint)
    if (fields := _fields(hint)) is not None:
        return context.make_tuple(builder, kind, [_value(context, builder, part, rest) for part in fields])
    data = rest.pop(0)
    if not isinstance(kind, types.Array):
        return data
    array, size = context.make_array(kind)(context, builder), context.get_abi_sizeof(context.get_data_type(kind.dtype))
    sized = _array(hint).sized
    shape = [rest.pop(0) if sized else _NUMBER(0) for _ in range(kind.ndim)]
    strides = [_NUMBER(size)]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(
        array,
        data=builder.bitcast(data, array.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=_NUMBER(size),
        meminfo=None,
    )
    return array._getvalue()


def _object(bitcode: bytes, kernels: set[str], level: Level) -> bytes:
    """Optimised code of a level. Only kernels keep their names: numba's depend on the process that compiles."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_bitcode(bitcode)
    cross = level.machine == "aarch64"  # whose default code model is the only one that our loader knows
    machine = llvm.Target.from_triple(level.triple).create_target_machine(
        cpu=level.cpu,
        features=level.features,
        opt=3,
        reloc="default",
        jit=True,
        codemodel="default" if cross else "jitdefault",
    )
    module.triple, module.data_layout = level.triple, str(machine.target_data)
    module.name = "kernels"
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    parts = [part for part in (*module.functions, *module.global_variables) if not part.is_declaration]
    for number, part in enumerate(part for part in parts if part.name not in kernels):
        part.linkage, part.name = "internal", f"part{number}"
    unused = llvm.create_new_module_pass_manager()
    unused.add_global_dead_code_eliminate_pass()
    unused.run(module, passes)
    for function in module.functions:
        if function.is_declaration and not _OUTSIDE.match(function.name):
            raise TypeError(f"a kernel needs {function.name}, which only numba provides")
    return bytes(machine.emit_object(module))
