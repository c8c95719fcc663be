"""Sixteen float32 at once, as values in compiled functions: loaded, multiplied, added, stored.

A loop that a compiler may or may not turn into vector instructions is here written as such, and with that every sum has one order: lane n
adds up what stands at places n, n + 16, ..., then the lanes are added from the first to the last. Half precision is widened as it is
loaded. Knows machine numbers; leaves what is computed to encoder_*.py and levels_*.py. As fast as the
processor's vectors are wide; an x86 must have F16C (check_processor).
Next: models/encoder_rows.py, models/levels_parts.py
"""

import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import extending, types
from numba.core import cgutils

from models.config import ModelConfigError
from models.machine_code import compiler

compiled = compiler("vectors", nogil=True)
intrinsic: Any = extending.intrinsic
LANES = 16
_FLOAT, _INT32 = ir.FloatType(), ir.IntType(32)
_FLOATS, _HALVES, _INT32S, _INT8S = (ir.VectorType(kind, LANES) for kind in (_FLOAT, ir.HalfType(), _INT32, ir.IntType(8)))
_STORED = {types.float32: (_FLOATS, 4), types.uint16: (_HALVES, 2)}
"""Type of an array's numbers -> how sixteen lie there, and their alignment. uint16 are the bits of half precision."""


def check_processor(features: Mapping[str, bool] | None = None) -> None:
    """Raises ModelConfigError where half precision would be converted by a function that is nowhere: x86 without F16C.

    features: of the processor; None asks it.
    """
    if platform.machine() not in ("x86_64", "AMD64"):
        return
    if not (get_host_cpu_features() if features is None else features).get("f16c"):
        raise ModelConfigError(
            "this processor, or what the virtual machine shows of it, converts no half precision (F16C); wanted an x86 of 2013 or later: "
            "give the machine its host's processor type, or x86-64-v3"
        )


class _Vector(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="float32x16")


vector = _Vector()


@extending.register_model(_Vector)
class _VectorModel(extending.models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any):
        super().__init__(manager, kind, _FLOATS)


def _place(context: Any, builder: Any, array_type: Any, arguments: Any, kind: Any) -> Any:
    array, at = arguments
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())


