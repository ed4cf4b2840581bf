"""From features and targets to predicted risks, and how far they are from the truth."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from prunable.arguments import checked
from prunable.errors import InputError, check_at_least, require
from prunable.numerics.arrays import FloatArray
from prunable.numerics.randomness import rng
from prunable.predict.features import moments
from prunable.predict.features.estimate import FeatureEstimate, estimate_features, spread_of_sizes
from prunable.predict.features.models import check_sizes, predict_models, standard_error
from prunable.predict.linear.law import predict_law
from prunable.predict.linear.names import Model, or_none
from prunable.predict.linear.pruning import DRAWS
from prunable.predict.linear.simulate import Sample, least_squares, train_prune
from prunable.results import Result

OnDone = Callable[[int, int, str], None]

TEST_SHARE = 0.3
MEASURED = ("measured", "measured_stderr", "measured_median")
ERRORS = ("error_percent", "error_percent_of_median")


@dataclass(frozen=True, eq=False)
class WidthRisks:
    """Risks when the first `width` features are used; all include the noise.

    The risks are by model and number kept, one column a target, shape (len(kept), c); the totals
    those measured, summed over targets, for each training set, shape (repeats, len(kept)).
    """

    width: int
    n: int
    kept: tuple[int, ...]
    risks: dict[Model, FloatArray]
    totals: dict[Model, FloatArray] = field(default_factory=dict)

    def total(self, model: Model) -> FloatArray:
        """Risk summed over targets, shape (len(kept),)."""
        return np.asarray(self.risks[model].sum(axis=1))


@dataclass(frozen=True, eq=False)
class FeaturesPrediction(Result):
    """What features and targets say of the risks of least squares on them."""

    estimate: FeatureEstimate
    # n_test, null: held-out examples; risk of predicting 0 on them, shape (c,)
    n_test: int
    null: FloatArray
    # how unequal the held-out examples are, one number a width, see `spread_of_sizes`; from about a
    # half on, predictions are too low
    spreads: tuple[float, ...]
    # predicted, measured: one a width; nothing may have been measured
    predicted: tuple[WidthRisks, ...]
    measured: tuple[WidthRisks, ...]
    repeats: int  # training sets behind `measured`

    def __repr__(self) -> str:
        widths = ", ".join(str(one.width) for one in self.predicted)
        return f"FeaturesPrediction(n={self.predicted[0].n}, widths {widths})"

    def to_dict(self) -> dict[str, Any]:
        """What was estimated, the points, and the errors, as `predict features --json` has them."""
        estimate = self.estimate
        return {
            "estimate": {
                "n_examples": estimate.n,
                "n_test": self.n_test,
                "n_features": estimate.n_features,
                "n_zero_features": estimate.n_features - len(estimate.used),
                "n_floored": estimate.problems[0].n_floored,
                "shrinkage_share": estimate.share,
                "noise": estimate.noise.tolist(),
                "held_out_ridge_risk": estimate.held_out.tolist(),
                "null_risk": self.null.tolist(),
            },
            "points": self.points(),
            "errors": self.errors(),
        }

    def points(self) -> list[dict[str, Any]]:
        """One row a width and number kept: risks summed over targets, and their errors.

        By model: `risk`, the mean `measured` over training sets with its `measured_stderr`, the
        `measured_median`, and the `error_percent` against either (`error_percent_of_median`);
        None for what is infinite or was not measured.
        """
        rows = []
        for i, predicted in enumerate(self.predicted):
            for j, s in enumerate(predicted.kept):
                row: dict[str, Any] = {"width": predicted.width, "n": predicted.n, "s": s}
                row["spread"] = self.spreads[i]
                row["risk"] = {m.value: or_none(predicted.total(m)[j]) for m in predicted.risks}
                if self.measured:
                    row |= _measured(predicted, self.measured[i], j)
                rows.append(row)
        return rows

    def errors(self) -> dict[str, dict[str, float | None]]:
        """Sum up by model how far predictions are from what was measured, in percent.

        Mean, median of the absolute, and largest absolute error, against the mean of training
        sets, and the median absolute error against their median.
        """
        found: dict[str, dict[str, float | None]] = {}
        points = self.points()
        for model in Model:
            against_mean, against_median = (
                np.array([x for p in points if (x := p.get(key, {}).get(model)) is not None])
                for key in ERRORS
            )
            if against_mean.size:
                found[model.value] = {
                    "mean": float(against_mean.mean()),
                    "median_absolute": float(np.median(np.abs(against_mean))),
                    "largest_absolute": float(np.abs(against_mean).max()),
                    "median_absolute_of_median": float(np.median(np.abs(against_median))),
                }
        return found

    def _rows(self) -> list[dict[str, Any]]:
        rows = []
        for point in self.points():
            row = {key: point[key] for key in ("width", "n", "s", "spread")}
            for key in ("risk", "measured"):
                row |= {f"{name} {key}": value for name, value in point.get(key, {}).items()}
            rows.append(row)
        return rows


@checked("predict_features")
def predict_features(
    x: ArrayLike,
    y: ArrayLike,
    n: int,
    kept: Sequence[int],
    *,
    widths: Sequence[int] | None = None,
    center: bool = False,
    shrinkage: moments.Shrinkage | str | float = moments.Shrinkage.HELD_OUT,
    test_share: float = TEST_SHARE,
    repeats: int = 5,
    draws: int = DRAWS,
    seed: int = 0,
    on_done: OnDone | None = None,
) -> FeaturesPrediction:
    """Predict dense, pruned and retrained risks on given features, and measure how well.

    The examples are divided at random. From the larger part moments are estimated, and training
    sets of n are drawn to measure the truth; the smaller part is what it is measured on. Raises
    InputError if shapes disagree, values are not finite, or a number is out of range.

    >>> import numpy as np
    >>> import prunable
    >>> x = np.random.default_rng(0).normal(size=(500, 10))
    >>> found = prunable.predict_features(x, x[:, 0], n=50, kept=[2, 5], repeats=2)
    >>> found
    FeaturesPrediction(n=50, widths 10)

    Parameters
    ----------
    y : (N,) or (N, c) targets; each column is a regression of its own
    n : training examples, 3 <= n
    widths : numbers of features, 1..p; all of them by default. Of a width only the numbers kept. up
        to it are predicted.
    center : whether to subtract the means of features and targets first. Otherwise features. should
        hold a constant, or be able to express one.
    test_share : of examples held out, in (0, 1)
    repeats : training sets on which the truth is measured; 0 for none
    """
    where = "predict_features"
    features, targets = moments.checked_examples(x, y, where)
    p = features.shape[1]
    used_widths = _widths(widths, p)
    sizes = check_sizes(n, p, kept, where)
    if min(sizes) > min(used_widths):
        raise InputError.parameter(
            "widths", where, f"at least the fewest features kept, {min(sizes)}", min(used_widths)
        )
    require(0 < test_share < 1, "test_share", where, "in (0, 1)", test_share)
    check_at_least(repeats, 0, "repeats", where)
    order = rng(seed, "held out").permutation(len(features))
    n_pool = len(features) - math.ceil(test_share * len(features))
    wanted = f"at most {n_pool}, the examples that are not held out"
    require(n_pool >= n, "n", where, wanted, n, "Give more examples, or a smaller n or test share.")
    pool, test = order[:n_pool], order[n_pool:]
    if center:
        features = features - features[pool].mean(axis=0)
        targets = targets - targets[pool].mean(axis=0)
    estimate = estimate_features(
        moments.fold_moments([(features[pool], targets[pool])]), shrinkage=shrinkage
    )
    if estimate.used[0] >= min(used_widths):
        raise InputError.parameter(
            "widths",
            where,
            f"above {estimate.used[0]}, so that a feature is not 0 throughout",
            min(used_widths),
        )
    job = _Job(estimate, n, sizes, used_widths, seed, repeats, on_done)
    predicted = job.predict(draws)
    judge = features[np.ix_(test, estimate.used)]
    spreads = tuple(
        spread_of_sizes(predict_law(estimate.narrow(width), n), judge[:, estimate.places(width)])
        for width in used_widths
    )
    held_out = moments.FeatureMoments.of(features[test], targets[test])
    measured = job.measure(features[pool], targets[pool], held_out) if repeats else ()
    return FeaturesPrediction(
        estimate, len(test), held_out.target, spreads, predicted, measured, repeats
    )


@dataclass(eq=False)
class _Job:
    """Risks by width, predicted from an estimate and measured; counts its steps."""

    estimate: FeatureEstimate
    n: int
    kept: tuple[int, ...]
    widths: tuple[int, ...]
    seed: int
    repeats: int
    on_done: OnDone | None
    done: int = 0

    @property
    def targets(self) -> range:
        return range(self.estimate.noise.size)

    def sizes(self, width: int) -> list[int]:
        """What is kept of the used features for each size up to a width."""
        return [min(s, len(self.estimate.places(width))) for s in self.kept if s <= width]

    def risks(
        self, width: int, risks: dict[Model, FloatArray], totals: dict[Model, FloatArray]
    ) -> WidthRisks:
        return WidthRisks(width, self.n, tuple(s for s in self.kept if s <= width), risks, totals)

    def step(self, what: str) -> None:
        self.done += 1
        if self.on_done is not None:
            total = len(self.widths) * len(self.targets) + self.repeats
            self.on_done(self.done, total, what)

    def predict(self, draws: int) -> tuple[WidthRisks, ...]:
        found = []
        for width in self.widths:
            columns = []
            for c in self.targets:
                problem, generator = self.estimate.narrow(width, c), rng(self.seed, "law", width, c)
                columns.append(
                    predict_models(problem, self.n, self.sizes(width), rng=generator, draws=draws)
                )
                self.step(f"predicted width {width}, target {c}")
            risks = {m: np.array([one.risks[m] for one in columns]).T for m in Model}
            found.append(self.risks(width, risks, {}))
        return tuple(found)

    def measure(
        self, x: FloatArray, y: FloatArray, held_out: moments.FeatureMoments
    ) -> tuple[WidthRisks, ...]:
        """Train, prune and retrain on subsamples; judge on held-out examples.

        Retraining on fresh data needs at least 2 n examples to draw from.
        """
        saliencies = {
            (width, c): self.estimate.narrow(width, c).saliencies
            for width in self.widths
            for c in self.targets
        }
        found: list[dict[Model, list[FloatArray]]] = [{} for _ in self.widths]
        for repeat in range(self.repeats):
            chosen = rng(self.seed, "training set", self.n, repeat).permutation(len(x))
            first, second = chosen[: self.n], chosen[self.n : 2 * self.n]
            for width, gathered in zip(self.widths, found, strict=True):
                columns = self.estimate.used[self.estimate.places(width)]
                inside, judge = x[np.ix_(first, columns)], held_out.restrict(columns)
                other = x[np.ix_(second, columns)] if len(second) == self.n else None
                dense = least_squares(inside, y[first])
                risks: dict[Model, list[FloatArray]] = {}
                for c in self.targets:
                    fits = train_prune(
                        Sample(inside, y[first, c]),
                        self.sizes(width),
                        saliencies[width, c],
                        fresh=None if other is None else Sample(other, y[second, c]),
                        dense=dense[:, c],
                    )
                    for model, weights in fits.items():
                        risks.setdefault(model, []).append(judge.risk(weights, c))
                for model, values in risks.items():
                    gathered.setdefault(model, []).append(np.array(values).T)
            self.step(f"measured training set {repeat + 1}")
        return tuple(
            self.risks(
                width,
                {model: np.mean(values, axis=0) for model, values in risks.items()},
                {model: np.sum(values, axis=2) for model, values in risks.items()},
            )
            for width, risks in zip(self.widths, found, strict=True)
        )


def _widths(widths: Sequence[int] | None, p: int) -> tuple[int, ...]:
    chosen = (p,) if widths is None else tuple(int(w) for w in widths)
    for width in chosen:
        require(
            1 <= width <= p, "widths", "predict_features", f"between 1 and the {p} features", width
        )
    require(chosen, "widths", "predict_features", "given", "nothing")
    return chosen


def _measured(predicted: WidthRisks, measured: WidthRisks, j: int) -> dict[str, Any]:
    row: dict[str, Any] = {key: {} for key in (*MEASURED, *ERRORS)}
    for model, totals in measured.totals.items():
        mean, median = float(totals[:, j].mean()), float(np.median(totals[:, j]))
        stderr = float(standard_error(totals)[j])
        for key, value in zip(MEASURED, (mean, stderr, median), strict=True):
            row[key][model.value] = or_none(value)
        risk = float(predicted.total(model)[j])
        for key, truth in zip(ERRORS, (mean, median), strict=True):
            row[key][model.value] = or_none(100 * (risk / truth - 1)) if truth > 0 else None
    return row
