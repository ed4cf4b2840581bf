"""Every risk at one setting, and sweeps over width, sparsity, noise and samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import check_at_least, require
from prunable.numerics.arrays import FloatArray
from prunable.predict.linear.diagonal import Pruning
from prunable.predict.linear.law import Law, predict_law
from prunable.predict.linear.names import Method, Model, Risk, Variable, or_none
from prunable.predict.linear.problem import (
    Covariance,
    LinearGaussianProblem,
    check_kept,
    check_samples,
    setting,
)
from prunable.predict.linear.pruning import DRAWS, pruned_risk
from prunable.predict.linear.retraining import retrained_risk, same_data_risk
from prunable.predict.linear.solution import Spectrum, at_finite_n, solve
from prunable.results import Result

# Numbers in one array of a batch of settings.
BATCH = 1_000_000


@dataclass(frozen=True)
class Wanted:
    """Which risks to predict, and how."""

    methods: tuple[Method, ...] = tuple(Method)  # pruning
    # retrain_by, same_data_by: after which to retrain, on fresh or on the same data
    retrain_by: tuple[Method, ...] = ()
    same_data_by: tuple[Method, ...] = ()
    finite_n: bool = False  # whether to use exact expectations at this n where they are known
    # for what has no closed form; a quarter of them where each is dear, retraining more correlated
    # features than samples
    draws: int = DRAWS


@dataclass(frozen=True, eq=False)
class Risks:
    """Predicted risks at one setting, including sigma^2, and the law of the dense solution.

    Named as `Model` and `Model.after`: "retrained_hessian" and so on.
    """

    law: Law
    risk: dict[str, Risk]


@dataclass(frozen=True, eq=False)
class Curve(Result):
    """Risks along a sweep of m points.

    `risk` and `stderr` hold one array a model, shape (m,), NaN where a model is not predicted;
    `regimes` are those of the dense solution at each point.
    """

    variable: str
    points: FloatArray
    risk: dict[str, FloatArray]
    stderr: dict[str, FloatArray]
    regimes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Curve({self.variable}, {len(self.points)} points of {', '.join(self.risk)})"

    def to_dict(self) -> dict[str, Any]:
        """Turn into plain JSON values; what is infinite or missing is null."""
        return {
            "variable": self.variable,
            "points": [or_none(x) for x in self.points],
            "risk": {name: [or_none(x) for x in values] for name, values in self.risk.items()},
            "standard_error": {
                name: [or_none(x) for x in values]
                for name, values in self.stderr.items()
                if (values > 0).any()
            },
            "regime": list(self.regimes),
        }

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                self.variable: float(point),
                "regime": self.regimes[i],
                **{name: float(values[i]) for name, values in self.risk.items()},
            }
            for i, point in enumerate(self.points)
        ]


def predict_risks(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
) -> Risks:
    """Predict every risk that is wanted from n samples, with s of p features kept.

    The generator is needed for dense covariances and for retraining on the same data.
    """
    s = check_kept(s, problem.p, "predict_risks")
    law = predict_law(problem, n, finite_n=wanted.finite_n)
    risk = {Model.DENSE.value: Risk(law.risk)}
    for method in wanted.methods:
        risk[method.value] = pruned_risk(law, s, method, rng=rng, draws=wanted.draws)
    # more features than samples cost an eigendecomposition a draw
    dear = problem.kind == Covariance.DENSE and s > n
    draws = max(2, wanted.draws // 4) if dear else wanted.draws
    for method in wanted.retrain_by:
        risk[Model.RETRAINED.after(method)] = retrained_risk(
            law, s, method, finite_n=wanted.finite_n, rng=rng, draws=draws
        )
    for method in wanted.same_data_by:
        if s != n and law.finite and problem.kind != Covariance.SPECTRAL:
            risk[Model.RETRAINED_SAME.after(method)] = same_data_risk(
                law, s, method, rng=rng, draws=draws
            )
    return Risks(law, risk)


def sweep_curve(
    variable: Variable | str,
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    points: ArrayLike,
    wanted: Wanted = Wanted(),
    *,
    rng: np.random.Generator | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Change one thing and keep the others; figures 3 and 7 of the 2020 paper change the width.

    Uncorrelated features without retraining on the same data take one vectorised call.

    Parameters
    ----------
    points : widths, sizes kept and samples are whole numbers; models narrower than s are not.
        pruned
    """
    variable = Variable(variable)
    if variable != Variable.SAMPLES:
        check_samples(n, "sweep_curve")
    places = _checked(variable, problem, s, points)
    if problem.kind == Covariance.DIAGONAL and not wanted.same_data_by:
        return _closed_curve(variable, problem, n, s, places, wanted)

    def at(point: float) -> Risks:
        return predict_risks(*setting(variable, problem, n, s, point), wanted, rng=rng)

    return sweep(variable.value, places, at, advance)


def sweep(
    variable: str,
    points: Sequence[float],
    at: Callable[[float], Risks],
    advance: Callable[[], object] = lambda: None,
) -> Curve:
    """Predict at every point and gather the curve."""
    found = []
    for point in points:
        found.append(at(float(point)))
        advance()
    names = list(dict.fromkeys(name for risks in found for name in risks.risk))
    missing = Risk(float("nan"), float("nan"))

    def column(name: str, part: str) -> FloatArray:
        return np.array([getattr(risks.risk.get(name, missing), part) for risks in found])

    return Curve(
        variable,
        np.asarray(points, dtype=np.float64),
        {name: column(name, "value") for name in names},
        {name: column(name, "stderr") for name in names},
        tuple(risks.law.regime.value for risks in found),
    )


