"""Train, prune and retrain by least squares, on given data and on simulated problems.

It knows nothing of the predictions; tests and `--simulate` hold them against it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from prunable.errors import check_at_least, require
from prunable.numerics.arrays import FloatArray
from prunable.numerics.randomness import rng as derived_rng
from prunable.numerics.weights.selection import top_k_mask
from prunable.predict.linear.names import Method, Model, Variable, or_none
from prunable.predict.linear.problem import (
    LinearGaussianProblem,
    check_kept,
    check_samples,
    setting,
    sound_cholesky,
)


class Sample(NamedTuple):
    """Training data: features, shape (n, p), and targets, shape (n,)."""

    x: FloatArray
    y: FloatArray


@dataclass(frozen=True)
class Simulated:
    """Mean risk of independent replicas, including sigma^2."""

    mean: float
    stderr: float
    replicas: int


def least_squares(x: FloatArray, y: FloatArray) -> FloatArray:
    """Minimum-norm least-squares coefficients of x, shape (n, p).

    Through the smaller Gram matrix where its condition allows it, else by singular values.
    """
    wide = x.shape[1] > x.shape[0]
    factor = sound_cholesky(x @ x.T if wide else x.T @ x, 1e-5)
    if factor is None:
        return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0])
    right = y if wide else x.T @ y
    solved = scipy.linalg.cho_solve(factor, right, check_finite=False)
    return np.asarray(x.T @ solved if wide else solved)


def train_prune(
    data: Sample,
    kept: Sequence[int],
    saliency: FloatArray,
    *,
    fresh: Sample | None = None,
    dense: FloatArray | None = None,
) -> dict[Model, FloatArray]:
    """Fit, prune to several sizes, and fit again: weights, shape (len(kept), p), by model.

    Section 2 of Chang et al. (2020). Hessian pruning goes by the diagonal of X^T X / n.

    Parameters
    ----------
    kept : features kept, each in 1..p
    saliency : (p,) array that oracle pruning goes by, Sigma_ii beta_i^2
    dense : (p,) array, the fit if it is known already
    """
    fit = least_squares(data.x, data.y) if dense is None else dense
    unit = np.sqrt(np.mean(data.x**2, axis=0))
    # the s best are the first s of all in order
    orders = {
        Model.MAGNITUDE: _descending(np.abs(fit)),
        Model.HESSIAN: _descending(unit * np.abs(fit)),
        Model.ORACLE: _descending(saliency),
    }
    sources = {Model.RETRAINED_SAME: data, **({Model.RETRAINED: fresh} if fresh else {})}
    weights = {model: np.zeros((len(kept), fit.size)) for model in (*orders, *sources)}
    weights[Model.DENSE] = np.tile(fit, (len(kept), 1))
    for row, s in enumerate(kept):
        for model, order in orders.items():
            weights[model][row, order[:s]] = fit[order[:s]]
        support = orders[Model.MAGNITUDE][:s]
        for model, source in sources.items():
            weights[model][row, support] = least_squares(source.x[:, support], source.y)
    return weights


def draw_data(problem: LinearGaussianProblem, n: int, rng: np.random.Generator) -> Sample:
    """Draw features and targets of a problem of known features."""
    x = problem.to_features(rng.standard_normal((n, problem.p)) * np.sqrt(problem.eigenvalues))
    return Sample(x, x @ problem.coefficients + problem.sigma * rng.standard_normal(n))


def simulate_replica(
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    *,
    seed: int,
    replica: int,
    widths: Sequence[int] | None = None,
    retrain_by: Iterable[Method] = (Method.MAGNITUDE,),
) -> list[dict[str, float]]:
    """Train on one data set, prune, retrain on the same and on fresh data; risks a width.

    They are named by `Model`, and `Model.after` for what is retrained.
    """
    n = check_samples(n, "simulate_replica")
    s = check_kept(s, problem.p, "simulate_replica")
    rng = derived_rng(seed, "linear-gaussian", replica)
    data = draw_data(problem, n, rng)
    fresh = draw_data(problem, n, rng)
    wanted = tuple(retrain_by)
    return [
        _one_width(problem, k, data, fresh, s, wanted)
        for k in ([problem.p] if widths is None else widths)
    ]


def summarise(replicas: Sequence[Mapping[str, float]]) -> dict[str, Simulated]:
    """Average the risks of at least two replicas."""
    _check_replicas(len(replicas), "summarise")
    found = {}
    for name in replicas[0]:
        values = np.array([row[name] for row in replicas])
        stderr = float(values.std(ddof=1)) / math.sqrt(values.size)
        found[name] = Simulated(float(values.mean()), stderr, values.size)
    return found


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
    """Average simulated replicas, as many as asked for; one dictionary a width.

    >>> import prunable
    >>> problem = prunable.predict.problem_of(p=20, sigma=1.0)
    >>> found = prunable.predict.simulate(problem, n=60, s=10, replicas=20)[0]
    >>> sorted(found)
    ['dense', 'hessian', 'magnitude', 'oracle', 'retrained', 'retrained_same_data']

    Parameters
    ----------
    replicas : independent data sets, at least 2
    """
    _check_replicas(replicas, "predict.simulate")
    check_at_least(workers, 1, "workers", "predict.simulate")

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
    variable: Variable | str,
    problem: LinearGaussianProblem,
    n: int,
    s: int,
    points: Sequence[float],
    replicas: int,
    *,
    advance: Callable[[], object] = lambda: None,
    **options: Any,
) -> dict[str, Any]:
    """Simulate every point of a sweep; widths share their data.

    The result has "replicas", "points", and by name "mean" and "standard_error", a list a point.
    `advance` is called `len(points)` times a replica; `options` are `retrain_by`, `seed` and
    `workers`, as in `simulate`.

    >>> import prunable
    >>> problem = prunable.predict.problem_of(p=20, sigma=1.0)
    >>> found = prunable.predict.simulate_curve("width", problem, 60, 5, [10, 20], replicas=5)
    >>> found["replicas"], found["points"], len(found["mean"]["dense"])
    (5, [10.0, 20.0], 2)
    """
    variable = Variable(variable)
    if variable == Variable.WIDTH:

        def one_replica() -> None:
            for _ in points:
                advance()

        widths = [int(k) for k in points]
        found = simulate(problem, n, s, replicas, widths=widths, advance=one_replica, **options)
    else:
        found = []
        for x in points:
            at = setting(variable, problem, n, s, x)
            found += simulate(*at, replicas, advance=advance, **options)
    names = list(found[0])
    return {
        "replicas": replicas,
        "points": [float(x) for x in points],
        "mean": {name: [or_none(at[name].mean) for at in found] for name in names},
        "standard_error": {name: [or_none(at[name].stderr) for at in found] for name in names},
    }


def _one_width(
    problem: LinearGaussianProblem,
    k: int,
    data: Sample,
    fresh: Sample,
    s: int,
    retrain_by: tuple[Method, ...],
) -> dict[str, float]:
    x = data.x[:, :k]
    b = least_squares(x, data.y)

    def risk(features: NDArray[np.bool_], coefficients: FloatArray) -> float:
        model = np.zeros(problem.p)
        model[:k][features] = coefficients
        return float(problem.risk_of(model))

    every = np.ones(k, dtype=np.bool_)
    row = {Model.DENSE.value: risk(every, b)}
    compared = {
        Method.MAGNITUDE: np.abs(b),
        Method.HESSIAN: (x**2).mean(axis=0) * b**2,
        Method.ORACLE: problem.variances[:k] * problem.first(k).coefficients ** 2,
    }
    for method, values in compared.items():
        kept = top_k_mask(values, s) if s < k else every
        row[method.value] = risk(kept, b[kept])
        if method in retrain_by:
            again = least_squares(fresh.x[:, :k][:, kept], fresh.y)
            row[Model.RETRAINED.after(method)] = risk(kept, again)
            same = least_squares(x[:, kept], data.y)
            row[Model.RETRAINED_SAME.after(method)] = risk(kept, same)
    return row


def _descending(values: FloatArray) -> NDArray[np.intp]:
    """Indices from the largest value to the smallest; equal ones by the lower index."""
    return np.argsort(-values, kind="stable")


def _check_replicas(count: int, where: str) -> None:
    require(count >= 2, "replicas", where, "at least 2", count, "One has no standard error.")