def _is_row(array: Any, kinds: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C" and array.dtype in kinds


@intrinsic
def load(typing_context, array, at):  # type: ignore[no-untyped-def]
    """Sixteen numbers of a float32 array, or of a uint16 array that holds half precision, from place `at` on."""
    if not _is_row(array, _STORED):
        return None

    def made(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind, alignment = _STORED[signature.args[0].dtype]
        found = builder.load(_place(context, builder, signature.args[0], arguments, kind))
        found.align = alignment
        return found if kind is _FLOATS else builder.fpext(found, _FLOATS)

    return vector(array, types.intp), made


@intrinsic
def store(typing_context, array, at, x):  # type: ignore[no-untyped-def]
    """Into a float32 array, or rounded towards zero, where they are whole numbers already, into an int8 array."""
    if not _is_row(array, (types.float32, types.int8)):
        return None

    def made(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        values, kind, alignment = arguments[2], _FLOATS, 4
        if signature.args[0].dtype == types.int8:
            values, kind, alignment = builder.trunc(builder.fptosi(values, _INT32S), _INT8S), _INT8S, 1
        builder.store(values, _place(context, builder, signature.args[0], arguments[:2], kind)).align = alignment
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), made


def _of(n: int, make: Callable[[Any, Any], Any]) -> Any:
    """A function of n vectors. make: (builder, arguments) -> value."""

    def signed(*kinds: Any) -> Any:
        return vector(*[vector] * n), lambda context, builder, signature, arguments: make(builder, arguments)

    by_count = {
        1: lambda typing_context, x: signed(x),
        2: lambda typing_context, x, y: signed(x, y),
        3: lambda typing_context, x, y, z: signed(x, y, z),
    }
    return intrinsic(by_count[n])


def _called(builder: Any, name: str, arguments: Any) -> Any:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32"), arguments)


add = _of(2, lambda builder, a: builder.fadd(*a))
sub = _of(2, lambda builder, a: builder.fsub(*a))
mul = _of(2, lambda builder, a: builder.fmul(*a))
div = _of(2, lambda builder, a: builder.fdiv(*a))
fma = _of(3, lambda builder, a: _called(builder, "fma", a))
"""x * y + z, rounded once."""
rint = _of(1, lambda builder, a: _called(builder, "rint", a))
absolute = _of(1, lambda builder, a: _called(builder, "fabs", a))
larger = _of(2, lambda builder, a: builder.select(builder.fcmp_ordered(">", *a), *a))
"""Of each pair; the second where one is no number."""
smaller = _of(2, lambda builder, a: builder.select(builder.fcmp_ordered("<", *a), *a))


def _power_of_two(builder: Any, arguments: Any) -> Any:
    exponents = builder.add(builder.fptosi(arguments[0], _INT32S), ir.Constant(_INT32S, [127] * LANES))
    return builder.bitcast(builder.shl(exponents, ir.Constant(_INT32S, [23] * LANES)), _FLOATS)


power_of_two = _of(1, _power_of_two)
"""2 ** x of whole numbers from -126 to 127."""


@intrinsic
def splat(typing_context, x):  # type: ignore[no-untyped-def]
    """The same number sixteen times."""

    def made(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        nothing = ir.Constant(_FLOATS, ir.Undefined)
        first = builder.insert_element(nothing, arguments[0], ir.Constant(_INT32, 0))
        return builder.shuffle_vector(first, nothing, ir.Constant(_INT32S, [0] * LANES))

    return vector(types.float32), made


@intrinsic
def lane(typing_context, x, n):  # type: ignore[no-untyped-def]
    """Number n of the sixteen."""

    def made(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.extract_element(arguments[0], builder.trunc(arguments[1], _INT32))

    return types.float32(vector, types.intp), made


@intrinsic
def half(typing_context, x):  # type: ignore[no-untyped-def]
    """Bits of a float32 in half precision, ties to even."""

    def made(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), made


@intrinsic
def number(typing_context, x):  # type: ignore[no-untyped-def]
    """float32 of itself, or of the bits of half precision."""
    if x not in (types.float32, types.uint16):
        return None

    def made(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        is_half = signature.args[0] == types.uint16
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), _FLOAT) if is_half else arguments[0]

    return types.float32(x), made


@intrinsic
def halves_at(typing_context, address):  # type: ignore[no-untyped-def]
    """A pointer to half precision, of its address."""

    def made(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.uint16)(types.int64), made


@compiled
def sum_of(x):  # type: ignore[no-untyped-def]
    total = lane(x, 0)
    for n in range(1, LANES):
        total += lane(x, n)
    return total


@compiled
def largest_of(x):  # type: ignore[no-untyped-def]
    found = lane(x, 0)
    for n in range(1, LANES):
        found = max(found, lane(x, n))
    return found


_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(-0.693359375), np.float32(2.12194440e-4)
_C5, _C4, _C3 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_C2, _C1, _C0, _ONE = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1), np.float32(1)


@compiled
def exp(x):  # type: ignore[no-untyped-def]
    """e ** x within 2 units of the last place, from -87 to 88; beyond, and of no number, what is at an end (Cody and Waite 1980, coefficients of Cephes)."""
    x = smaller(larger(x, splat(_LOWEST)), splat(_HIGHEST))
    n = rint(mul(x, splat(_LOG2_E)))
    r = fma(n, splat(_LN2_LOW), fma(n, splat(_LN2_HIGH), x))
    p = fma(splat(_C5), r, splat(_C4))
    p = fma(p, r, splat(_C3))
    p = fma(p, r, splat(_C2))
    p = fma(p, r, splat(_C1))
    p = fma(p, r, splat(_C0))
    return mul(fma(p, mul(r, r), add(r, splat(_ONE))), power_of_two(n))
