"""Many settings of one problem with uncorrelated features, in one vectorised call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.predict.linear.curve import DENSE, RETRAINED, Curve, Wanted, after
from prunable.predict.linear.diagonal import Pruning
from prunable.predict.linear.finite import at_finite_n
from prunable.predict.linear.problem import LinearGaussianProblem
from prunable.predict.linear.solution import Spectrum, solve

FloatArray = NDArray[np.float64]

# Numbers in one array of a batch.
BATCH = 1_000_000


def grid(
    problem: LinearGaussianProblem,
    variable: str,
    points: Sequence[float],
    wanted: Wanted,
    *,
    n: ArrayLike,
    kept: ArrayLike,
    width: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
) -> Curve:
    """Predict every risk in closed form at every point.

    Parameters
    ----------
    problem : LinearGaussianProblem
        Diagonal.
    variable : str
        Name of what changes.
    points : sequence of float
        Its values, shape (m,).
    wanted : Wanted
        Without retraining on the same data.
    n, kept : array_like
        Samples and features kept, one number or shape (m,); `kept` at most the width counts.
    width : array_like, optional
        Use the first features only, shape (m,); what they leave out becomes noise.
    sigma : array_like, optional
        Shape (m,); the problem's by default.

    Returns
    -------
    Curve
    """
    count = len(points)
    samples, s = (np.broadcast_to(np.asarray(x, float), count) for x in (n, kept))
    noise = np.broadcast_to(
        np.square(np.asarray(problem.sigma if sigma is None else sigma, float)), count
    )
    widths = None if width is None else np.asarray(width, dtype=np.intp)
    energy = problem.covariance * problem.coefficients**2
    if widths is not None:
        s = np.minimum(s, widths)
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
        parts.append(_risks(spectrum, s[rows], wanted))
    risk = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    regimes = tuple(regime for part in parts for regime in part[1])
    zeros = {name: np.zeros(count) for name in risk}
    return Curve(variable, np.asarray(points, dtype=np.float64), risk, zeros, regimes)


def _risks(
    spectrum: Spectrum, kept: FloatArray, wanted: Wanted
) -> tuple[dict[str, FloatArray], tuple[str, ...]]:
    found = solve(spectrum)
    if wanted.finite_n:
        found = at_finite_n(spectrum, found)
    pruning = Pruning(spectrum, found, kept)
    risk = {DENSE: found.gamma}
    whole = kept >= spectrum.count(np.ones(spectrum.values.size))
    for method in wanted.methods:
        risk[method.value] = np.where(whole, found.gamma, pruning.risk(method))
    for method in wanted.retrain_by:
        risk[after(RETRAINED, method)] = pruning.retrained(
            method, spectrum.n, finite_n=wanted.finite_n
        )
    return risk, tuple(regime.value for regime in found.regimes())


class _Counts:
    """How often each atom is among the first k features."""

    def __init__(self, place: NDArray[np.intp], atoms: int) -> None:
        self.place, self.atoms = place, atoms

    def __call__(self, widths: NDArray[np.intp]) -> FloatArray:
        """Counts, shape (len(widths), atoms)."""
        order = np.argsort(widths, kind="stable")
        counts = np.zeros((widths.size, self.atoms))
        running, start = np.zeros(self.atoms), 0
        for row in order:
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
