"""Draws of stable laws from uniforms.

The transforms are pure functions of two uniforms. The first is the distance `t` of the
formula's angle to its pole, where the large draws come from: a distance keeps its relative
precision there, an angle does not. For the same reason the exponential variable is made
from the end of `|w|` that leads to large draws.
"""

import math

import numpy as np
from numpy.typing import NDArray

from prunable.errors import require
from prunable.numerics.checks import check_alpha, check_scale

FloatArray = NDArray[np.float64]

# Draws made at a time; bounds the scratch memory to a few times 2 MiB.
CHUNK = 2**18
# Draws beyond the largest double (possible for small alpha) are set near it, not to infinity; and
# those below the smallest near that, not to 0, with room for a sine of at least 1e-19.
LARGEST_EXPONENT = math.log(np.finfo(np.float64).max) - 1e-3
SMALLEST_EXPONENT = math.log(np.finfo(np.float64).tiny) + 45


def symmetric_transform(t: FloatArray, w: FloatArray, alpha: float) -> FloatArray:
    """Turn uniforms into symmetric alpha-stable draws: E exp(iuX) = exp(-|u|^alpha).

    Parameters
    ----------
    t : Distances of the angle to the pole, in (0, 1] and not subnormal; the angle is (pi/2) (1 -
        t).
    w : array, shape of t. In [-1, 1] without 0. Its sign is the sign of the draw, and |w| gives the
        exponential variable: -log|w| if alpha >= 1, -log(1 - |w|) if alpha < 1.

    Returns
    -------
    array, shape of t
        Never NaN or infinite.

    Notes
    -----
    Chambers, Mallows and Stuck (1976), with cosines near the pole written as sines of small
    arguments and products as sums of logarithms.
    """
    alpha = check_alpha(alpha, "symmetric_transform")
    half_pi = np.pi / 2
    if alpha == 1:
        return _signed(np.cos(half_pi * t) / np.sin(half_pi * t), w)
    log_e = _log_exponential(w, large_at_zero=alpha > 1)
    if alpha == 2:
        return _signed(2 * np.cos(half_pi * t) * np.exp(0.5 * log_e), w)
    gap = abs(1 - alpha)
    if alpha > 1:
        sine = np.sin((2 - alpha) * half_pi + alpha * half_pi * t)
    else:
        sine = np.sin(alpha * half_pi * (1 - t))
    cosine = np.sin((1 - gap) * half_pi + gap * half_pi * t)
    exponent = (1 - alpha) / alpha * (np.log(cosine) - log_e)
    exponent -= np.log(np.sin(half_pi * t)) / alpha
    return _signed(sine * np.exp(np.clip(exponent, SMALLEST_EXPONENT, LARGEST_EXPONENT)), w)


def positive_transform(t: FloatArray, w: FloatArray, a: float) -> FloatArray:
    """Turn uniforms into positive a-stable draws, 0 < a <= 1: E exp(-sX) = exp(-s^a).

    Parameters
    ----------
    t : Distances of the angle to the pole, in (0, 1]; the angle is pi (1 - t).
    w : array, shape of t. In [-1, 1] without 0. The exponential variable is -log(1 - |w|), whose
        small values make the large draws; the sign is not used.

    Returns
    -------
    array, shape of t
        Never NaN or infinite; 1 where a = 1.

    Notes
    -----
    Kanter (1975).
    """
    require(0 < a <= 1, "a", "positive_transform", "in (0, 1]", a)
    if a == 1:
        return np.ones_like(t)
    exponent = _log_sine(1 - a, t) - _log_exponential(w, large_at_zero=False)
    exponent = (1 - a) / a * exponent + _log_sine(a, t) - _log_sine(1.0, t) / a
    return np.exp(np.clip(exponent, SMALLEST_EXPONENT, LARGEST_EXPONENT))


def sample_symmetric(
    size: int | tuple[int, ...], alpha: float, rng: np.random.Generator, scale: float = 1.0
) -> FloatArray:
    """Draw independent numbers with E exp(iuX) = exp(-|scale u|^alpha); two uniforms a draw."""
    alpha = check_alpha(alpha, "sample_symmetric")
    scale = check_scale(scale, "sample_symmetric")
    out = np.empty(size)
    flat = out.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        chunk = flat[start : start + CHUNK]
        t, w = _uniforms(chunk.size, rng)
        chunk[:] = symmetric_transform(t, w, alpha)
    with np.errstate(over="ignore"):
        out *= scale
    return out


def sample_isotropic(
    n: int, dim: int, alpha: float, rng: np.random.Generator, scale: float = 1.0
) -> FloatArray:
    """Draw n rotation-invariant vectors, one a row, with E exp(i<u, X>) = exp(-||scale u||^alpha).

    X = sqrt(2 A) G with A positive (alpha/2)-stable and G standard normal, since
    E exp(i<u, X>) = E exp(-A ||u||^2) = exp(-||u||^alpha); Samorodnitsky and Taqqu (1994),
    proposition 2.5.2.
    """
    alpha = check_alpha(alpha, "sample_isotropic")
    scale = check_scale(scale, "sample_isotropic")
    out = rng.standard_normal((n, dim))
    for start in range(0, n, CHUNK):
        rows = out[start : start + CHUNK]
        t, w = _uniforms(len(rows), rng)
        with np.errstate(over="ignore"):
            rows *= (math.sqrt(2) * scale) * np.sqrt(positive_transform(t, w, alpha / 2))[:, None]
    return out


def _uniforms(count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw t in (0, 1) and w in (-1, 1) without 0, both exact multiples of 2**-53."""
    t, w = rng.random((count, 2)).T
    # Odd multiples of 2**-53: symmetric about 0, and never 0.
    # t = 1 is the centre of the formula, where a draw would be exactly 0.
    return np.minimum(1 - t, 1 - 2.0**-53), (1 - 2 * w) - 2.0**-53


def _signed(magnitude: FloatArray, w: FloatArray) -> FloatArray:
    draws: FloatArray = np.copysign(magnitude, w)
    return draws


def _log_exponential(w: FloatArray, *, large_at_zero: bool) -> FloatArray:
    """Logarithm of the standard exponential made from |w|; its large or small end at w = 0."""
    magnitude = np.abs(w)
    # |w| = 1 makes the exponential 0 or infinite, and the draw 0.
    with np.errstate(divide="ignore"):
        return np.log(-np.log(magnitude) if large_at_zero else -np.log1p(-magnitude))


def _log_sine(share: float, t: FloatArray) -> FloatArray:
    """Logarithm of sin(share * pi * (1 - t)), precise at both ends of (0, 1]."""
    # At t = 1 all sines vanish and their quotient has a limit; a tiny angle stands for it.
    opposite = np.maximum(1 - t, 2.0**-64)
    near = np.sin((1 - share) * np.pi + share * np.pi * t)
    return np.log(np.where(t < 0.5, near, np.sin(share * np.pi * opposite)))
