"""The small CNN's convolutions and what is between them, compiled by Numba: image by image, in the cache.

Three times conv 3×3 → max-pooling 2×2 → ReLU → GroupNorm. What torch does layer by layer for a batch is done here for
one image after the other, so that 50 KB are in use and not 50 MB. Of a convolution's outputs only the largest of each
four leaves the registers, and the backward pass goes to that one alone: a quarter of a dense convolution's work. Images
do not affect each other, and sums over images are in their order.

Arrays are flat. Images and features are (height, width, channels), in scratch with a border of zeros, and weights
(outputs, 3, 3, inputs). ``row`` is the length of a row with its border, ``n`` how many vectors the channels take.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba import types

from clipfed_bench.core.locks import locked
from clipfed_bench.core.paths import cache_root
from clipfed_bench.models import vectors
from clipfed_bench.models.vectors import (
    add,
    fma,
    gate,
    gather,
    load,
    outer,
    pointer,
    pool,
    scatter,
    store,
    sub,
    zeros,
)

GROUPS, EPSILON = 8, 1e-5
"""Of GroupNorm; the latter is torch's default."""
IMAGE, FEATURES = 32 * 32 * 3, 4 * 4 * 64
POOLED = 16 * 16 * 16 + 8 * 8 * 32 + FEATURES
"""Values of an image after its poolings and ReLU, which the backward pass needs, with the place of each of its four."""
MOMENTS = 2 * (16 + 32 + 64)
"""Of an image: mean and inverse standard deviation of each channel's group."""

# A convolution sums in registers, for a tile of two rows of so many pixels, and so many outputs at a time. An AVX-512
# processor has room for 32 vectors, others for 8. No number depends on it.
WIDE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
_PIXELS_1, _PIXELS_2, _PIXELS_3 = (8, 4, 2) if WIDE else (2, 2, 2)
_OUTPUTS_2, _OUTPUTS_3 = (32, 64) if WIDE else (16, 16)
_SUMS = 16 if WIDE else 4

_ADDRESS, _ADDRESSES = types.intp, types.UniTuple(types.intp, 9)

_inline = numba.njit(inline="always")


