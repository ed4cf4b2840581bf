"""Stages that need no network: random layers, pruned as theorems 2 to 4 and proposition 8 do."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svdvals
from scipy.signal import lfilter

from prunable.numerics.randomness import rng
from prunable.numerics.stable import sample_isotropic, sample_symmetric
from prunable.numerics.weights.compressibility import best_k_term_error, kappa_p
from prunable.numerics.weights.mixture import ParetoMixture
from prunable.papers.barsbey2021 import specs
from prunable.runs.store import Run

Result = dict[str, Any]
FloatArray = NDArray[np.float64]
# Steps after which an autoregressive sequence has forgotten its start.
FORGOTTEN = 1e-8


def compression_stage(spec: specs.CompressionSpec, run: Run) -> Result:
    """Prune random layers.

    Gives errors: of each draw, the relative error of the weights: in the l_p norm, of singular
    values in the Frobenius norm; and of singular values also eigenvalue_errors, the relative l_p
    errors of the eigenvalues of W^T W, the squared singular values.
    """
    errors, eigenvalues = [], []
    place = (spec.what, spec.law, f"{spec.alpha:g}", spec.size)
    for draw in range(spec.draws):
        run.on_step(draw)
        layer = draw_layer(spec, rng(spec.seed, *place, draw))
        kept = math.ceil(spec.kappa * spec.size)
        if spec.what == "singular":
            values = svdvals(layer, check_finite=False)
            errors.append(best_k_term_error(values, kept))
            eigenvalues.append(best_k_term_error(values**2, kept, spec.p))
        else:
            norms = np.linalg.norm(layer, spec.p, axis=0) if spec.what == "nodes" else layer
            errors.append(best_k_term_error(norms, kept, spec.p))
    return {"errors": errors, "eigenvalue_errors": eigenvalues}


def draw_layer(spec: specs.CompressionSpec, generator: np.random.Generator) -> FloatArray:
    """One layer: a vector of weights, or a matrix with as many columns as `size`."""
    rows = {"weights": 1, "singular": spec.size, "nodes": spec.rows}[spec.what]
    if spec.law == "columns":
        layer = sample_isotropic(spec.size, rows, spec.alpha, generator).T
    elif spec.law == "layer":
        layer = sample_isotropic(1, rows * spec.size, spec.alpha, generator).reshape(rows, -1)
    elif spec.law == "autoregressive":
        before = math.ceil(math.log(FORGOTTEN) / math.log(spec.memory)) if spec.memory else 0
        shocks = sample_symmetric((rows, before + spec.size), spec.alpha, generator)
        layer = lfilter([1.0], [1.0, -spec.memory], shocks, axis=1)[:, before:]
    else:
        layer = sample_symmetric((rows, spec.size), spec.alpha, generator)
    return layer[0] if spec.what == "weights" else layer


def mixture_stage(spec: specs.MixtureSpec, run: Run) -> Result:
    """Prune vectors of a mixture.

    Gives errors and kappas (of each draw, the relative error of the kept share and the least
    share at the allowed error), and their limits as the vectors grow, limit_error and limit_kappa.
    """
    law = ParetoMixture(spec.alpha, spec.share)
    errors, kappas = [], []
    for draw in range(spec.draws):
        run.on_step(draw)
        weights = law.sample(spec.size, rng(spec.seed, "mixture", f"{spec.alpha:g}", draw))
        errors.append(best_k_term_error(weights, math.ceil(spec.kappa * spec.size), spec.p))
        kappas.append(kappa_p(weights, spec.eps, spec.p))
    return {
        "errors": errors,
        "kappas": kappas,
        "limit_error": law.limit_error(spec.kappa, spec.p),
        "limit_kappa": law.limit_kappa(spec.eps, spec.p),
    }
