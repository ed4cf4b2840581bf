"""Stages of the figures that need no network: synthetic matrices, a vector, a bound."""

from __future__ import annotations

from typing import Any

import numpy as np

from prunable.certify.bounds.rho import rho_limit, rho_peak, rho_upper
from prunable.numerics.randomness import rng
from prunable.numerics.stable import sample_isotropic, sample_symmetric
from prunable.numerics.weights.compressibility import kappa_p
from prunable.papers.barsbey2021.specs import RhoSpec, StableVectorSpec, SyntheticSpec
from prunable.runs.store import Run

Result = dict[str, Any]


def synthetic_stage(spec: SyntheticSpec, run: Run) -> Result:
    """Draw matrices whose entries depend on each other to three degrees; prune each.

    Returns
    -------
    dict
        alpha of each draw, and the largest prunable shares: `independent` (entries are), columns
        (independent isotropic columns), layer (one isotropic vector of all entries).
    """
    shares: dict[str, list[float]] = {"alpha": [], "independent": [], "columns": [], "layer": []}
    for i in range(spec.first, spec.first + spec.count):
        run.on_step(i - spec.first)
        alpha = float(rng(spec.seed, "alpha", i).uniform(spec.low, spec.high))
        entries = spec.size**2
        draws = {
            "independent": sample_symmetric(entries, alpha, rng(spec.seed, "independent", i)),
            # a row here is a column of the matrix, and pruning does not care
            "columns": sample_isotropic(spec.size, spec.size, alpha, rng(spec.seed, "columns", i)),
            "layer": sample_isotropic(1, entries, alpha, rng(spec.seed, "layer", i)),
        }
        shares["alpha"].append(alpha)
        for name, matrix in draws.items():
            shares[name].append(1 - kappa_p(matrix, spec.tolerance))
    return shares


def stable_vector_stage(spec: StableVectorSpec, run: Run) -> Result:
    """Draw stable vectors, and normal ones to compare with.

    Returns
    -------
    dict
        edges and counts of |x| of the first vector; largest of it; top_share: of each vector,
        the share of the squared norm in the largest hundredth of the entries; and the same of
        normal vectors.
    """
    del run
    x = np.abs(sample_symmetric((spec.draws, spec.size), spec.alpha, rng(spec.seed, "stable")))
    normal = np.abs(rng(spec.seed, "normal").standard_normal((spec.draws, spec.size)))
    counts, edges = np.histogram(x[0], spec.bins)
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "largest": float(x[0].max()),
        "median": float(np.median(x[0])),
        "top_share": _top_shares(x),
        "top_share_normal": _top_shares(normal),
    }


def _top_shares(x: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    squares = np.sort(x / x.max(axis=1, keepdims=True), axis=1) ** 2
    top = squares[:, -(squares.shape[1] // 100) :]
    return [float(share) for share in top.sum(axis=1) / squares.sum(axis=1)]


def rho_stage(spec: RhoSpec, run: Run) -> Result:
    """Evaluate both curves of each epsilon, and where the first would be largest."""
    del run
    kappa = np.linspace(0, 1, spec.points)
    return {
        "kappa": kappa.tolist(),
        "rho": [rho_limit(eps, kappa).tolist() for eps in spec.epsilons],
        "upper": [rho_upper(eps, kappa).tolist() for eps in spec.epsilons],
        "peak": [rho_peak(eps) for eps in spec.epsilons],
    }
