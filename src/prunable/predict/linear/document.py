"""The risk of a linear model after pruning, before training anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.linear.curve import RETRAINED, SAME_DATA, Risks, Wanted, after
from prunable.predict.linear.curves import Variable, predict_risks
from prunable.predict.linear.law import Regime
from prunable.predict.linear.methods import Method
from prunable.predict.linear.presets import PRESETS, preset
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem
from prunable.predict.linear.recommend import Recommendation, recommend
from prunable.predict.linear.simulate import Simulated, simulate_replica, summarise

__all__ = [
    "PRESETS",
    "Prediction",
    "Recommendation",
    "lgp",
    "preset",
    "problem_of",
    "recommend",
    "simulate",
    "simulate_curve",
]

# Numbers that draws may hold together.
LARGEST_DRAW = 20_000_000


@dataclass(frozen=True, eq=False)
class Prediction:
    """Predicted risks of one linear Gaussian problem. All risks include sigma^2.

    Attributes
    ----------
    risks : Risks
        "dense", "magnitude", "hessian", "oracle", "retrained" on fresh data and, where it is
        predicted, "retrained_same_data".
    s : int
        Features kept.
    method : Method
        After which was retrained.
    finite_n : bool
        Whether exact expectations at this n replace limits where they are known.
    notes : tuple of str
        What a reader of the numbers should know.
    """

    risks: Risks
    s: int
    method: Method
    finite_n: bool
    notes: tuple[str, ...]

    @property
    def risk(self) -> dict[str, float]:
        """Risks by name."""
        return {name: risk.value for name, risk in self.risks.risk.items()}

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values; infinite risks are null, and named in the notes."""
        law = self.risks.law
        problem = law.problem
        contract = ("dense", *(m.value for m in Method), RETRAINED)
        errors = {n: r.stderr for n, r in self.risks.risk.items() if r.stderr > 0}
        return {
            "settings": {
                "n": law.n,
                "p": problem.p,
                "s": self.s,
                "sigma": problem.sigma,
                "covariance": problem.kind.value,
                "rank": law.rank,
                "overparam_ratio": problem.p / law.n,
                "method": self.method.value,
                "finite_n": self.finite_n,
            },
            "risk": {name: _plain(self.risk.get(name, math.nan)) for name in contract},
            "fixed_point": {
                "xi": _plain(law.xi),
                "gamma": _plain(law.gamma),
                "residual": law.residual,
            },
            "regime": law.regime.value,
            "exact_dense_risk": None if law.exact_risk is None else _plain(law.exact_risk),
            "retrained_same_data": _plain(self.risk.get(SAME_DATA, math.nan)),
            "standard_error": errors,
            "notes": list(self.notes),
        }


def problem_of(
    p: int | None = None,
    sigma: float = 0.0,
    *,
    spectrum: ArrayLike | None = None,
    signal: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    eigenvectors: Literal["features", "random"] = "features",
) -> LinearGaussianProblem:
    """Build a problem from what is known of it.

    Parameters
    ----------
    p : int, optional
        Features; needed if no array gives their number.
    sigma : float
        Standard deviation of the noise, >= 0.
    spectrum : array_like, optional
        Eigenvalues of the covariance, shape (p,); 1 by default.
    signal : array_like, optional
        Coefficients, not multiplied by sqrt(p), shape (p,); 1 / sqrt(p) by default.
    covariance : array_like, optional
        In the place of `spectrum`: the matrix, shape (p, p).
    eigenvectors : {"features", "random"}
        Where the eigenvectors of `spectrum` lie: along the features, or anywhere.

    Returns
    -------
    LinearGaussianProblem

    Raises
    ------
    InputError
        If the arguments contradict each other, or are out of range.
    """
    where = "predict.lgp"
    if spectrum is not None and covariance is not None:
        raise InputError("give `predict.lgp` the spectrum or the covariance, not both.")
    sizes = {
        name: np.shape(array)[0]
        for name, array in (("spectrum", spectrum), ("signal", signal), ("covariance", covariance))
        if array is not None and np.ndim(array) > 0
    }
    size = p if p is not None else next(iter(sizes.values()), None)
    if size is None:
        raise InputError.parameter("p", where, "given", None, "Or give a spectrum or a signal.")
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError.parameter("p", where, "a positive integer", size)
    for name, found in sizes.items():
        if found != size:
            raise InputError.parameter(name, where, f"of length p = {size}", found)
    beta = np.full(size, 1 / math.sqrt(size)) if signal is None else signal
    if covariance is not None:
        return LinearGaussianProblem.dense(covariance, beta, sigma)
    values = np.ones(size) if spectrum is None else spectrum
    build = (
        LinearGaussianProblem.spectral
        if eigenvectors == "random"
        else LinearGaussianProblem.diagonal
    )
    return build(values, beta, sigma)


