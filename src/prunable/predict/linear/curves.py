"""Every risk at one setting, and sweeps over width, sparsity, noise and samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.predict.linear.curve import DENSE, RETRAINED, SAME_DATA, Curve, Risks, Wanted, after
from prunable.predict.linear.grid import grid
from prunable.predict.linear.law import check_samples, predict_law
from prunable.predict.linear.problem import Covariance, LinearGaussianProblem
from prunable.predict.linear.pruning_risk import Risk, check_kept, pruned_risk
from prunable.predict.linear.retraining import retrained_risk
from prunable.predict.linear.same_data import same_data_risk

FloatArray = NDArray[np.float64]


class Variable(StrEnum):
    """What a sweep changes; `sparsity` is s."""

    WIDTH = "width"
    SPARSITY = "sparsity"
    SIGMA = "sigma"
    SAMPLES = "samples"


def predict_risks(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
) -> Risks:
    """Predict every risk that is wanted at one setting.

    Parameters
    ----------
    problem : LinearGaussianProblem
    n : int
        Samples.
    s : int
        Features kept, 1 <= s <= p.
    wanted : Wanted
    rng : numpy.random.Generator, optional
        Needed for dense covariances and for retraining on the same data.

    Returns
    -------
    Risks

    Raises
    ------
    InputError
        If an argument is out of range, or a generator is missing.
    """
    s = check_kept(s, problem.p, "predict_risks")
    law = predict_law(problem, n, finite_n=wanted.finite_n)
    risk = {DENSE: Risk(law.risk)}
    for method in wanted.methods:
        risk[method.value] = pruned_risk(law, s, method, rng=rng, draws=wanted.draws)
    # more features than samples cost an eigendecomposition a draw
    dear = problem.kind == Covariance.DENSE and s > n
    draws = max(2, wanted.draws // 4) if dear else wanted.draws
    for method in wanted.retrain_by:
        risk[after(RETRAINED, method)] = retrained_risk(
            law, s, method, finite_n=wanted.finite_n, rng=rng, draws=draws
        )
    for method in wanted.same_data_by:
        if s != n and law.finite and problem.kind != Covariance.SPECTRAL:
            risk[after(SAME_DATA, method)] = same_data_risk(
                law, s, method, rng=_given(rng), draws=draws
            )
    return Risks(law, risk)


def width_curve(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    widths: ArrayLike,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Train on the first k features, prune to s; models narrower than s are not pruned.

    Parameters
    ----------
    problem : LinearGaussianProblem
        Of known features.
    n, s : int
        Samples; features kept.
    widths : array_like of int
        Each k, 1 <= k <= p.
    wanted, rng
        As in `predict_risks`.
    advance : callable
        Called after each point.

    Returns
    -------
    Curve
        Figures 3 and 7 of the 2020 paper.

    Raises
    ------
    InputError
        If an argument is out of range.
    """

    check_kept(s, problem.p, "width_curve")
    places = [check_kept(k, problem.p, "width_curve") for k in _whole(widths, "widths")]
    if _closed(problem, wanted):
        return grid(problem, "width", places, wanted, width=places, n=n, kept=s)

    def at(k: float) -> Risks:
        width = int(k)
        narrow = problem if width == problem.p else problem.restricted(np.arange(width))
        return predict_risks(narrow, n, min(s, width), wanted, rng=rng)

    return sweep("width", places, at, advance)


