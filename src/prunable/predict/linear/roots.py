"""Roots of many monotone functions at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.arrays import FloatArray

Function = Callable[[FloatArray], FloatArray]

STEPS = 200


@dataclass(frozen=True, eq=False)
class Bracket:
    """Ends around each root, the function there, and whether a root lies between; shape (m,)."""

    low: FloatArray
    high: FloatArray
    at_low: FloatArray
    at_high: FloatArray
    found: NDArray[np.bool_]

    @classmethod
    def between(cls, function: Function, low: FloatArray, high: FloatArray) -> Bracket:
        """Take ends that are known to enclose the roots."""
        at_low, at_high = function(low), function(high)
        return cls(low, high, at_low, at_high, np.sign(at_low) * np.sign(at_high) <= 0)

    @classmethod
    def around(cls, function: Function, guess: FloatArray, step: float, floor: float) -> Bracket:
        """Step away from guesses until a falling function changes its sign.

        It acts entry by entry on shape (m,) and is positive to the left of its root. Steps
        triple; the search to the left ends at `floor`.
        """
        low = high = guess
        at_low = at_high = function(guess)
        while (right := (at_high > 0)).any() | (left := (at_low < 0) & (low > floor)).any():
            # only one of the two ends moves away, the other follows it
            end = np.where(right, high + step, np.where(left, low - step, high))
            there = function(end)
            low, at_low, high, at_high = (
                np.where(right, high, np.where(left, end, low)),
                np.where(right, at_high, np.where(left, there, at_low)),
                np.where(right, end, np.where(left, low, high)),
                np.where(right, there, np.where(left, at_low, at_high)),
            )
            step *= 3
        return cls(low, high, at_low, at_high, at_low >= 0)


def find_roots(
    function: Function, bracket: Bracket, xtol: float, ftol: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Find a root in each bracket, and the function there; the better end if there is none.

    Absolute accuracy `xtol` of the argument or `ftol` of the function, whichever is met first,
    ends the search. Chandrupatla (1997): inverse quadratic steps where the last three points
    allow them, else halving.
    """
    a, b, fa, fb = bracket.low, bracket.high, bracket.at_low, bracket.at_high
    c, fc = a, fa
    t = np.full(a.shape, 0.5)
    moving = bracket.found & _far(a, b, fa, fb, xtol, ftol)
    with np.errstate(all="ignore"):
        # the first step is along the secant
        t = np.where(np.isfinite(fa / (fa - fb)), np.clip(fa / (fa - fb), 0.01, 0.99), 0.5)
        for _ in range(STEPS):
            if not moving.any():
                break
            x = np.where(moving, a + t * (b - a), a)
            fx = function(x)
            same = np.sign(fx) == np.sign(fa)
            # a is the newest point, b lies on the other side, c is the one before
            c = np.where(moving, np.where(same, a, b), c)
            fc = np.where(moving, np.where(same, fa, fb), fc)
            b = np.where(moving & ~same, a, b)
            fb = np.where(moving & ~same, fa, fb)
            a, fa = np.where(moving, x, a), np.where(moving, fx, fa)
            moving &= _far(a, b, fa, fb, xtol, ftol)
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            smooth = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            step = fa / (fb - fa) * fc / (fb - fc)
            step += (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
            t = np.where(smooth & np.isfinite(step), step, 0.5)
            share = 0.5 * xtol / np.abs(b - a)
            t = np.clip(t, share, 1 - share)
    better = np.abs(fa) <= np.abs(fb)
    return np.where(better, a, b), np.where(better, fa, fb)


def _far(
    a: FloatArray, b: FloatArray, fa: FloatArray, fb: FloatArray, xtol: float, ftol: float
) -> NDArray[np.bool_]:
    near = np.minimum(np.abs(fa), np.abs(fb)) <= ftol
    spacing = 4 * np.finfo(np.float64).eps * (np.abs(a) + np.abs(b))
    return np.asarray(~near & (np.abs(b - a) > np.maximum(xtol, spacing)))
