"""Vectors of 16 float32 in functions that Numba compiles: what is computed, and in which order, on every processor.

A compiler that vectorizes loops by itself decides by the processor, and its sums come out otherwise on the next one.
Here tuples of vectors are in registers, and each operation is one instruction for each vector where registers are that
wide, and the same arithmetic in halves or quarters elsewhere. Multiply-adds are fused, nothing is reordered, and NaN
and infinity go the way they go in torch. Counts and strides are constants where functions are called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models, register_default
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic

LANES = 16
"""Values of a vector."""

_FLOATS, _BYTES = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(8), LANES)
_ZERO = ir.Constant(_FLOATS, [0.0] * LANES)


class Vector(types.Type):
    """The type of a vector."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


@register_default(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _FLOATS)


_VECTOR = Vector()


def _constants(*kinds: Any) -> list[int]:
    """The values of arguments that have to be constants."""
    if not all(isinstance(kind, types.IntegerLiteral) for kind in kinds):
        raise RequireLiteralValue("counts and strides are constants")
    return [kind.literal_value for kind in kinds]


class _Place:
    """A place in an array, argument ``k`` of a call, at the index that argument ``k + 1`` is."""

    def __init__(self, context: Any, builder: Any, kinds: Any, values: Any, k: int, index: int | None = None) -> None:
        index = k + 1 if index is None else index
        data = context.make_array(kinds[k])(context, builder, values[k]).data
        at = context.cast(builder, values[index], kinds[index], types.intp)
        self._builder, self._start = builder, builder.gep(data, [at])

    def pointer(self, offset: int, kind: Any = None) -> Any:
        """To what is ``offset`` values further on."""
        address = self._builder.gep(self._start, [ir.Constant(ir.IntType(64), offset)])
        return address if kind is None else self._builder.bitcast(address, kind.as_pointer())

    def load(self, offset: int) -> Any:
        return self._builder.load(self.pointer(offset, _FLOATS), align=4)

    def store(self, offset: int, value: Any) -> None:
        self._builder.store(value, self.pointer(offset, _FLOATS), align=4)

    def spread(self, offset: int) -> Any:
        return _spread(self._builder, self._builder.load(self.pointer(offset)))


