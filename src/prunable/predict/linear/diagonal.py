"""Pruned and retrained risks for uncorrelated features, in closed form, many settings at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.names import Method
from prunable.predict.linear.roots import Bracket, find_roots
from prunable.predict.linear.solution import (
    SAMPLE,
    SAMPLED_FROM,
    Solution,
    Spectrum,
    exact_dense_risk,
    ratio,
    solve,
    weighted_sum,
)

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


@dataclass(frozen=True, eq=False)
class Pruning:
    """Pruning of solved settings.

    The eigenvalues of the spectrum are variances of uncorrelated features; `kept`, shape (m,),
    counts features in the unit of the weights.
    """

    spectrum: Spectrum
    solution: Solution
    kept: FloatArray
    _thresholds: dict[Method, tuple[Mixture, Threshold]] = field(default_factory=dict)

    @cached_property
    def _moments(self) -> tuple[FloatArray, FloatArray]:
        """What decides which features are kept: at interpolation only the noise's shape."""
        found = self.solution
        endless = ~np.isfinite(found.gamma)
        if not endless.any():
            return found.means, found.variances
        shape = ratio(1.0 * (self.spectrum.values > 0), self.spectrum.values)
        means = np.where(endless[:, None], 0.0, found.means)
        return means, np.where(endless[:, None], shape, found.variances)

    def _threshold(self, method: Method) -> tuple[Mixture, Threshold]:
        """What is compared, by magnitude or by the Hessian, and its threshold, found once."""
        if method not in self._thresholds:
            means, variances = self._moments
            if method == Method.HESSIAN:
                values = self.spectrum.values
                means, variances = means * np.sqrt(values), variances * values
            mixture = Mixture(means, variances, self.spectrum.weights)
            self._thresholds[method] = (mixture, mixture.threshold(self.kept))
        return self._thresholds[method]

    def survival(self, method: Method) -> FloatArray:
        """Probability that each feature is kept, shape (m, a)."""
        if method == Method.ORACLE:
            return self._salient()
        mixture, threshold = self._threshold(method)
        return mixture.survival(threshold)

    def risk(self, method: Method) -> FloatArray:
        """Risk after pruning, including sigma^2, shape (m,); infinite at interpolation."""
        spectrum, found = self.spectrum, self.solution
        values, beta = spectrum.values, spectrum.coefficients
        if method == Method.ORACLE:
            means, variances = self._moments
            share = self._salient()
            loss = share * ((beta - means) ** 2 + variances) + (1 - share) * beta**2
            loss = loss * values
        else:
            mixture, threshold = self._threshold(method)
            if method == Method.HESSIAN:
                loss = mixture.loss(beta * np.sqrt(values), threshold)
            else:
                loss = mixture.loss(beta, threshold) * values
        return np.where(np.isfinite(found.gamma), spectrum.noise + spectrum.count(loss), np.inf)

    def retrained(self, method: Method, n: FloatArray, *, finite_n: bool = False) -> FloatArray:
        """Risk after retraining on n fresh samples, shape (m,).

        Every feature counts by its probability of being kept: definition 5 of the 2020 paper
        as the number of features grows.
        """
        spectrum = self.spectrum
        share = self.survival(method)
        lost = spectrum.count((1 - share) * spectrum.values * spectrum.coefficients**2)
        weights = share if spectrum.weights is None else share * spectrum.weights
        noise = spectrum.noise + np.maximum(lost, 0.0)
        kept = replace(spectrum, noise=noise, n=n, weights=weights)
        found = solve(kept)
        if not finite_n:
            return found.gamma
        exact = exact_dense_risk(kept)
        return np.where(np.isnan(exact), found.gamma, exact)

    def _salient(self) -> FloatArray:
        """Shares of the features of largest variance times squared coefficient."""
        spectrum = self.spectrum
        order = np.argsort(-spectrum.values * spectrum.coefficients**2, kind="stable")
        shape = (self.kept.size, order.size)
        w = np.ones(shape) if spectrum.weights is None else spectrum.weights
        sorted_w = w[:, order]
        before = np.cumsum(sorted_w, axis=1) - sorted_w
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.clip((self.kept[:, None] - before) / sorted_w, 0.0, 1.0)
        placed = np.zeros(shape)
        placed[:, order] = np.where(sorted_w > 0, share, 0.0)
        return placed
