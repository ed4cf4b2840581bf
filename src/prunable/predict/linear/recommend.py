"""Train a small model, or train a large one and prune it?"""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from prunable.predict.linear.curves import Curve, Wanted, even_points, sweep_curve
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Method, Model, Variable, or_none
from prunable.predict.linear.problem import (
    Covariance,
    LinearGaussianProblem,
    check_kept,
    check_samples,
)
from prunable.predict.linear.pruning import oracle_support
from prunable.predict.linear.solution import Regime
from prunable.results import Result, as_plain

# Every method a user can run; oracle pruning knows the true coefficients.
REAL = (Method.MAGNITUDE, Method.HESSIAN)
POINTS = 60
SIZES = 24


@dataclass(frozen=True, eq=False)
class Recommendation(Result):
    """What to train for a model of s features. Risks include sigma^2.

    >>> import prunable
    >>> problem = prunable.predict.problem_of(p=100, sigma=0.1)
    >>> found = prunable.predict.recommend(problem, n=30, s=10)
    >>> found.width >= 10, found.to_dict()["model"] == found.model
    (True, True)
    """

    width: int  # features to train with, s for "train the small model"
    model: str  # "dense" for no pruning, "magnitude" or "hessian", "retrained" and so on after it
    risk: float
    regime: str  # of the dense solution at that width
    direct_risk: float  # of training the first s features directly
    gain: float  # share of that risk that is saved, 0 for nothing
    # informed_risk, informed_size: the best that training at most s features can do if the salient
    # ones are known, over all underparameterized sizes: lemma 7 of the 2020 paper; size 0 for
    # predicting nothing
    informed_risk: float
    informed_size: int
    beats_informed: bool  # whether training large and pruning beats even that
    # whether the theorems of the 2020 paper cover it: diagonal covariance, no retraining
    proven: bool
    winning_widths: tuple[int, ...]  # at which a pruned model beats `informed_risk`
    curve: Curve

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values, without the curve."""
        names = [field.name for field in fields(self) if field.name != "curve"]
        plain = {name: as_plain(getattr(self, name)) for name in names}
        return plain | {"direct_risk": or_none(self.direct_risk)}


def recommend(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    *,
    widths: ArrayLike | None = None,
    retrain: bool = False,
    rng: np.random.Generator | None = None,
) -> Recommendation:
    """Choose the width to train on n samples before pruning to s features.

    >>> import prunable
    >>> spiked = prunable.predict.preset("fig3b", p=100).problem
    >>> recommend(spiked, n=30, s=10).model
    'hessian'

    Parameters
    ----------
    widths : to compare, from s on; 60 between s and p by default. s itself is always one.
    """
    n, s = check_samples(n, "recommend"), check_kept(s, problem.p, "recommend")
    given = even_points(s, problem.p, POINTS) if widths is None else np.asarray(widths, dtype=int)
    compared = sorted({s, *(int(k) for k in given if k >= s)})
    wanted = Wanted(methods=REAL, retrain_by=REAL if retrain else ())
    curve = sweep_curve(Variable.WIDTH, problem, n, s, compared, wanted, rng=rng)
    pruned = {name: values for name, values in curve.risk.items() if name != Model.DENSE}
    direct = float(curve.risk[Model.DENSE][0])
    informed_risk, informed_size = _informed(problem, n, s)
    best, where, model = direct, 0, Model.DENSE.value
    for name, values in pruned.items():
        place = int(np.nanargmin(values))
        # pruning must earn its trouble by more than rounding
        if values[place] < best * (1 - 1e-9):
            best, where, model = float(values[place]), place, name
    gain = 1 - best / direct if direct > 0 else 0.0
    lowest = np.nanmin(np.stack(list(pruned.values())), axis=0)
    beats = lowest < informed_risk * (1 - 1e-9)
    return Recommendation(
        width=compared[where],
        model=model,
        risk=best,
        regime=curve.regimes[where],
        direct_risk=direct,
        gain=gain if math.isfinite(direct) else 1.0,
        informed_risk=informed_risk,
        informed_size=informed_size,
        beats_informed=best < informed_risk * (1 - 1e-9),
        proven=problem.kind == Covariance.DIAGONAL and not model.startswith(Model.RETRAINED),
        winning_widths=tuple(k for k, won in zip(compared, beats, strict=True) if won and k > s),
        curve=curve,
    )


def _informed(problem: LinearGaussianProblem, n: int, s: int) -> tuple[float, int]:
    """Least risk of directly training at most s of the salient features, and their number."""
    best, size = problem.sigma**2 + problem.signal, 0
    most = min(s, n - 1)
    if problem.kind == Covariance.DIAGONAL:
        energy = np.sort(problem.saliencies)[::-1]
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