def _spread(builder: Any, value: Any) -> Any:
    """A vector whose values are all ``value``."""
    unknown = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(unknown, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, unknown, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32"), [a, b, c])


def _positive(builder: Any, x: Any, value: Any) -> Any:
    """``value`` where ``x`` is above 0, or NaN; else 0."""
    return builder.select(builder.fcmp_ordered("<=", x, _ZERO), _ZERO, value)


def _all(builder: Any, vectors: Any, count: int) -> list[Any]:
    return [builder.extract_value(vectors, i) for i in range(count)]


def _by_vector(emit: Callable[..., Any], kinds: Sequence[Any]) -> tuple[Any, Any]:
    """An operation on each vector of its arguments, of which numbers stand for as many vectors."""
    many = next(kind for kind in kinds if isinstance(kind, types.UniTuple))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        columns = []
        for kind, value in zip(signature.args, values, strict=True):
            if isinstance(kind, types.UniTuple):
                columns.append(_all(builder, value, many.count))
            else:
                columns.append([_spread(builder, context.cast(builder, value, kind, types.float32))] * many.count)
        return context.make_tuple(builder, many, [emit(builder, *row) for row in zip(*columns, strict=True)])

    return many(*kinds), generate


@intrinsic
def pointer(_: Any, address: Any) -> Any:
    """What is at ``address``, for :func:`numba.carray`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], cgutils.voidptr_t)

    return types.voidptr(types.intp), generate


@intrinsic
def add(_: Any, a: Any, b: Any) -> Any:
    """a + b."""
    return _by_vector(lambda builder, *row: builder.fadd(*row), (a, b))


@intrinsic
def sub(_: Any, a: Any, b: Any) -> Any:
    """a - b."""
    return _by_vector(lambda builder, *row: builder.fsub(*row), (a, b))


@intrinsic
def fma(_: Any, a: Any, b: Any, c: Any) -> Any:
    """a · b + c, rounded once."""
    return _by_vector(_fused, (a, b, c))


@intrinsic
def gate(_: Any, gradient: Any, x: Any) -> Any:
    """The gradient of ReLU at ``x``."""
    return _by_vector(lambda builder, value, at: _positive(builder, at, value), (gradient, x))


@intrinsic(prefer_literal=True)
def zeros(_: Any, count: Any) -> Any:
    """``count`` vectors of zeros."""
    many = types.UniTuple(_VECTOR, *_constants(count))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return context.make_tuple(builder, many, [_ZERO] * many.count)

    return many(count), generate


@intrinsic(prefer_literal=True)
def load(_: Any, array: Any, at: Any, count: Any) -> Any:
    """``count`` vectors, one after the other from ``array[at]``."""
    many = types.UniTuple(_VECTOR, *_constants(count))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _Place(context, builder, signature.args, values, 0)
        return context.make_tuple(builder, many, [place.load(LANES * i) for i in range(many.count)])

    return many(array, at, count), generate


@intrinsic
def store(_: Any, array: Any, at: Any, vectors: Any) -> Any:
    """Put ``vectors`` one after the other from ``array[at]``."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _Place(context, builder, signature.args, values, 0)
        for i, value in enumerate(_all(builder, values[2], vectors.count)):
            place.store(LANES * i, value)
        return context.get_dummy_value()

    return types.void(array, at, vectors), generate


@intrinsic(prefer_literal=True)
def outer(_: Any, sums: Any, x: Any, at: Any, w: Any, start: Any, row: Any, step: Any, columns: Any) -> Any:
    """For a tile of 2 × ``columns`` pixels: sums += x · w, x a number for each pixel and w vectors for all of them.

    Pixels are ``step`` values apart in ``x``, the rows of the tile ``row``. ``sums`` is pixel by pixel.
    """
    row_, step_, columns_ = _constants(row, step, columns)
    share = sums.count // (2 * columns_)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        before = _all(builder, values[0], sums.count)
        pixels, weights = (_Place(context, builder, signature.args, values, k) for k in (1, 3))
        columns = [weights.load(LANES * v) for v in range(share)]
        after = []
        for pixel in range(2 * columns_):
            value = pixels.spread(pixel // columns_ * row_ + pixel % columns_ * step_)
            after += [_fused(builder, value, columns[v], before[pixel * share + v]) for v in range(share)]
        return context.make_tuple(builder, sums, after)

    return sums(sums, x, at, w, start, row, step, columns), generate


@intrinsic(prefer_literal=True)
def pool(_: Any, sums: Any, largest: Any, at: Any, places: Any, step: Any, columns: Any) -> Any:
    """The largest of each 2 × 2 pixels of a tile and 0, to ``largest[at]`` and each ``step`` values on; NaN is largest.

    ``places`` (uint8), at the same indices: which it was, 0 to 3 row by row; the first of equal ones, the last NaN.
    """
    step_, columns_ = _constants(step, columns)
    share = sums.count // (2 * columns_)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        vectors = _all(builder, values[0], sums.count)
        found, where = (_Place(context, builder, signature.args, values, k, 2) for k in (1, 3))
        for column in range(columns_ // 2):
            for v in range(share):
                four = [vectors[(r * columns_ + 2 * column + c) * share + v] for r in (0, 1) for c in (0, 1)]
                best, place = four[0], ir.Constant(_BYTES, [0] * LANES)
                for k in (1, 2, 3):
                    is_nan = builder.fcmp_unordered("uno", four[k], four[k])
                    better = builder.or_(builder.fcmp_ordered(">", four[k], best), is_nan)
                    best = builder.select(better, four[k], best)
                    place = builder.select(better, ir.Constant(_BYTES, [k] * LANES), place)
                found.store(step_ * column + LANES * v, _positive(builder, best, best))
                builder.store(place, where.pointer(step_ * column + LANES * v, _BYTES), align=1)
        return context.get_dummy_value()

    return types.void(sums, largest, at, places, step, columns), generate


@intrinsic(prefer_literal=True)
def gather(_: Any, sums: Any, x: Any, at: Any, row: Any, factor: Any) -> Any:
    """sums += x · factor for three rows of vectors in ``x``, ``row`` values apart."""
    places = _three_rows(sums.count, *_constants(row))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, factor = _Place(context, builder, signature.args, values, 1), _spread(builder, values[4])
        pairs = zip(places, _all(builder, values[0], sums.count), strict=True)
        return context.make_tuple(builder, sums, [_fused(builder, x.load(i), factor, old) for i, old in pairs])

    return sums(sums, x, at, row, types.float32), generate


@intrinsic(prefer_literal=True)
def scatter(_: Any, x: Any, at: Any, row: Any, w: Any, factor: Any) -> Any:
    """x += w · factor for three rows of vectors in ``x``, ``row`` values apart."""
    places = _three_rows(w.count, *_constants(row))

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, factor = _Place(context, builder, signature.args, values, 0), _spread(builder, values[4])
        for i, value in zip(places, _all(builder, values[3], w.count), strict=True):
            x.store(i, _fused(builder, value, factor, x.load(i)))
        return context.get_dummy_value()

    return types.void(x, at, row, w, types.float32), generate


def _three_rows(count: int, row: int) -> list[int]:
    return [r * row + LANES * i for r in range(3) for i in range(count // 3)]