def default_points(variable: Variable, problem: LinearGaussianProblem, count: int) -> list[float]:
    """Return evenly spread points: up to p features, 3 p samples, or twice the signal."""
    check_at_least(count, 2, "points", "default_points")
    if variable == Variable.SIGMA:
        top = 2 * max(problem.sigma, problem.signal**0.5)
        return [float(x) for x in np.linspace(0, top, count)]
    high = problem.p * (3 if variable == Variable.SAMPLES else 1)
    return [float(k) for k in even_points(max(1, round(high / count)), high, count)]


def even_points(low: int, high: int, count: int) -> list[int]:
    """Return up to `count` whole numbers, evenly spread and ending at `high`."""
    return sorted({int(x) for x in np.round(np.linspace(low, high, count))})


def _checked(
    variable: Variable, problem: LinearGaussianProblem, s: int, points: ArrayLike
) -> list[float]:
    where = "sweep_curve"
    given = np.atleast_1d(np.asarray(points))
    require(given.ndim == 1 and given.size, "points", where, "a non-empty list", f"{points!r}")
    if variable != Variable.SPARSITY:
        check_kept(s, problem.p, where)
    if variable == Variable.SIGMA:
        return [problem.with_sigma(sigma).sigma for sigma in given]
    require(np.array_equal(given, np.round(given)), "points", where, "whole numbers", f"{points!r}")
    counts = [int(x) for x in given]
    if variable == Variable.SAMPLES:
        return [check_samples(x, where) for x in counts]
    return [check_kept(x, problem.p, where) for x in counts]


def _closed_curve(
    variable: Variable,
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    points: Sequence[float],
    wanted: Wanted,
) -> Curve:
    """Predict every risk of a diagonal problem in closed form, in batches of points."""
    count, along = len(points), {variable: points}
    samples, kept, sigma = (
        np.broadcast_to(np.asarray(along.get(name, fixed), float), count)
        for name, fixed in (
            (Variable.SAMPLES, n),
            (Variable.SPARSITY, s),
            (Variable.SIGMA, problem.sigma),
        )
    )
    noise = np.square(sigma)
    widths = np.asarray(points, dtype=np.intp) if variable == Variable.WIDTH else None
    if widths is not None:
        kept = np.minimum(kept, widths)
        energy = problem.covariance * problem.coefficients**2
        # the sum of what is left out, not a difference of sums
        left_out = np.append(np.cumsum(energy[::-1])[::-1], 0.0)
        noise = noise + left_out[widths]
    values, beta, weights = _atoms(problem)
    size = max(1, BATCH // values.size)
    parts = []
    for start in range(0, count, size):
        rows = slice(start, start + size)
        some = None
        if widths is not None:
            some = weights(widths[rows])
        elif values.size < problem.p:
            some = np.repeat(weights(np.array([problem.p])), samples[rows].size, axis=0)
        spectrum = Spectrum(values, beta, noise[rows], samples[rows], some)
        parts.append(_closed_risks(spectrum, kept[rows], wanted))
    risk = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    regimes = tuple(regime for part in parts for regime in part[1])
    zeros = {name: np.zeros(count) for name in risk}
    return Curve(variable.value, np.asarray(points, dtype=np.float64), risk, zeros, regimes)


def _closed_risks(
    spectrum: Spectrum, kept: FloatArray, wanted: Wanted
) -> tuple[dict[str, FloatArray], tuple[str, ...]]:
    found = solve(spectrum)
    if wanted.finite_n:
        found = at_finite_n(spectrum, found)
    pruning = Pruning(spectrum, found, kept)
    risk = {Model.DENSE.value: found.gamma}
    whole = kept >= spectrum.count(np.ones(spectrum.values.size))
    for method in wanted.methods:
        risk[method.value] = np.where(whole, found.gamma, pruning.risk(method))
    for method in wanted.retrain_by:
        risk[Model.RETRAINED.after(method)] = pruning.retrained(
            method, spectrum.n, finite_n=wanted.finite_n
        )
    return risk, tuple(regime.value for regime in found.regimes())


@dataclass(frozen=True, eq=False)
class _Counts:
    """How often each atom is among the first k features; `place` is the atom of a feature."""

    place: NDArray[np.intp]
    atoms: int

    def __call__(self, widths: NDArray[np.intp]) -> FloatArray:
        counts = np.zeros((widths.size, self.atoms))
        running, start = np.zeros(self.atoms), 0
        for row in np.argsort(widths, kind="stable"):
            end = int(widths[row])
            running += np.bincount(self.place[start:end], minlength=self.atoms)
            counts[row], start = running, end
        return counts


def _atoms(problem: LinearGaussianProblem) -> tuple[FloatArray, FloatArray, _Counts]:
    """Distinct pairs of variance and coefficient, in the order of their first feature."""
    pairs = problem.covariance + 1j * problem.coefficients
    _, first, place = np.unique(pairs, return_index=True, return_inverse=True)
    if first.size > problem.p / 2:
        every = np.arange(problem.p)
        return problem.covariance, problem.coefficients, _Counts(every, problem.p)
    order = np.argsort(first)
    rank = np.empty(order.size, dtype=np.intp)
    rank[order] = np.arange(order.size)
    chosen = first[order]
    counts = _Counts(rank[place], chosen.size)
    return problem.covariance[chosen], problem.coefficients[chosen], counts
