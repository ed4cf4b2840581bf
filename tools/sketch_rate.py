"""Measure how fast sketches that fail become rare with the size of the matrix: theorem 5.1.

Usage: python tools/sketch_rate.py docs/sketch

The theorem says that a p x p matrix of j entries a row and column is the only solution of the l1
problem with probability 1 - p^-c, c above 2 by remark 5.1, at m = O(sqrt(j p) ln p) and delta =
O(ln p). Writes `rate.json` and `rate.md`; about five minutes on one core. Seeds are fixed: equal
arguments give equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize
from sketch_phase import correct, matrix, words
from threadpoolctl import threadpool_limits
from usage import typed

from prunable.files import write_json, write_text
from prunable.numerics.randomness import rng
from prunable.report.tables import table
from prunable.sketch.recovery.douglas_rachford import decode_l1
from prunable.sketch.recovery.sizes import SketchSize
from prunable.sketch.recovery.sketching import sketch

SIDES, ENTRIES, FACTORS = (24, 36, 54, 80, 120), 2, (0.6, 0.7, 0.8)
DRAWS, ITERATIONS = 300, 1000


def size(p: int, factor: float) -> tuple[int, int]:
    """m = factor sqrt(j p) ln p measurements of a side, and delta = ceil(ln p)."""
    return round(factor * math.sqrt(ENTRIES * p) * math.log(p)), math.ceil(math.log(p))


def failures(p: int, factor: float, draws: int) -> int:
    """Draws of matrix, A and B, columns distinct, in which the l1 problem does not give X.

    Which X are unique depends on positions and signs alone; magnitudes from 0.5 to 1.5 keep the
    decoder from stopping short of entries that are almost 0.
    """
    m, delta = size(p, factor)
    lost = 0
    for draw in range(draws):
        r = rng(0, "rate", p, m, draw)
        some = matrix((p, p), ENTRIES, "float64", "regular", r)
        entries = replace(some, values=np.sign(some.values) * r.uniform(0.5, 1.5, some.count))
        left, right = SketchSize(m, m, delta, delta).ensembles((p, p), r)
        found = decode_l1(sketch(entries, left, right), left, right, max_iterations=ITERATIONS)
        lost += not correct(entries, found)
    return lost


def equal_columns(p: int, m: int, delta: int) -> float:
    """Probability that A or B, drawn as definition E.1 has them, has two equal columns.

    With p of C(m, delta) columns each drawn uniformly; exact.
    """
    subsets = math.comb(m, delta)
    distinct = math.fsum(math.log1p(-i / subsets) for i in range(1, p))
    return -math.expm1(2 * distinct)


def fit(sides: Sequence[int], lost: Sequence[int], draws: int) -> tuple[float, float]:
    """Estimate c of the probability B p^-c of failure, and its standard error, by likelihood.

    Sides at which all draws fail are above the power law's range and left out. NaN if fewer than
    two sides are left, or none of them has a failure.
    """
    known = [(math.log(p), k) for p, k in zip(sides, lost, strict=True) if k < draws]
    if len(known) < 2 or not any(k for _, k in known):
        return math.nan, math.nan
    x, k = (np.array(column, dtype=np.float64) for column in zip(*known, strict=True))
    centre = x.mean()

    def loss(at: np.ndarray[Any, Any]) -> float:
        log_rate = np.minimum(at[0] - at[1] * (x - centre), -1e-9)
        return float(-(k * log_rate + (draws - k) * np.log(-np.expm1(log_rate))).sum())

    best = optimize.minimize(loss, [-2.0, 2.0], method="Nelder-Mead", options={"xatol": 1e-8}).x
    rate = np.exp(np.minimum(best[0] - best[1] * (x - centre), -1e-9))
    # information of a binomial in ln of its probability
    weight = draws * rate / (1 - rate)
    mean = float((weight * x).sum() / weight.sum())
    return float(best[1]), float(1 / math.sqrt((weight * (x - mean) ** 2).sum()))


def measured() -> dict[str, Any]:
    """Failures by side and factor, and the exponents fitted to them."""
    rows, fits = [], []
    for factor in FACTORS:
        lost = [failures(p, factor, DRAWS) for p in SIDES]
        for p, count in zip(SIDES, lost, strict=True):
            m, delta = size(p, factor)
            plain = equal_columns(p, m, delta)
            rows.append({"factor": factor, "p": p, "m": m, "delta": delta, "lost": count})
            rows[-1] |= {"draws": DRAWS, "equal_columns": plain, "p^-2": p**-2.0}
        c, error = fit(SIDES, lost, DRAWS)
        fits.append({"factor": factor, "c": c, "stderr": error})
    return {"entries": ENTRIES, "rows": rows, "fits": fits}


def page(found: dict[str, Any]) -> str:
    """The tables in Markdown."""
    failed = table(
        ["m / (sqrt(jp) ln p)", "p", "m", "delta", "not recovered", "equal columns", "p^-2"],
        [
            (
                f"{row['factor']:g}",
                str(row["p"]),
                str(row["m"]),
                str(row["delta"]),
                f"{row['lost']} of {row['draws']}",
                f"{row['equal_columns']:.2g}",
                f"{row['p^-2']:.2g}",
            )
            for row in found["rows"]
        ],
    )
    exponents = table(
        [*words("m / (sqrt(jp) ln p)"), "c", "standard error"],
        [
            (f"{one['factor']:g}", f"{one['c']:.2f}", f"{one['stderr']:.2f}")
            for one in found["fits"]
        ],
    )
    return f"""# How fast failures of sketching become rare

Written by `python tools/sketch_rate.py docs/sketch`. Theorem 5.1 of the sketching paper (2023), as
reconstructed: a p x p matrix of j entries a row and column is the only solution of the l1 problem
with probability 1 - p^-c at m = O(sqrt(j p) ln p), delta = O(ln p); remark 5.1 says c > 2. Here j =
{found["entries"]}, delta = ceil(ln p), random signs, magnitudes from 0.5 to 1.5, regular
supports, l1 by Douglas-Rachford ({ITERATIONS:,} iterations).

{failed.markdown()}
"Not recovered" is of A and B whose columns differ; "equal columns" is the exact probability that a
plain draw of definition E.1 has two equal columns in A or B, in which case X is not the only
solution.

## Exponent c of the failures, B p^-c by likelihood

{exponents.markdown()}"""


def main(folder: str) -> None:
    """Measure, and write the two files."""
    with threadpool_limits(1):
        found = measured()
    write_json(Path(folder) / "rate.json", found)
    write_text(Path(folder) / "rate.md", page(found))


if __name__ == "__main__":
    main(*typed(__doc__, 1, 1))
