"""From features and targets to predicted risks, and how far they are from the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunable.errors import InputError
from prunable.numerics.randomness import rng
from prunable.predict.features.feature_moments import (
    FeatureMoments,
    FoldedMoments,
    Shrinkage,
    checked_examples,
    fold_moments,
)
from prunable.predict.features.feature_risks import WidthRisks, measure_widths, predict_widths
from prunable.predict.features.model_risks import DRAWS
from prunable.predict.features.random_features import check_sizes, standard_error
from prunable.predict.features.user_features import (
    FeatureEstimate,
    estimate_features,
    spread_of_sizes,
)
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.train_prune import Model

FloatArray = NDArray[np.float64]
OnDone = Callable[[int, int, str], None]

TEST_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class FeaturesPrediction:
    """What features and targets say of the risks of least squares on them.

    Attributes
    ----------
    estimate : FeatureEstimate
    n_test : int
        Held-out examples.
    null : ndarray, shape (c,)
        Risk of predicting 0, on the held-out examples.
    spreads : tuple of float
        How unequal the held-out examples are, one number a width, see `spread_of_sizes`; from
        about a half on, predictions are too low.
    predicted, measured : tuple of WidthRisks
        One a width; `measured` is empty if nothing was measured.
    repeats : int
        Training sets behind `measured`.
    """

    estimate: FeatureEstimate
    n_test: int
    null: FloatArray
    spreads: tuple[float, ...]
    predicted: tuple[WidthRisks, ...]
    measured: tuple[WidthRisks, ...]
    repeats: int

    def points(self) -> list[dict[str, Any]]:
        """One row a width and number kept: risks summed over targets, and their errors.

        Returns
        -------
        list of dict
            width, n, s, spread, and by model `risk`, the mean `measured` over training sets with
            its `measured_stderr`, the `measured_median`, and the `error_percent` against either
            (`error_percent_of_median`); None for what is infinite or was not measured.
        """
        rows = []
        for i, predicted in enumerate(self.predicted):
            for j, s in enumerate(predicted.kept):
                row: dict[str, Any] = {"width": predicted.width, "n": predicted.n, "s": s}
                row["spread"] = self.spreads[i]
                row["risk"] = {m.value: _number(predicted.total(m)[j]) for m in predicted.risks}
                if self.measured:
                    row |= _measured(predicted, self.measured[i], j)
                rows.append(row)
        return rows

    def errors(self) -> dict[str, dict[str, float | None]]:
        """Sum up by model how far predictions are from what was measured, in percent.

        Returns
        -------
        dict
            model to mean, median of the absolute, and largest absolute error, against the mean
            of training sets, and the median absolute error against their median.
        """
        found: dict[str, dict[str, float | None]] = {}
        for model in Model:
            against_mean = self._errors("error_percent", model)
            against_median = self._errors("error_percent_of_median", model)
            if against_mean.size:
                found[model.value] = {
                    "mean": float(against_mean.mean()),
                    "median_absolute": float(np.median(np.abs(against_mean))),
                    "largest_absolute": float(np.abs(against_mean).max()),
                    "median_absolute_of_median": float(np.median(np.abs(against_median))),
                }
        return found

    def _errors(self, key: str, model: Model) -> FloatArray:
        values = (row.get(key, {}).get(model.value) for row in self.points())
        return np.array([value for value in values if value is not None])


def predict_features(
    x: ArrayLike,
    y: ArrayLike,
    n: int,
    kept: Sequence[int],
    *,
    widths: Sequence[int] | None = None,
    center: bool = False,
    shrinkage: Shrinkage | str | float = Shrinkage.HELD_OUT,
    test_share: float = TEST_SHARE,
    repeats: int = 5,
    draws: int = DRAWS,
    seed: int = 0,
    on_done: OnDone | None = None,
) -> FeaturesPrediction:
    """Predict dense, pruned and retrained risks on given features, and measure how well.

    The examples are divided at random. From the larger part moments are estimated, and training
    sets of n are drawn to measure the truth; the smaller part is what it is measured on.

    Parameters
    ----------
    x : array_like, shape (N, p)
        Features, in the order in which smaller widths take them.
    y : array_like, shape (N,) or (N, c)
        Targets; each column is a regression of its own.
    n : int
        Training examples, 3 <= n.
    kept : sequence of int
        Features kept after pruning.
    widths : sequence of int, optional
        Numbers of features, 1..p; all of them by default. Of a width only the numbers kept up
        to it are predicted.
    center : bool
        Whether to subtract the means of features and targets first. Otherwise features should
        hold a constant, or be able to express one.
    shrinkage : Shrinkage, str or float
        See `estimate_features`.
    test_share : float
        Share of examples held out, in (0, 1).
    repeats : int
        Training sets on which the truth is measured; 0 for none.
    draws : int
        Of the law of the dense solution.
    seed : int
    on_done : callable, optional
        Told the steps done, their number, and what is done.

    Returns
    -------
    FeaturesPrediction

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, or a number is out of range.
    """
    where = "predict_features"
    features, targets = checked_examples(x, y, where)
    p = features.shape[1]
    used_widths = _widths(widths, p)
    sizes = check_sizes(n, p, kept, where)
    if min(sizes) > min(used_widths):
        raise InputError.parameter(
            "widths", where, f"at least the fewest features kept, {min(sizes)}", min(used_widths)
        )
    if not 0 < test_share < 1:
        raise InputError.parameter("test_share", where, "in (0, 1)", test_share)
    if repeats < 0:
        raise InputError.parameter("repeats", where, "at least 0", repeats)
    order = rng(seed, "held out").permutation(len(features))
    n_pool = len(features) - math.ceil(test_share * len(features))
    if n_pool < n:
        raise InputError.parameter(
            "n",
            where,
            f"at most {n_pool}, the examples that are not held out",
            n,
            "Give more examples, or a smaller n or test share.",
        )
    pool, test = order[:n_pool], order[n_pool:]
    if center:
        features = features - features[pool].mean(axis=0)
        targets = targets - targets[pool].mean(axis=0)
    folded = fold_moments([(features[pool], targets[pool])])
    held_out = FoldedMoments((_moments(features[test], targets[test]),)).together()
    estimate = estimate_features(folded, shrinkage=shrinkage)
    if estimate.used[0] >= min(used_widths):
        raise InputError.parameter(
            "widths",
            where,
            f"above {estimate.used[0]}, so that a feature is not 0 throughout",
            min(used_widths),
        )
    steps = len(used_widths) * targets.shape[1] + repeats
    counter = _Counter(steps, on_done)
    predicted = predict_widths(
        estimate, n, sizes, used_widths, draws=draws, seed=seed, on_done=counter
    )
    judge = features[np.ix_(test, estimate.used)]
    spreads = tuple(_spread(estimate, judge, n, width) for width in used_widths)
    measured: tuple[WidthRisks, ...] = ()
    if repeats:
        measured = measure_widths(
            features[pool],
            targets[pool],
            held_out,
            estimate,
            n,
            sizes,
            used_widths,
            repeats=repeats,
            seed=seed,
            on_done=counter,
        )
    return FeaturesPrediction(
        estimate, len(test), held_out.target, spreads, predicted, measured, repeats
    )


class _Counter:
    """Numbers the steps for `on_done`."""

    def __init__(self, steps: int, on_done: OnDone | None) -> None:
        self._done, self._steps, self._on_done = 0, steps, on_done

    def __call__(self, what: str) -> None:
        self._done += 1
        if self._on_done is not None:
            self._on_done(self._done, self._steps, what)


def _widths(widths: Sequence[int] | None, p: int) -> tuple[int, ...]:
    chosen = (p,) if widths is None else tuple(int(w) for w in widths)
    for width in chosen:
        if not 1 <= width <= p:
            raise InputError.parameter(
                "widths", "predict_features", f"between 1 and the {p} features", width
            )
    if not chosen:
        raise InputError.parameter("widths", "predict_features", "given", "nothing")
    return chosen


def _moments(x: FloatArray, y: FloatArray) -> FeatureMoments:
    n = len(x)
    return FeatureMoments(n, x.T @ x / n, x.T @ y / n, np.mean(y**2, axis=0), math.nan)


def _spread(estimate: FeatureEstimate, x: FloatArray, n: int, width: int) -> float:
    problem, places = estimate.problem().problem, np.flatnonzero(estimate.used < width)
    if len(places) < problem.p:
        problem = problem.restricted(places)
    return spread_of_sizes(predict_law(problem, n), x[:, places])


def _measured(predicted: WidthRisks, measured: WidthRisks, j: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        key: {}
        for key in (
            "measured",
            "measured_stderr",
            "measured_median",
            "error_percent",
            "error_percent_of_median",
        )
    }
    for model, totals in measured.totals.items():
        mean, median = float(totals[:, j].mean()), float(np.median(totals[:, j]))
        row["measured"][model.value] = _number(mean)
        row["measured_stderr"][model.value] = _number(float(standard_error(totals)[j]))
        row["measured_median"][model.value] = _number(median)
        risk = float(predicted.total(model)[j])
        for key, truth in (("error_percent", mean), ("error_percent_of_median", median)):
            row[key][model.value] = _number(100 * (risk / truth - 1)) if truth > 0 else None
    return row


def _number(value: float) -> float | None:
    """None for what JSON cannot hold."""
    return float(value) if math.isfinite(value) else None