def sparsity_curve(
    problem: LinearGaussianProblem,
    n: int,
    kept: ArrayLike,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Prune one model to several sizes; arguments as in `width_curve`, `kept` each s."""
    places = [check_kept(s, problem.p, "sparsity_curve") for s in _whole(kept, "kept")]
    if _closed(problem, wanted):
        return grid(problem, "sparsity", places, wanted, n=n, kept=places)
    return sweep(
        "sparsity", places, lambda s: predict_risks(problem, n, int(s), wanted, rng=rng), advance
    )


def noise_curve(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    sigmas: ArrayLike,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Change the noise only; arguments as in `width_curve`, `sigmas` each >= 0."""
    check_kept(s, problem.p, "noise_curve")
    if _closed(problem, wanted):
        levels = [problem.with_sigma(sigma).sigma for sigma in np.atleast_1d(sigmas)]
        return grid(problem, "sigma", levels, wanted, sigma=levels, n=n, kept=s)
    return sweep(
        "sigma",
        sigmas,
        lambda sigma: predict_risks(problem.with_sigma(sigma), n, s, wanted, rng=rng),
        advance,
    )


def samples_curve(
    problem: LinearGaussianProblem,
    samples: ArrayLike,
    s: int,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Change the number of samples only; arguments as in `width_curve`."""
    check_kept(s, problem.p, "samples_curve")
    places = [check_samples(n, "samples_curve") for n in _whole(samples, "samples")]
    if _closed(problem, wanted):
        return grid(problem, "samples", places, wanted, n=places, kept=s)
    return sweep(
        "samples", places, lambda n: predict_risks(problem, int(n), s, wanted, rng=rng), advance
    )


def spectrum_curve(
    family: Callable[[float], LinearGaussianProblem],
    points: ArrayLike,
    n: int,
    s: int,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
    variable: str = "spectrum",
) -> Curve:
    """Change the problem itself.

    Parameters
    ----------
    family : callable
        From a point to a problem, such as the exponent of a power law of eigenvalues.
    points : array_like
        Shape (m,).
    n, s, wanted, rng, advance
        As in `width_curve`.
    variable : str
        Name of what changes.

    Returns
    -------
    Curve
    """
    return sweep(
        variable, points, lambda x: predict_risks(family(x), n, s, wanted, rng=rng), advance
    )


def sweep(
    variable: str,
    points: ArrayLike,
    at: Callable[[float], Risks],
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Predict at every point and gather the curve.

    Raises
    ------
    InputError
        If there is no point.
    """
    places = np.atleast_1d(np.asarray(points, dtype=np.float64))
    if places.size == 0 or places.ndim != 1:
        raise InputError.parameter("points", "sweep", "a non-empty list", f"{points!r}")
    found = []
    for point in places:
        found.append(at(float(point)))
        advance()
    names = list(dict.fromkeys(name for risks in found for name in risks.risk))
    return Curve(
        variable,
        places,
        {name: _column(found, name, lambda risk: risk.value) for name in names},
        {name: _column(found, name, lambda risk: risk.stderr) for name in names},
        tuple(risks.law.regime.value for risks in found),
    )


def sweep_curve(
    variable: Variable,
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    points: ArrayLike,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Sweep a variable by its name; see the function of each.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    if variable == Variable.WIDTH:
        return width_curve(problem, n, s, points, wanted, rng=rng, advance=advance)
    if variable == Variable.SPARSITY:
        return sparsity_curve(problem, n, points, wanted, rng=rng, advance=advance)
    if variable == Variable.SIGMA:
        return noise_curve(problem, n, s, points, wanted, rng=rng, advance=advance)
    return samples_curve(problem, points, s, wanted, rng=rng, advance=advance)


def default_points(variable: Variable, problem: LinearGaussianProblem, count: int) -> list[float]:
    """Return evenly spread points: up to p features, 3 p samples, or twice the signal."""
    if count < 2:
        raise InputError.parameter("points", "default_points", "at least 2", count)
    if variable == Variable.SIGMA:
        top = 2 * max(problem.sigma, problem.signal**0.5)
        return [float(x) for x in np.linspace(0, top, count)]
    high = problem.p * (3 if variable == Variable.SAMPLES else 1)
    return [float(k) for k in even_points(max(1, round(high / count)), high, count)]


def even_points(low: int, high: int, count: int) -> list[int]:
    """Return up to `count` whole numbers, evenly spread and ending at `high`."""
    return sorted({int(x) for x in np.round(np.linspace(low, high, count))})


def _column(found: Sequence[Risks], name: str, part: Callable[[Risk], float]) -> FloatArray:
    missing = Risk(float("nan"), float("nan"))
    return np.array([part(risks.risk.get(name, missing)) for risks in found])


def _given(rng: np.random.Generator | None) -> np.random.Generator:
    if rng is None:
        raise InputError.parameter(
            "rng",
            "predict_risks",
            "a generator to retrain on the same data",
            rng,
            "Pass `rng=prunable.numerics.randomness.rng(0)`.",
        )
    return rng


def _whole(values: ArrayLike, name: str) -> list[int]:
    given = np.atleast_1d(np.asarray(values))
    if given.ndim != 1 or not given.size or not np.array_equal(given, np.round(given)):
        raise InputError.parameter(name, "sweep", "a list of whole numbers", f"{values!r}")
    return [int(x) for x in given]


def _closed(problem: LinearGaussianProblem, wanted: Wanted) -> bool:
    return problem.kind == Covariance.DIAGONAL and not wanted.same_data_by
