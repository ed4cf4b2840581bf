"""Thresholds and losses of independent Gaussian coefficients, in closed form.

Arrays have a row for each setting and a column for each coefficient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.roots import Bracket, find_roots
from prunable.predict.linear.solution import SAMPLE, SAMPLED_FROM, weighted_sum

# Beyond so many standard deviations the normal density is 0 as a double.
FAR = 40.0
# Magnitudes that differ by less, relatively, are tied.
TIE = 1e-11
# Relative error of the number kept that ends the search.
FTOL = 1e-12
# Smallest threshold; what is smaller counts as 0.
SMALLEST = 1e-290


@dataclass(frozen=True, eq=False)
class Threshold:
    """Thresholds on magnitudes that keep exact expected numbers.

    `levels` are thresholds and their shares, each of shape (m,) as `value` is; two if equal
    magnitudes lie at `value`, of which only a share is kept.
    """

    value: FloatArray
    levels: tuple[tuple[FloatArray, FloatArray], ...]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Independent Gaussian coefficients X_i ~ N(means_i, variances_i).

    All of shape (m, a), variances finite and non-negative; weights say how often each counts,
    None for once.
    """

    means: FloatArray
    variances: FloatArray
    weights: FloatArray | None = None

    def count(self, terms: FloatArray) -> FloatArray:
        """Sum over coefficients with the weights: (m, a) to (m,)."""
        return weighted_sum(terms, self.weights)

    @cached_property
    def total(self) -> FloatArray:
        """Number of coefficients, shape (m,)."""
        return self.count(np.ones(self.means.shape))

    @cached_property
    def _standard(self) -> tuple[FloatArray, FloatArray]:
        """|mean| / sd and 1 / sd; a coefficient without variance gets almost none."""
        size = np.abs(self.means)
        sd = np.maximum(np.sqrt(self.variances), np.maximum(1e-16 * size, 1e-300))
        rate = 1 / sd
        return size * rate, rate

    def exceedance(self, t: FloatArray) -> FloatArray:
        """P(|X_i| >= t): thresholds of shape (m,) to probabilities of shape (m, a)."""
        centre, rate = self._standard
        with np.errstate(over="ignore"):
            distance = t[:, None] * rate
        found = ndtr(centre - distance)
        distance += centre
        np.negative(distance, out=distance)
        found += ndtr(distance, out=distance)
        return np.asarray(found)

    def survival(self, threshold: Threshold) -> FloatArray:
        """Probability that each coefficient is kept, shape (m, a)."""
        return _mixed(threshold, self.exceedance)

    def loss(self, targets: FloatArray, threshold: Threshold) -> FloatArray:
        """E[(targets_i - X_i 1{X_i is kept})^2], shape (m, a)."""
        return _mixed(threshold, lambda t: self._loss(targets, t))

    def _loss(self, targets: FloatArray, t: FloatArray) -> FloatArray:
        centre, rate = self._standard
        with np.errstate(over="ignore"):
            distance = t[:, None] * rate
        near = np.clip(distance - centre, -FAR, FAR)
        far = np.minimum(distance + centre, FAR)
        error = targets - self.means
        # the mean's sign decides which tail is the near one
        error = np.where(self.means < 0, -error, error)
        kept = ndtr(-near) + ndtr(-far)
        at_near, at_far = _density(near), _density(far)
        # E[(error - sd z)^2] over both tails: no part of the bulk to cancel
        tails = error**2 * kept
        tails += 2 * error * np.sqrt(self.variances) * (at_far - at_near)
        tails += self.variances * (kept + near * at_near + far * at_far)
        return np.asarray(targets**2 * (1 - kept) + tails)

    def threshold(self, kept: FloatArray) -> Threshold:
        """Find the thresholds that keep expected numbers, shape (m,), in (0, `total`].

        Equation (15) of the 2020 paper, for the mixture instead of its limit; ties are shared
        equally.
        """
        whole = kept >= self.total * (1 - 1e-12)

        def excess(log_t: FloatArray) -> FloatArray:
            return self.count(self.exceedance(np.exp(log_t))) / kept - 1

        guess, step = self._guess(kept)
        bracket = Bracket.around(excess, guess, step, math.log(SMALLEST))
        log_t, rest = find_roots(excess, bracket, 1e-13, FTOL)
        found = bracket.found
        t = np.where(whole, 0.0, np.exp(log_t))
        clean = whole | (found & (np.abs(rest) <= 1e3 * FTOL))
        if clean.all():
            return Threshold(t, ((t, np.ones(t.shape)),))
        # where fewer coefficients than asked for differ from 0, the zeros are tied
        below = np.where(clean, t, np.where(found, t * (1 - TIE), 0.0))
        beyond = np.where(clean, t, np.where(found, t * (1 + TIE), SMALLEST))
        at, above = (self.count(self.exceedance(x)) for x in (below, beyond))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(clean, 1.0, np.clip((kept - above) / (at - above), 0.0, 1.0))
        return Threshold(t, ((below, share), (beyond, 1 - share)))

    def _guess(self, kept: FloatArray) -> tuple[FloatArray, float]:
        """Logarithms of about the right thresholds, and how far they may be off."""
        columns = self.means.shape[1]
        if columns > SAMPLED_FROM:
            part = slice(None, None, columns // SAMPLE)
            w = None if self.weights is None else self.weights[:, part]
            sampled = Mixture(self.means[:, part], self.variances[:, part], w)
            t = sampled.threshold(kept / self.total * sampled.total).value
            return np.log(np.maximum(t, SMALLEST)), 0.03
        size = np.sqrt(self.means**2 + self.variances)
        order = np.argsort(-size, axis=1)
        w = np.ones(size.shape) if self.weights is None else self.weights
        reached = np.cumsum(np.take_along_axis(w, order, axis=1), axis=1)
        place = np.minimum((reached < kept[:, None]).sum(axis=1), columns - 1)
        t = np.take_along_axis(size, np.take_along_axis(order, place[:, None], 1), 1)[:, 0]
        t = np.where(t > 0, t, size.max(axis=1))
        return np.log(np.maximum(t, SMALLEST)), 0.1


def _mixed(threshold: Threshold, at: Callable[[FloatArray], FloatArray]) -> FloatArray:
    if len(threshold.levels) == 1:
        return at(threshold.levels[0][0])
    return np.asarray(sum(share[:, None] * at(t) for t, share in threshold.levels))


def _density(z: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * z * z) * (1 / math.sqrt(2 * math.pi)))
