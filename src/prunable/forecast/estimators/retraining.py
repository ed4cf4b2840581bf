"""The accuracy after a few epochs of retraining, from the accuracy before.

The law: retraining leaves the error rate multiplied by exp(a + b x), where
x = log(kappa) * log(way) and `way` is how far the network pruned at once is from chance to the
dense accuracy. So x is 0 where nothing was removed or nothing lost; b varies between networks by
what leaving out each trained one in turn has shown. `tools/forecast_constants.py` fits it and
writes the constants.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.stats import t as student

from prunable.errors import check_at_least, check_between, require
from prunable.numerics.arrays import FloatArray

WHERE = "after_retraining"
# The deviation of an accuracy at chance on ten thousand inputs, in units of sqrt(chance): nearer to
# chance a network cannot be told from a guess.
NEAREST = 0.01
STEP = 1e-4  # of an accuracy, for a derivative


@dataclass(frozen=True)
class RetrainingLaw:
    """Constants of the law, and what they rest on.

    Attributes
    ----------
    mean : a and b.
    between : Variance of a new network's b about the law's.
    within : Variance of the logarithm of a ratio of error rates about its network's law.
    networks : How many the law was fitted on.
    epochs : Of retraining, of all runs that it was fitted on.
    kappas : The smallest and the largest share kept among them.
    """

    mean: tuple[float, float]
    between: float
    within: float
    networks: int
    epochs: float
    kappas: tuple[float, float]


@dataclass(frozen=True)
class Retrained:
    """A run of retraining: accuracies (shares) of the dense network, pruned at once, and after."""

    network: str
    dense: float
    kappa: float
    one_shot: float
    retrained: float


@dataclass(frozen=True)
class RetrainedForecast:
    """The accuracy after retraining, with its interval; shares.

    `within_range` says whether kappa lies among those that the law was fitted on.
    """

    kappa: float
    value: float
    low: float
    high: float
    within_range: bool


LAW = RetrainingLaw(
    **json.loads(files("prunable.forecast.estimators").joinpath("retraining.json").read_text())
)


def after_retraining(
    accuracy: float,
    kappas: Sequence[float],
    one_shot: Sequence[float],
    *,
    one_shot_errors: Sequence[float] | None = None,
    chance: float = 0.1,
    probes: Sequence[tuple[float, float, float]] = (),
    level: float = 0.9,
    law: RetrainingLaw = LAW,
) -> tuple[RetrainedForecast, ...]:
    """Forecast the accuracy after a few epochs of retraining under the mask.

    Parameters
    ----------
    accuracy : Of the dense network.
    kappas, one_shot : Shares kept, and the accuracies pruned at once without retraining, measured
        or forecast.
    one_shot_errors : Standard errors of `one_shot`; None for measured ones.
    chance : Accuracy of guesses.
    probes : Runs of retraining already made of this network: (kappa, one shot, retrained).
    level : Of the intervals, which hold the spread between networks.

    Examples
    --------
    >>> mild, harsh = after_retraining(0.88, [0.3, 0.05], [0.6, 0.15])
    >>> 0.85 < mild.value < 0.88 and harsh.value < mild.low
    True
    """
    check_between(accuracy, chance, 1 - 1e-6, "accuracy", WHERE)
    check_between(chance, 1e-6, 1, "chance", WHERE)
    check_between(level, 0.5, 0.999, "level", WHERE)
    require(
        len(kappas) == len(one_shot),
        "one_shot",
        WHERE,
        f"of {len(kappas)} accuracies, one a kappa",
        len(one_shot),
    )
    for kappa, share, *rest in (*zip(kappas, one_shot, strict=True), *probes):
        check_between(kappa, 1e-6, 1, "kappas", WHERE)
        check_between(share, 0, 1, "one_shot", WHERE)
        for retrained in rest:
            check_between(retrained, 0, 1 - 1e-6, "probes", WHERE)
    errors = np.zeros(len(kappas)) if one_shot_errors is None else np.asarray(one_shot_errors)
    require(errors.shape == (len(kappas),), "one_shot_errors", WHERE, "one a kappa", errors.shape)
    mean, spread = _informed(law, accuracy, chance, probes)
    z = float(student.ppf((1 + level) / 2, law.networks - 1))
    found = []
    for kappa, share, error in zip(kappas, one_shot, errors, strict=True):
        row = design(accuracy, [kappa], [share], chance)[0]
        near = [design(accuracy, [kappa], [share + step], chance)[0, 1] for step in (-STEP, STEP)]
        slope = mean[1] * (near[1] - near[0]) / (2 * STEP)
        deviation = math.sqrt(float(row @ spread @ row) + law.within + (slope * error) ** 2)
        log_ratio = float(row @ mean)
        value, low, high = (
            1 - (1 - accuracy) * math.exp(log_ratio + step)
            for step in (0.0, z * deviation, -z * deviation)
        )
        inside = law.kappas[0] <= kappa <= law.kappas[1]
        found.append(
            RetrainedForecast(
                float(kappa), max(value, chance), max(low, 0.0), min(high, 1.0), inside
            )
        )
    return tuple(found)


def design(
    accuracy: float | FloatArray, kappas: ArrayLike, one_shot: ArrayLike, chance: float
) -> FloatArray:
    """Rows (1, x) of the law."""
    span = np.asarray(accuracy) - chance
    least = NEAREST * np.sqrt(chance) / span
    way = np.clip((np.asarray(one_shot) - chance) / span, least, 1.0)
    x = np.log(np.asarray(kappas, dtype=np.float64)) * np.log(way)
    return np.column_stack([np.ones_like(x), x])


def _informed(
    law: RetrainingLaw, accuracy: float, chance: float, probes: Sequence[tuple[float, float, float]]
) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of a network's a and b, given its own runs."""
    mean, spread = np.array(law.mean), np.diag([0.0, law.between])
    if not probes:
        return mean, spread
    kappas, shares, after = (np.array(column) for column in zip(*probes, strict=True))
    rows = design(accuracy, kappas, shares, chance)
    seen = np.log((1 - after) / (1 - accuracy))
    gain = spread @ rows.T @ np.linalg.inv(rows @ spread @ rows.T + law.within * np.eye(len(seen)))
    return mean + gain @ (seen - rows @ mean), spread - gain @ rows @ spread


