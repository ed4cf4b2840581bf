"""Train a small model, or train a large one and prune it?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from prunable.predict.linear.curve import Curve, Wanted
from prunable.predict.linear.curves import even_points, width_curve
from prunable.predict.linear.law import Regime, check_samples, predict_law
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem
from prunable.predict.linear.pruning_risk import Method, check_kept, oracle_support

# Every method a user can run; oracle pruning knows the true coefficients.
REAL = (Method.MAGNITUDE, Method.HESSIAN)
POINTS = 60
SIZES = 24


@dataclass(frozen=True, eq=False)
class Recommendation:
    """What to train for a model of s features. Risks include sigma^2.

    Attributes
    ----------
    width : int
        Features to train with, s for "train the small model".
    model : str
        "dense" for no pruning, "magnitude" or "hessian", "retrained" and so on after it.
    risk : float
    regime : str
        Of the dense solution at that width.
    direct_risk : float
        Of training the first s features directly.
    informed_risk : float
        The best that training at most s features can do if the salient ones are known, over
        all underparameterized sizes: lemma 7 of the 2020 paper.
    informed_size : int
        That size; 0 for predicting nothing.
    beats_informed : bool
        Whether training large and pruning beats even that.
    proven : bool
        Whether the theorems of the 2020 paper cover it: diagonal covariance, no retraining.
    winning_widths : tuple of int
        Widths at which a pruned model beats `informed_risk`.
    curve : Curve
    """

    width: int
    model: str
    risk: float
    regime: str
    direct_risk: float
    informed_risk: float
    informed_size: int
    beats_informed: bool
    proven: bool
    winning_widths: tuple[int, ...]
    curve: Curve

    @property
    def gain(self) -> float:
        """Share of the directly trained model's risk that is saved, 0 for nothing."""
        if not math.isfinite(self.direct_risk):
            return 1.0
        return 1 - self.risk / self.direct_risk if self.direct_risk > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values, without the curve."""
        return {
            "width": self.width,
            "model": self.model,
            "risk": self.risk,
            "regime": self.regime,
            "direct_risk": self.direct_risk if math.isfinite(self.direct_risk) else None,
            "gain": self.gain,
            "informed_risk": self.informed_risk,
            "informed_size": self.informed_size,
            "beats_informed": self.beats_informed,
            "proven": self.proven,
            "winning_widths": list(self.winning_widths),
        }


def recommend(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    *,
    widths: ArrayLike | None = None,
    methods: tuple[Method, ...] = REAL,
    retrain: bool = False,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Recommendation:
    """Choose the width to train before pruning to s features.

    Parameters
    ----------
    problem : LinearGaussianProblem
        Of known features, in the order in which they would be added.
    n : int
        Samples.
    s : int
        Features of the final model, 1 <= s <= p.
    widths : array_like of int, optional
        Widths to compare, from s on; 60 between s and p by default. s itself is always one.
    methods : tuple of Method
        Pruning methods that can be run.
    retrain : bool
        Whether retraining on fresh data may follow.
    rng : numpy.random.Generator, optional
        Needed for a dense covariance.
    advance : callable
        Called after each width.

    Returns
    -------
    Recommendation

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    n, s = check_samples(n, "recommend"), check_kept(s, problem.p, "recommend")
    given = even_points(s, problem.p, POINTS) if widths is None else np.asarray(widths, dtype=int)
    compared = sorted({s, *(int(k) for k in given if k >= s)})
    wanted = Wanted(methods=methods, retrain_by=methods if retrain else ())
    curve = width_curve(problem, n, s, compared, wanted, rng=rng, advance=advance)
    direct = float(curve.risk["dense"][0])
    informed_risk, size = _informed(problem, n, s)
    best, where, model = direct, 0, "dense"
    pruned = {name: values for name, values in curve.risk.items() if name != "dense"}
    for name, values in pruned.items():
        place = int(np.nanargmin(values))
        # pruning must earn its trouble by more than rounding
        if values[place] < best * (1 - 1e-9):
            best, where, model = float(values[place]), place, name
    lowest = np.nanmin(np.stack(list(pruned.values())), axis=0)
    beats = lowest < informed_risk * (1 - 1e-9)
    proven = problem.kind == Covariance.DIAGONAL and not model.startswith("retrained")
    return Recommendation(
        compared[where],
        model,
        best,
        curve.regimes[where],
        direct,
        informed_risk,
        size,
        best < informed_risk * (1 - 1e-9),
        proven,
        tuple(k for k, won in zip(compared, beats, strict=True) if won and k > s),
        curve,
    )


def _informed(problem: LinearGaussianProblem, n: int, s: int) -> tuple[float, int]:
    """Least risk of directly training at most s of the salient features, and their number."""
    best, size = problem.sigma**2 + problem.signal, 0
    most = min(s, n - 1)
    if problem.kind == Covariance.DIAGONAL:
        energy = np.sort(problem.covariance * problem.coefficients**2)[::-1]
        sizes = np.arange(1, most + 1)
        left = np.maximum(problem.signal - np.cumsum(energy[:most]), 0.0)
        risks = (problem.sigma**2 + left) / (1 - sizes / n)
        found = [(float(risk), int(m)) for risk, m in zip(risks, sizes, strict=True)]
    else:
        found = [
            (problem.restricted(oracle_support(problem, m)).sigma ** 2 / (1 - m / n), m)
            for m in (even_points(1, most, SIZES) if most else [])
        ]
    if s > n:
        whole = predict_law(problem.restricted(oracle_support(problem, s)), n)
        if whole.regime == Regime.OVER:
            found.append((whole.risk, s))
    for risk, m in found:
        if risk < best:
            best, size = risk, m
    return best, size
