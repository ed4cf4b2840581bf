"""Pruned and retrained risks for uncorrelated features, in closed form, many settings at once."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.mixture import Mixture, Threshold
from prunable.predict.linear.names import Method
from prunable.predict.linear.solution import Solution, Spectrum, exact_dense_risk, ratio, solve


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