def _compiled(*signature: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a function now, or take it from a cache folder, Numba's or the project's.

    Numba asks whether the function's own file has changed; the folder is called after all sources. A cache that cannot
    be written or read costs the time of compiling, and no more.
    """
    kind, given = types.void(*signature), numba.config.CACHE_DIR
    sources = b"".join(Path(str(file)).read_bytes() for file in (__file__, vectors.__file__))
    folder = (Path(given) if given else cache_root() / "kernels") / hashlib.sha256(sources).hexdigest()[:16]

    def compile(function: Callable[..., None]) -> Callable[..., None]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            numba.config.CACHE_DIR = str(folder)
            with locked(folder / "lock"):  # of workers that begin together one compiles
                return numba.njit(kind, cache=True)(function)  # type: ignore[no-any-return]
        except Exception:
            return numba.njit(kind)(function)  # type: ignore[no-any-return]
        finally:
            numba.config.CACHE_DIR = given

    return compile


@numba.njit
def _scratch(size: int) -> Any:
    """Zeros that begin where a vector does not cross two lines of the cache."""
    whole = np.zeros(size + 16, np.float32)
    first = (-whole.ctypes.data // 4) % 16
    return whole[first : first + size]


@_inline
def _convolve(x, side, row, inputs, w, outputs, columns, share, sums, pooled, at, places):
    """Convolution, pooling and ReLU: x -> pooled[at:] and places[at:], (side / 2, side / 2, outputs)."""
    for top in range(0, side, 2):
        for left in range(0, side, columns):
            for first in range(0, outputs, share):
                tile = zeros(sums)
                for k in range(3):
                    for i in range(3 * inputs):  # pixel by pixel, of each its channels
                        start = (top + k) * row + left * inputs + i
                        tile = outer(tile, x, start, w, (k * 3 * inputs + i) * outputs + first, row, inputs, columns)
                pixel = (top // 2) * (side // 2) + left // 2
                pool(tile, pooled, at + pixel * outputs + first, places, outputs, columns)


@_inline
def _measure(x, at, pixels, channels, n, moments, to):
    """Mean and 1 / sqrt(variance + ε) of x[at:] (pixels, channels) by groups, to moments[to:], for each channel.

    An infinite variance counts as unknown: torch has NaN there, by which updates are found that are not finite.
    """
    size = channels // GROUPS
    sums = np.empty(channels, np.float32)
    for power in range(2):
        mean = load(moments, to, n)
        total = zeros(n)
        for i in range(at, at + pixels * channels, channels):
            if power == 0:
                total = add(total, load(x, i, n))
            else:
                distance = sub(load(x, i, n), mean)
                total = fma(distance, distance, total)
        store(sums, 0, total)
        for group in range(0, channels, size):
            value = 0.0
            for k in range(group, group + size):
                value += sums[k]
            value /= pixels * size
            if power == 1:
                value = 1 / np.sqrt(value + EPSILON) if np.isfinite(value) else np.nan
            for k in range(group, group + size):
                moments[to + power * channels + k] = value


@_inline
def _normalize(x, at, side, channels, n, moments, mine, gamma, beta, lines, y, start, row):
    """GroupNorm: x[at:] (side, side, channels) -> y[start:], with rows of ``row``.

    ``lines`` becomes slope and intercept of each channel's normalization.
    """
    for k in range(channels):
        lines[k] = moments[mine + channels + k] * gamma[k]
        lines[channels + k] = beta[k] - moments[mine + k] * lines[k]
    slope, intercept = load(lines, 0, n), load(lines, channels, n)
    for i in range(side):
        for j in range(side):
            value = fma(load(x, at + (i * side + j) * channels, n), slope, intercept)
            store(y, start + i * row + j * channels, value)


@_inline
def _normalize_backward(x, at, side, channels, n, moments, mine, gamma, lines, dy, start, row, dx, dgamma, dbeta):
    """Backward of :func:`_normalize`, after it, and of the ReLU that gave x: dy[start:] -> dx (side, side, channels).

    Adds to dgamma and dbeta.
    """
    slope, mean = load(lines, 0, n), load(moments, mine, n)
    total, product = zeros(n), zeros(n)
    for i in range(side):
        for j in range(side):
            pixel = (i * side + j) * channels
            value, gradient = load(x, at + pixel, n), load(dy, start + i * row + j * channels, n)
            total = add(total, gradient)
            product = fma(gradient, sub(value, mean), product)
            store(dx, pixel, gradient)
    sums = np.empty(2 * channels, np.float32)
    store(sums, 0, total)
    store(sums, channels, product)
    size = channels // GROUPS
    count = side * side * size
    for group in range(0, channels, size):
        inverse = np.float64(moments[mine + channels + group])
        plain = along = 0.0
        for k in range(group, group + size):
            dbeta[k] += sums[k]
            dgamma[k] += sums[channels + k] * inverse
            plain += np.float64(gamma[k]) * sums[k]
            along += np.float64(gamma[k]) * sums[channels + k]
        for k in range(group, group + size):
            sums[k] = -along * inverse * inverse * inverse / count
            sums[channels + k] = -plain * inverse / count
    along, plain = load(sums, 0, n), load(sums, channels, n)
    for i in range(0, side * side * channels, channels):
        value = load(x, at + i, n)
        mended = fma(sub(value, mean), along, plain)
        store(dx, i, gate(fma(load(dx, i, n), slope, mended), value))


@_inline
def _weight_gradient(x, row, inputs, d, side, outputs, places, at, dw, length, n):
    """The gradient d of pooled (side, side, outputs) -> added to dw, ``length`` values an output, in ``n`` vectors."""
    for output in range(outputs):
        sums = zeros(n)
        for i in range(side):
            for j in range(side):
                pixel = (i * side + j) * outputs + output
                place = np.intp(places[at + pixel])
                start = (2 * i + (place >> 1)) * row + (2 * j + (place & 1)) * inputs
                sums = gather(sums, x, start, row, d[pixel])
        store(dw, output * length, add(load(dw, output * length, n), sums))


@_inline
def _input_gradient(dx, row, inputs, d, side, outputs, places, at, w, n):
    """The gradient d of pooled (side, side, outputs) -> dx, border included."""
    dx[:] = 0
    for output in range(outputs):
        taps = load(w, output * 9 * inputs, n)
        for i in range(side):
            for j in range(side):
                pixel = (i * side + j) * outputs + output
                place = np.intp(places[at + pixel])
                scatter(dx, (2 * i + (place >> 1)) * row + (2 * j + (place & 1)) * inputs, row, taps, d[pixel])


@_inline
def _frame(images, at, x):
    """The image at images[at:] into x, with a border."""
    for i in range(32):
        for j in range(96):
            x[(i + 1) * 102 + 3 + j] = images[at + i * 96 + j]


@_inline
def _floats(address, size):
    return numba.carray(pointer(address), size, np.float32)


@_inline
def _layer(parameters, k, size, channels):
    """Weights of layer ``k``, and weight and bias of its GroupNorm."""
    w, gamma, beta = parameters[k], parameters[k + 1], parameters[k + 2]
    return _floats(w, size), _floats(gamma, channels), _floats(beta, channels)


@_inline
def _packed(w, outputs):
    """Weights for :func:`_convolve`: (3, 3, inputs, outputs)."""
    result = _scratch(w.size)
    taps = w.size // outputs
    for output in range(outputs):
        for tap in range(taps):
            result[tap * outputs + output] = w[output * taps + tap]
    return result


@_compiled(_ADDRESS, types.intp, _ADDRESSES, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, types.boolean)
def forward(images, count, parameters, pooled, places, moments, features, keep):
    """Images (N, 32, 32, 3) -> features (N, 4, 4, 64), all by their addresses.

    ``parameters``: of each layer the convolution's weight, and weight and bias of its GroupNorm. What :func:`backward`
    needs goes to ``pooled`` and, as bytes, ``places`` (N, POOLED), and to ``moments`` (N, MOMENTS); unless ``keep``,
    they have room for one image alone.
    """
    w1, gamma1, beta1 = _layer(parameters, 0, 432, 16)
    w2, gamma2, beta2 = _layer(parameters, 3, 4608, 32)
    w3, gamma3, beta3 = _layer(parameters, 6, 18432, 64)
    w1, w2, w3 = _packed(w1, 16), _packed(w2, 32), _packed(w3, 64)
    room = count if keep else 1
    pooled, moments = _floats(pooled, room * POOLED), _floats(moments, room * MOMENTS)
    places = numba.carray(pointer(places), room * POOLED, np.uint8)
    images, features = _floats(images, count * IMAGE), _floats(features, count * FEATURES)
    x1, x2, x3 = _scratch(34 * 102 + 16), _scratch(18 * 288), _scratch(10 * 320)
    lines = _scratch(128)
    for image in range(count):
        a, m = (image * POOLED, image * MOMENTS) if keep else (0, 0)
        _frame(images, image * IMAGE, x1)
        _convolve(x1, 32, 102, 3, w1, 16, _PIXELS_1, 16, _SUMS, pooled, a, places)
        _measure(pooled, a, 256, 16, 1, moments, m)
        _normalize(pooled, a, 16, 16, 1, moments, m, gamma1, beta1, lines, x2, 304, 288)
        a, m = a + 4096, m + 32
        _convolve(x2, 16, 288, 16, w2, 32, _PIXELS_2, _OUTPUTS_2, _SUMS, pooled, a, places)
        _measure(pooled, a, 64, 32, 2, moments, m)
        _normalize(pooled, a, 8, 32, 2, moments, m, gamma2, beta2, lines, x3, 352, 320)
        a, m = a + 2048, m + 64
        _convolve(x3, 8, 320, 32, w3, 64, _PIXELS_3, _OUTPUTS_3, _SUMS, pooled, a, places)
        _measure(pooled, a, 16, 64, 4, moments, m)
        _normalize(pooled, a, 4, 64, 4, moments, m, gamma3, beta3, lines, features, image * FEATURES, 256)


@_compiled(_ADDRESS, types.intp, _ADDRESSES, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESS, _ADDRESSES)
def backward(images, count, parameters, pooled, places, moments, gradient, sums):
    """``gradient`` of the features -> added to ``sums``, which are laid out as the ``parameters``."""
    _, gamma1, beta1 = _layer(parameters, 0, 432, 16)
    w2, gamma2, beta2 = _layer(parameters, 3, 4608, 32)
    w3, gamma3, beta3 = _layer(parameters, 6, 18432, 64)
    dw1, dgamma1, dbeta1 = _layer(sums, 0, 432, 16)
    dw2, dgamma2, dbeta2 = _layer(sums, 3, 4608, 32)
    dw3, dgamma3, dbeta3 = _layer(sums, 6, 18432, 64)
    pooled, moments = _floats(pooled, count * POOLED), _floats(moments, count * MOMENTS)
    places = numba.carray(pointer(places), count * POOLED, np.uint8)
    images, gradient = _floats(images, count * IMAGE), _floats(gradient, count * FEATURES)
    x1, x2, x3, x4 = _scratch(34 * 102 + 16), _scratch(18 * 288), _scratch(10 * 320), _scratch(FEATURES)
    dx2, dx3, d = _scratch(18 * 288), _scratch(10 * 320), _scratch(4096)
    lines1, lines2, lines3 = _scratch(32), _scratch(64), _scratch(128)
    first = _scratch(16 * 48)  # of the first weights: for each output three rows of 9, each in a vector
    for image in range(count):
        a, m = image * POOLED, image * MOMENTS
        b, n = a + 4096, m + 32
        c, o = b + 2048, n + 64
        _frame(images, image * IMAGE, x1)
        _normalize(pooled, a, 16, 16, 1, moments, m, gamma1, beta1, lines1, x2, 304, 288)
        _normalize(pooled, b, 8, 32, 2, moments, n, gamma2, beta2, lines2, x3, 352, 320)
        _normalize(pooled, c, 4, 64, 4, moments, o, gamma3, beta3, lines3, x4, 0, 256)
        start = image * FEATURES
        _normalize_backward(pooled, c, 4, 64, 4, moments, o, gamma3, lines3, gradient, start, 256, d, dgamma3, dbeta3)
        _weight_gradient(x3, 320, 32, d, 4, 64, places, c, dw3, 288, 18)
        _input_gradient(dx3, 320, 32, d, 4, 64, places, c, w3, 18)
        _normalize_backward(pooled, b, 8, 32, 2, moments, n, gamma2, lines2, dx3, 352, 320, d, dgamma2, dbeta2)
        _weight_gradient(x2, 288, 16, d, 8, 32, places, b, dw2, 144, 9)
        _input_gradient(dx2, 288, 16, d, 8, 32, places, b, w2, 9)
        _normalize_backward(pooled, a, 16, 16, 1, moments, m, gamma1, lines1, dx2, 304, 288, d, dgamma1, dbeta1)
        _weight_gradient(x1, 102, 3, d, 16, 16, places, a, first, 48, 3)
    for output in range(16):
        for k in range(27):
            dw1[output * 27 + k] += first[output * 48 + k // 9 * 16 + k % 9]
