"""Simulation of stochastic gradient descent on a linear regression, and its tail index."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from prunable.errors import check_at_least, require
from prunable.numerics.arrays import FloatArray
from prunable.numerics.dynamics.sgd_tail import LinearRegressionSgd, lyapunov_exponent

# Chains forget their start like exp(steps * growth); the tail needs some steps more.
FORGETTING = 30.0
FEWEST_STEPS = 30
MOST_STEPS = 3000


@dataclass(frozen=True)
class IndexEstimate:
    """An estimated tail index, its standard error, and the observations used."""

    alpha: float
    stderr: float
    n: int


def stationary_steps(model: LinearRegressionSgd) -> int:
    """Steps after which a chain is stationary for practical ends, at most 3,000.

    Raises InputError where the step is too large for a stationary law.
    """
    growth = -lyapunov_exponent(model)
    wanted = "small enough for a stationary law"
    require(growth > 0, "eta", "stationary_steps", wanted, model.eta, "Lower it.")
    return int(min(max(FEWEST_STEPS, math.ceil(FORGETTING / growth)), MOST_STEPS))


def simulate_norms(
    model: LinearRegressionSgd,
    chains: int,
    steps: int,
    *,
    rng: np.random.Generator,
    label_noise: float = 1.0,
) -> FloatArray:
    """Distances ||x - x*|| of independent chains, started at the solution, after some steps.

    In the unit of label_noise / input_std; `label_noise` is the standard deviation of the labels
    around the linear model, positive.

    With u = A e along the current direction e, w = ||x|| u - noise and R = ||x||, the next
    distance is R'^2 = (R - c u.w)^2 + c^2 ||w||^2 chi^2_{d-1}: a Markov chain of four scalar
    draws a step in any dimension, with exactly the law of the distance of the full chain.
    """
    for name, count in (("chains", chains), ("steps", steps)):
        check_at_least(count, 1, name, "simulate_norms")
    require(label_noise > 0, "label_noise", "simulate_norms", "positive", label_noise)
    c, b, d = model.rate, model.batch, model.dim
    noise = label_noise / model.input_std
    r = np.zeros(chains)
    for _ in range(steps):
        q = rng.chisquare(b, chains)
        along = noise * rng.standard_normal(chains)  # label noise in the direction of u
        uw = r * q - np.sqrt(q) * along
        squared = (r - c * uw) ** 2
        if d > 1:
            ww = r**2 * q - 2 * r * np.sqrt(q) * along + along**2
            if b > 1:
                ww += noise**2 * rng.chisquare(b - 1, chains)
            squared += c**2 * ww * rng.chisquare(d - 1, chains)
        r = np.sqrt(squared)
    return r


def hill_index(values: FloatArray, share: float = 0.002) -> IndexEstimate:
    """Hill's estimate from a fixed share of the largest of (n,) positive values, at least 20.

    The smaller the share, the less bias and the more noise; the standard error is alpha / sqrt(k).
    """
    k = int(values.size * share)
    action = "Simulate more chains."
    require(k >= 20, "share", "hill_index", "a share of at least 20 values", share, action)
    top = np.sort(np.partition(values, values.size - k - 1)[-k - 1 :])
    alpha = 1 / float(np.log(top[1:] / top[0]).mean())
    return IndexEstimate(alpha, alpha / math.sqrt(k), k)


def monte_carlo_index(
    model: LinearRegressionSgd, draws: int, *, rng: np.random.Generator
) -> IndexEstimate:
    """Root of the mean of ||M e_1||^r over drawn matrices, at least 100.

    The standard error is that of the mean, divided by its slope in r. Raises InputError where the
    drawn norms have no root.
    """
    check_at_least(draws, 100, "draws", "monte_carlo_index")
    x = rng.chisquare(model.batch, draws)
    squared = (1 - model.rate * x) ** 2
    if model.dim > 1:
        squared += model.rate**2 * x * rng.chisquare(model.dim - 1, draws)
    logs = np.log(squared) / 2
    wanted = "one whose drawn steps both shrink and grow"
    require(logs.mean() < 0 and logs.max() > 0, "eta", "monte_carlo_index", wanted, model.eta)

    def excess(r: float) -> float:
        return float(np.expm1(r * logs).mean())

    high = 1.0
    while excess(high) <= 0:
        high *= 2
    low = high / 2
    while excess(low) >= 0:
        low /= 2
    alpha = float(brentq(excess, low, high))
    powers = np.exp(alpha * logs)
    slope = float((powers * logs).mean())
    return IndexEstimate(alpha, float(powers.std()) / math.sqrt(draws) / slope, draws)
