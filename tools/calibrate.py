"""Write the tables of `prunable.numerics.weights.calibration`; about ten minutes on one core.

Usage: python tools/calibrate.py src/prunable/numerics/weights/calibration.json [REPLICATES]

`log_ratio`: quantiles 0.9 and 0.5 of |X|, from the exact quantile function.
`stable`, `gaussian`: quantiles of the Anderson-Darling statistic when the law is right and
its parameters are estimated from the same sample, by simulation with fixed seeds.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from usage import typed

from prunable.files import write_text
from prunable.numerics.measure.goodness import anderson_darling, gaussian_goodness
from prunable.numerics.randomness import rng
from prunable.numerics.stable import StableLaw, sample_symmetric
from prunable.numerics.tails.ecf import fit_stable

FloatArray = NDArray[np.float64]

LEVELS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.999)
LAWS = (*(tenth / 10 for tenth in range(5, 19)), 1.85, 1.9, 1.93, 1.95, 1.97, 1.98, 1.99, 2.0)
SIZE = 4096
# Survival functions are tabulated on this grid and interpolated: to 1e-6, far below noise.
STEP = 0.01
GRID = np.concatenate([np.linspace(0, 16, 1601), np.geomspace(16.2, 1e12, 400)])


def log_survival(alpha: float) -> FloatArray:
    """Logarithm of P(|X| > x) on the grid."""
    return np.log(np.maximum(2 * StableLaw(alpha).sf(GRID), np.finfo(np.float64).tiny))


def statistics_of(alpha: float, replicates: int) -> FloatArray:
    """Draw the statistic `replicates` times for the law `alpha`."""
    table = lru_cache(maxsize=None)(lambda cell: log_survival(min(cell * STEP, 2.0)))
    generator = rng(0, "calibrate", repr(alpha))
    found = np.empty(replicates)
    for i in range(replicates):
        x = sample_symmetric(SIZE, alpha, generator)
        fit = fit_stable(x)
        law = max(fit.alpha, 0.4)
        cell = min(int(law / STEP), int(2 / STEP) - 1)
        share = law / STEP - cell
        ascending = np.sort(np.abs(x)) / fit.scale
        values = (1 - share) * table(cell) + share * table(cell + 1)
        upper = np.exp(np.interp(ascending, GRID, values))
        found[i] = anderson_darling(1 - upper, upper)[0]
    return found


def log_ratio(alpha: float) -> float:
    """Logarithm of the ratio of the quantiles 0.9 and 0.5 of |X|."""
    wide, narrow = StableLaw(alpha).isf(np.array([0.05, 0.25]))
    return math.log(wide / narrow)


def log_ratio_deviation(alpha: float) -> float:
    """Asymptotic deviation of the log ratio of the sample quantiles 0.9 and 0.5 of |X|."""
    law = StableLaw(alpha)
    points = law.isf(np.array([0.05, 0.25]))
    wide, narrow = points * 2 * law.pdf(points)
    variance = 0.9 * 0.1 / wide**2 + 0.25 / narrow**2 - 2 * 0.5 * 0.1 / (wide * narrow)
    return math.sqrt(variance)


def tables(replicates: int) -> dict[str, list[Any]]:
    """All tables, the simulated ones from so many samples a stable law, and five times Gaussian."""
    ratio_alpha = np.round(np.arange(0.5, 2.0001, 0.025), 3)
    stable = []
    for alpha in LAWS:
        stable.append(np.quantile(statistics_of(alpha, replicates), LEVELS))
        print(alpha, np.round(stable[-1], 3), flush=True)
    generator = rng(0, "calibrate", "gaussian")
    gaussian = [
        gaussian_goodness(generator.standard_normal(SIZE)).anderson_darling
        for _ in range(5 * replicates)
    ]
    return {
        "ratio_alpha": ratio_alpha.tolist(),
        "log_ratio": [round(log_ratio(a), 12) for a in ratio_alpha],
        "log_ratio_deviation": [round(log_ratio_deviation(a), 9) for a in ratio_alpha],
        "levels": list(LEVELS),
        "law_alpha": list(LAWS),
        "stable": [[round(float(q), 4) for q in row] for row in stable],
        "gaussian": [round(float(q), 4) for q in np.quantile(gaussian, LEVELS)],
    }


def main(target: str, replicates: str = "6000") -> None:
    """Write the tables to `target`."""
    write_text(Path(target), json.dumps(tables(int(replicates)), indent=1) + "\n")


if __name__ == "__main__":
    main(*typed(__doc__, 1, 2))
