"""Risks on a user's features, by width: predicted from an estimate, and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prunable.numerics.randomness import rng
from prunable.predict.features.feature_moments import FeatureMoments
from prunable.predict.features.model_risks import DRAWS, predict_models
from prunable.predict.features.random_features import standard_error
from prunable.predict.features.user_features import FeatureEstimate
from prunable.predict.linear.simulate import least_squares
from prunable.predict.linear.train_prune import Model, Sample, train_prune

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WidthRisks:
    """Risks when the first `width` features are used; all include the noise.

    Attributes
    ----------
    width, n : int
        Features before pruning; training examples.
    kept : tuple of int
        Features kept.
    risks, stderr : dict of Model to ndarray
        Shape (len(kept), c): one column a target.
    totals : dict of Model to ndarray
        Of measured risks: summed over targets, for each training set, shape
        (repeats, len(kept)).
    """

    width: int
    n: int
    kept: tuple[int, ...]
    risks: dict[Model, FloatArray]
    stderr: dict[Model, FloatArray]
    totals: dict[Model, FloatArray] = field(default_factory=dict)

    def total(self, model: Model) -> FloatArray:
        """Risk summed over targets, shape (len(kept),)."""
        return np.asarray(self.risks[model].sum(axis=1))


def predict_widths(
    estimate: FeatureEstimate,
    n: int,
    kept: Sequence[int],
    widths: Sequence[int],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    on_done: Callable[[str], None] | None = None,
) -> tuple[WidthRisks, ...]:
    """Predict risks from an estimate, for several widths.

    Parameters
    ----------
    estimate : FeatureEstimate
    n, kept, widths, draws, seed
        As in `predict_features`.
    on_done : callable, optional
        Told what is done.

    Returns
    -------
    tuple of WidthRisks
        One a width.
    """
    n_targets = estimate.coefficients.shape[1]
    whole = [estimate.problem(c).problem for c in range(n_targets)]
    found = []
    for width in widths:
        places = np.flatnonzero(estimate.used < width)
        sizes = tuple(s for s in kept if s <= width)
        columns = []
        for c in range(n_targets):
            problem = whole[c] if len(places) == whole[c].p else whole[c].restricted(places)
            columns.append(
                predict_models(
                    problem,
                    n,
                    [min(s, len(places)) for s in sizes],
                    rng=rng(seed, "law", width, c),
                    draws=draws,
                ).risks
            )
            if on_done is not None:
                on_done(f"predicted width {width}, target {c}")
        risks, stderr = (
            {
                model: np.array([[getattr(risk, part) for risk in c[model]] for c in columns]).T
                for model in columns[0]
            }
            for part in ("value", "stderr")
        )
        found.append(WidthRisks(width, n, sizes, risks, stderr))
    return tuple(found)


def measure_widths(
    x: FloatArray,
    y: FloatArray,
    held_out: FeatureMoments,
    estimate: FeatureEstimate,
    n: int,
    kept: Sequence[int],
    widths: Sequence[int],
    *,
    repeats: int,
    seed: int = 0,
    on_done: Callable[[str], None] | None = None,
) -> tuple[WidthRisks, ...]:
    """Train, prune and retrain on subsamples; judge on held-out examples.

    Parameters
    ----------
    x, y : ndarray, shapes (N, p) and (N, c)
        Where training sets are drawn from; retraining on fresh data needs N >= 2 n.
    held_out : FeatureMoments
        Of other examples.
    estimate : FeatureEstimate
        Gives oracle pruning its saliencies.
    n, kept, widths
        As in `predict_features`.
    repeats : int
        Training sets, at least 1.
    seed : int
    on_done : callable, optional
        Told what is done.

    Returns
    -------
    tuple of WidthRisks
    """
    saliencies = _saliencies(estimate, widths)
    found: list[dict[Model, list[FloatArray]]] = [{} for _ in widths]
    for repeat in range(repeats):
        chosen = rng(seed, "training set", n, repeat).permutation(len(x))
        first, second = chosen[:n], chosen[n : 2 * n]
        for i, width in enumerate(widths):
            places = np.flatnonzero(estimate.used < width)
            columns = estimate.used[places]
            sizes = [min(s, len(places)) for s in kept if s <= width]
            inside, judge = x[np.ix_(first, columns)], held_out.restrict(columns)
            other = x[np.ix_(second, columns)] if len(second) == n else None
            dense = least_squares(inside, y[first])
            risks: dict[Model, list[FloatArray]] = {}
            for c in range(y.shape[1]):
                fits = train_prune(
                    Sample(inside, y[first, c]),
                    sizes,
                    saliencies[i][c],
                    fresh=None if other is None else Sample(other, y[second, c]),
                    dense=dense[:, c],
                )
                for model, weights in fits.items():
                    risks.setdefault(model, []).append(judge.risk(weights, c))
            for model, values in risks.items():
                found[i].setdefault(model, []).append(np.array(values).T)
        if on_done is not None:
            on_done(f"measured training set {repeat + 1}")
    return tuple(
        WidthRisks(
            width,
            n,
            tuple(s for s in kept if s <= width),
            {m: np.mean(values, axis=0) for m, values in risks.items()},
            {m: standard_error(np.array(values)) for m, values in risks.items()},
            {m: np.sum(values, axis=2) for m, values in risks.items()},
        )
        for width, risks in zip(widths, found, strict=True)
    )


def _saliencies(estimate: FeatureEstimate, widths: Sequence[int]) -> list[list[FloatArray]]:
    """What oracle pruning goes by, for each width and target."""
    whole = [estimate.problem(c).problem for c in range(estimate.coefficients.shape[1])]
    found = []
    for width in widths:
        places = np.flatnonzero(estimate.used < width)
        parts = [one if len(places) == one.p else one.restricted(places) for one in whole]
        found.append([part.variances * part.coefficients**2 for part in parts])
    return found