def fit_law(runs: Sequence[Retrained], epochs: float, chance: float = 0.1) -> RetrainingLaw:
    """Fit the law to runs of several networks.

    a and b by least squares over all runs; the variances by maximum likelihood of what is left of
    each network's runs when the law is fitted on the others.
    """
    names = sorted({run.network for run in runs})
    check_at_least(len(names), 3, "networks", "fit_law")
    dense, kappas = np.array([run.dense for run in runs]), np.array([run.kappa for run in runs])
    rows = design(dense, kappas, [run.one_shot for run in runs], chance)
    seen = np.log((1 - np.array([run.retrained for run in runs])) / (1 - dense))
    left = np.empty(len(runs))
    for name in names:
        out = np.array([run.network == name for run in runs])
        left[out] = seen[out] - rows[out] @ np.linalg.lstsq(rows[~out], seen[~out])[0]

    def minus_likelihood(logs: FloatArray) -> float:
        variance = np.exp(logs[0]) + np.exp(logs[1]) * rows[:, 1] ** 2
        return float(np.sum(np.log(variance) + left**2 / variance))

    best = minimize(minus_likelihood, np.log([1e-3, 1e-4]), method="Nelder-Mead").x
    mean = np.linalg.lstsq(rows, seen)[0]
    return RetrainingLaw(
        (float(mean[0]), float(mean[1])),
        float(np.exp(best[1])),
        float(np.exp(best[0])),
        len(names),
        epochs,
        (float(kappas.min()), float(kappas.max())),
    )


def law_document(law: RetrainingLaw) -> str:
    """The law as JSON, as it is stored."""
    return json.dumps(asdict(law), indent=1) + "\n"