def lgp(
    n: int,
    p: int | None = None,
    s: int | None = None,
    sigma: float = 0.0,
    *,
    spectrum: ArrayLike | None = None,
    signal: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    problem: LinearGaussianProblem | None = None,
    method: Method | str = Method.MAGNITUDE,
    finite_n: bool = False,
    draws: int = 64,
    seed: int = 0,
) -> Prediction:
    """Predict the dense, pruned and retrained risk of a linear Gaussian problem.

    Parameters
    ----------
    n : int
        Samples.
    p : int, optional
        Features; needed if no array gives their number.
    s : int, optional
        Features kept, 1 <= s <= p; all by default.
    sigma : float
        Standard deviation of the noise, >= 0.
    spectrum, signal, covariance : array_like, optional
        As in `problem_of`.
    problem : LinearGaussianProblem, optional
        In the place of `p`, `sigma` and the arrays.
    method : Method or str
        After which pruning to retrain: "magnitude", "hessian" or "oracle".
    finite_n : bool
        Whether to use exact expectations at this n where they are known.
    draws : int
        For what has no closed form: correlated features, retraining on the same data.
    seed : int
        Of those draws.

    Returns
    -------
    Prediction

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if problem is None:
        problem = problem_of(p, sigma, spectrum=spectrum, signal=signal, covariance=covariance)
    if method not in [m.value for m in Method]:
        raise InputError.parameter("method", "predict.lgp", f"one of {', '.join(Method)}", method)
    chosen, kept = Method(method), problem.p if s is None else s
    features = problem.kind != Covariance.SPECTRAL
    small = problem.p * draws <= LARGEST_DRAW
    wanted = Wanted(
        retrain_by=(chosen,) if features else (),
        same_data_by=(chosen,) if features and small else (),
        finite_n=finite_n,
        draws=draws,
    )
    found = predict_risks(problem, n, kept, wanted, rng=rng(seed, "predict", "lgp"))
    # one name whatever the method, which the settings tell
    renamed = {after(name, chosen): name for name in (RETRAINED, SAME_DATA)}
    risks = Risks(found.law, {renamed.get(k, k): v for k, v in found.risk.items()})
    return Prediction(risks, kept, chosen, finite_n, tuple(_notes(risks, kept)))


def simulate(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    replicas: int,
    *,
    widths: Sequence[int] | None = None,
    retrain_by: Sequence[Method] = (Method.MAGNITUDE,),
    seed: int = 0,
    workers: int = 1,
    advance: Callable[[], object] = lambda: None,
) -> list[dict[str, Simulated]]:
    """Train, prune and retrain on simulated data.

    Parameters
    ----------
    problem : LinearGaussianProblem
        Of known features.
    n, s : int
        Samples; features kept.
    replicas : int
        Independent data sets, at least 2.
    widths : sequence of int, optional
        Use the first k features, for each of these k; all by default.
    retrain_by : sequence of Method
        After which to retrain.
    seed : int
        The numbers do not depend on `workers`.
    workers : int
        Threads, at least 1.
    advance : callable
        Called after each replica.

    Returns
    -------
    list of dict of str to Simulated
        One dictionary a width; names as in `numerics.asymptotics.simulate`.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if replicas < 2:
        raise InputError.parameter(
            "replicas", "predict.simulate", "at least 2", replicas, "One has no standard error."
        )
    if workers < 1:
        raise InputError.parameter("workers", "predict.simulate", "at least 1", workers)

    def one(replica: int) -> list[dict[str, float]]:
        rows = simulate_replica(
            problem, n, s, seed=seed, replica=replica, widths=widths, retrain_by=retrain_by
        )
        advance()
        return rows

    # linear algebra runs outside Python's lock; one thread each, or they fight for the cores
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(one, range(replicas)))
    return [summarise([rows[place] for rows in found]) for place in range(len(found[0]))]


