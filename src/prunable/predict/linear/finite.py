"""Exact expectations at finite n, where they are known: moments of inverse Wishart matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prunable.predict.linear.solution import Solution, Spectrum, ratio

FloatArray = NDArray[np.float64]


def exact_dense_risk(spectrum: Spectrum) -> FloatArray:
    """Expected risk of the dense solution, including sigma^2.

    Parameters
    ----------
    spectrum : Spectrum

    Returns
    -------
    ndarray
        Shape (m,). For rank r <= n: sigma^2 (n - 1) / (n - r - 1), infinite if r is n or
        n - 1. For equal eigenvalues and r > n: sigma^2 (r - 1) / (r - n - 1) plus (1 - n / r)
        times the signal. NaN otherwise. Without noise nothing is infinite.
    """
    n, rank, noise = spectrum.n, spectrum.rank, spectrum.noise
    values = spectrum.values
    used = values > 0 if spectrum.weights is None else (values > 0) & (spectrum.weights > 0)
    largest = np.where(used, values, -np.inf).max(axis=-1)
    smallest = np.where(used, values, np.inf).min(axis=-1)
    signal = spectrum.count(values * spectrum.coefficients**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        under = np.where(noise > 0, noise * ratio(n - 1, n - rank - 1), 0.0)
        equal = np.where(noise > 0, noise * ratio(rank - 1, rank - n - 1), 0.0)
        equal += (1 - n / rank) * signal
    over = np.where(largest <= smallest * (1 + 1e-12), equal, np.nan)
    return np.where(rank <= n, under, over)


def at_finite_n(spectrum: Spectrum, solution: Solution) -> Solution:
    """Put exact expectations in the place of limits, where they are known.

    Parameters
    ----------
    spectrum : Spectrum
    solution : Solution

    Returns
    -------
    Solution
        Its `gamma` is the exact risk where that is known; the variances follow.
    """
    exact = exact_dense_risk(spectrum)
    known = np.isfinite(solution.gamma) & ~np.isnan(exact)
    n, rank, noise = spectrum.n, spectrum.rank, spectrum.noise
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(noise > 0, noise * ratio(rank, rank - n - 1), 0.0)
        over = (solution.gamma - solution.noise_share + share) / solution.gamma
        factor = np.where(solution.over, over, ratio(n - rank, n - rank - 1))
        factor = np.where(known & (solution.gamma > 0), factor, 1.0)
        variances = np.where(
            solution.variances > 0, solution.variances * factor[:, None], solution.variances
        )
    return replace(
        solution, gamma=np.where(np.isnan(exact), solution.gamma, exact), variances=variances
    )