def simulate_curve(
    variable: Variable,
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    points: Sequence[float],
    replicas: int,
    *,
    advance: Callable[[], object] = lambda: None,
    **options: Any,
) -> dict[str, Any]:
    """Simulate every point of a curve.

    Parameters
    ----------
    variable : Variable
    problem, n, s
        As in `simulate`.
    points : sequence of float
        Of the curve.
    replicas : int
        At each point.
    advance : callable
        Called `len(points)` times a replica.
    **options
        `retrain_by`, `seed` and `workers`, as in `simulate`.

    Returns
    -------
    dict
        "replicas", "points", and by name "mean" and "standard_error", a list a point.
    """
    if variable == Variable.WIDTH:

        def one_replica() -> None:
            for _ in points:
                advance()

        widths = [int(k) for k in points]
        found = simulate(problem, n, s, replicas, widths=widths, advance=one_replica, **options)
    else:
        found = []
        for x in points:
            at = problem.with_sigma(x) if variable == Variable.SIGMA else problem
            samples = int(x) if variable == Variable.SAMPLES else n
            kept = int(x) if variable == Variable.SPARSITY else s
            found += simulate(at, samples, kept, replicas, advance=advance, **options)
    names = list(found[0])
    return {
        "replicas": replicas,
        "points": [float(x) for x in points],
        "mean": {name: [_plain(at[name].mean) for at in found] for name in names},
        "standard_error": {name: [_plain(at[name].stderr) for at in found] for name in names},
    }


def _notes(risks: Risks, s: int) -> list[str]:
    law = risks.law
    problem, notes = law.problem, []
    if law.regime == Regime.AT:
        what = "exact recovery" if law.finite else "an infinite expected risk"
        notes.append(f"n = {law.n} is the number of features of positive variance: {what}.")
    if law.rank < problem.p:
        notes.append(f"{problem.p - law.rank} directions have no variance and do not count.")
    retrained, same = risks.risk.get(RETRAINED), risks.risk.get(SAME_DATA)
    if retrained is not None:
        text = "retrained: on fresh data of the same size (definition 5 of the 2020 paper)"
        if same is not None and math.isfinite(retrained.value):
            known = retrained.value > 1e-12 * problem.signal
            gap = f" ({100 * (same.value / retrained.value - 1):+.1f} %)" if known else ""
            text += f"; on the same data {same.value:.4g}{gap}, by our own derivation"
        notes.append(text + ".")
        if not math.isfinite(retrained.value):
            notes.append(f"s = {s} features from {law.n} samples: no finite risk when retrained.")
    elif problem.kind == Covariance.SPECTRAL:
        notes.append("eigenvectors lie anywhere: pruned risks are means over their directions.")
    if law.exact_risk is not None and law.exact_risk != law.risk:
        exact = f"{law.exact_risk:.6g}" if math.isfinite(law.exact_risk) else "infinite"
        notes.append(f"dense: the expectation at this very n is {exact}; see finite_n.")
    return notes


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
