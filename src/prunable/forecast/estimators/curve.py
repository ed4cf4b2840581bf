"""The forecast of one method's curve: accuracy at each share kept, with intervals and checks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from prunable.errors import check_at_least, check_between, check_one_of, require
from prunable.forecast.estimators.checks import Check, check_outputs, same_confidence
from prunable.forecast.estimators.classification import DEFAULT, ESTIMATORS
from prunable.forecast.estimators.embeddings import embedding_network
from prunable.forecast.estimators.estimate import Estimate, covariance, joined, quantile
from prunable.forecast.estimators.found import Found, Network
from prunable.forecast.estimators.language import language_network
from prunable.forecast.estimators.propagation import Likely, together
from prunable.forecast.estimators.regression import regression_network
from prunable.forecast.estimators.rows import COUNTED, RowKind, RowNetwork, row_network
from prunable.numerics.arrays import FloatArray

Kind = Literal[RowKind, "regression", "language", "embedding"]
Smoothing = Literal["none", "monotone", "smooth"]
WHERE = "forecast"
OUTCOME_INPUTS = 2500


@dataclass(frozen=True)
class PointForecast:
    """The forecast at one share kept; shares, not per cent.

    Attributes
    ----------
    value, low, high : The figure and the interval of what other inputs will show: accuracy, R2, or
        log-perplexity in nats a token; None where the dense network's is not known.
    loss, loss_low, loss_high : Dense figure less value (of log-perplexity the other way round), and
        the interval of its mean: a difference on the same inputs, narrow where little changes.
    retention : Share of decisions kept (of a regression's variance; of nearest neighbours), with
        its own interval.
    sampling, model : Standard errors by the draw of inputs and by the model of confidence.
    laws, tokens : Log-perplexity by the next-token laws, and by the tokens of the text, alone.
    """

    kappa: float
    value: float | None
    low: float | None
    high: float | None
    retention: float
    retention_low: float
    retention_high: float
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    sampling: float | None = None
    model: float | None = None
    laws: float | None = None
    tokens: float | None = None


@dataclass(frozen=True)
class CurveForecast:
    """Forecasts at all shares kept, in the order given, and checks of what they rest on."""

    points: tuple[PointForecast, ...]
    checks: tuple[Check, ...]
    kind: Kind
    estimator: str
    accuracy: float | None
    inputs: int
    level: float
    temperature: float | None


def forecast_curve(
    dense: ArrayLike,
    pruned: Iterable[ArrayLike | Likely],
    kappas: Sequence[float],
    *,
    accuracy: float | None,
    labels: ArrayLike | None = None,
    level: float = 0.9,
    kind: Kind = "classification",
    estimator: str = DEFAULT,
    accuracy_inputs: int | None = None,
    outcome_inputs: int | None = OUTCOME_INPUTS,
    same_inputs: bool = False,
    reference: ArrayLike | None = None,
    renewed: ArrayLike | None = None,
    smoothing: Smoothing = "none",
    calibrated: bool = False,
) -> CurveForecast:
    """Forecast what pruned networks are worth from outputs on the same unlabelled inputs.

    Raises InputError for outputs that are not finite, vary not at all, or are fewer than 30; an
    accuracy in per cent or below chance; labels that are no classes.

    Parameters
    ----------
    dense : Outputs of the network before pruning, first axis the inputs: logits (n, c); (n,) of
        "binary", (n, labels) of "multilabel", (n, c, height, width) of "segmentation", numbers (n,)
        or (n, d) of "regression", vectors (n, d) of "embedding"; of "language" windows (n, 5), each
        of `window_figures`.
    pruned : For each kappa the pruned network's outputs, shaped alike; read once, in order, so they
        may come from a generator.
    kappas : Shares kept, falling or rising.
    accuracy : The dense network's known figure, a share: accuracy (with five guesses of "top5", a
        label of "multilabel", a pixel of "segmentation"), R2 of "regression"; of "language" its
        log-perplexity in nats a token. None for what ten labels or more show of one decision an
        input, or the tokens of the windows; without these for retention only.
    labels : Of the inputs, -1 or None where unknown (NaN for targets of regressions); they enter
        where known, and test the confidence.
    level : Of the two-sided intervals.
    accuracy_inputs : How many labelled inputs the accuracy was measured on; its error is then part
        of `low` and `high`.
    outcome_inputs : How many other labelled inputs the accuracy is to be measured on: `low` and
        `high` hold what they will show, chance of their draw and all; None for the mean over
        endless ones. The interval of the loss is of that mean, which is what plans compare.
    same_inputs : Whether these are the inputs that the accuracy was measured on. What they show is
        then off by the draw of the change alone, which is little where little changes.
    reference : The dense network's logits (m, c) on inputs as the accuracy was measured on, for a
        check of drift.
    renewed : Of classifiers, the dense network's outputs after BatchNorm's statistics were
        estimated again, where those of the pruned copies are.
    smoothing : Whether forecasts are made monotone in kappa, or smooth; intervals keep their
        widths.

    calibrated : Whether the confidence at the fitted temperature is known to be right, as where
        labels are drawn from it: then intervals hold no error of the model, and of classifiers the
        estimator is "tempered difference".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> dense = 3 * rng.normal(size=(400, 10))
    >>> pruned = [dense + noise * rng.normal(size=dense.shape) for noise in (0.3, 3.0)]
    >>> mild, harsh = forecast_curve(dense, pruned, [0.5, 0.1], accuracy=0.8).points
    >>> harsh.high < mild.low < mild.value < 0.8
    True
    """
    check_between(level, 0.5, 0.999, "level", WHERE)
    check_one_of(kind, get_args(Kind), "kind", WHERE)
    check_one_of(estimator, ESTIMATORS, "estimator", WHERE)
    check_one_of(smoothing, get_args(Smoothing), "smoothing", WHERE)
    for name, count in (("accuracy_inputs", accuracy_inputs), ("outcome_inputs", outcome_inputs)):
        if count is not None:
            check_at_least(count, 1, name, WHERE)
    for kappa in kappas:
        require(0 < kappa <= 1, "kappas", WHERE, "shares in (0, 1]", kappa)
    if calibrated:
        given = (DEFAULT, "tempered difference")
        require(estimator in given, "estimator", WHERE, f"of {given} if calibrated", estimator)
        estimator = given[1]
    network = _network(kind, dense, accuracy, labels, estimator, renewed)
    checks = network.checks
    if reference is not None:
        checks = (*checks, _drift(network, reference))
    if same_inputs:
        counted = kind in COUNTED and outcome_inputs is not None and accuracy_inputs is None
        wanted = "given with outcome inputs, and for one decision an input"
        require(counted, "same_inputs", WHERE, wanted, f"{kind}, {outcome_inputs}")
    found = [_found(network, outputs, same_inputs) for outputs in _paired(pruned, len(kappas))]
    if calibrated:
        found = [dataclasses.replace(one, model=0.0) for one in found]
    values = _values(found, kappas, network, smoothing)
    if isinstance(network, RowNetwork) and network.measured:
        accuracy_inputs = network.measured
    draws = _Draws(level, network.known, accuracy_inputs, outcome_inputs, kind, network.known_error)
    points = tuple(
        draws.point(float(kappa), one, value)
        for kappa, one, value in zip(kappas, found, values, strict=True)
    )
    inputs = network.units
    return CurveForecast(
        points, checks, kind, estimator, network.known, inputs, level, network.temperature
    )


def _found(network: Network, outputs: ArrayLike | Likely, same_inputs: bool) -> Found:
    if isinstance(outputs, Likely):
        return together([_found(network, one, same_inputs) for one in outputs.outputs])
    found = network.found(outputs)
    if same_inputs and isinstance(network, RowNetwork):
        found = dataclasses.replace(found, flips=network.flips(outputs))
    return found


def _paired(pruned: Iterable[ArrayLike | Likely], count: int) -> Iterable[ArrayLike | Likely]:
    """As many copies as kappas, one at a time."""
    given = 0
    for given, outputs in enumerate(pruned, 1):
        if given <= count:
            yield outputs
    require(given == count, "pruned", WHERE, f"outputs for each of {count} kappas", given)


def _network(
    kind: Kind,
    dense: ArrayLike,
    accuracy: float | None,
    labels: ArrayLike | None,
    estimator: str,
    renewed: ArrayLike | None,
) -> Network:
    if kind in ("language", "regression", "embedding"):
        require(renewed is None, "renewed", WHERE, "left out but of classifiers", "outputs")
    if kind == "language":
        require(
            labels is None, "labels", WHERE, "left out of windows, whose figures know", "labels"
        )
        return language_network(dense, accuracy)
    if kind == "regression":
        return regression_network(dense, accuracy, labels)
    if kind == "embedding":
        require(labels is None, "labels", WHERE, "left out for embeddings", "labels")
        return embedding_network(dense, accuracy)
    return row_network(kind, dense, accuracy, labels, estimator, renewed)


def _drift(network: Network, reference: ArrayLike) -> Check:
    require(
        isinstance(network, RowNetwork) and network.groups is None,
        "reference",
        WHERE,
        "given for one decision an input only",
        "another kind of outputs",
    )
    assert isinstance(network, RowNetwork)
    shape = network.shape[1:]
    others = check_outputs(reference, "reference", WHERE, dimensions=(1 + len(shape),))
    require(others.shape[1:] == shape, "reference", WHERE, f"of {shape} outputs", others.shape)
    return same_confidence(network.confidence(), network.confidence(others))


def _values(
    found: Sequence[Found], kappas: Sequence[float], network: Network, smoothing: Smoothing
) -> list[float | None]:
    estimates = [one.estimate for one in found]
    plain = [None if e is None else e.value for e in estimates]
    if smoothing == "none" or network.known is None:
        return plain
    require(isinstance(network, RowNetwork), "smoothing", WHERE, "none for this kind", smoothing)
    assert isinstance(network, RowNetwork)
    given = [e for e in estimates if e is not None]
    models = [one.model for one in found]
    if smoothing == "monotone":
        errors = np.array([joined(e.error, m) for e, m in zip(given, models, strict=True)])
        return list(monotone(np.array([e.value for e in given]), kappas, errors))
    return list(smooth(given, models, kappas, network.known, network.chance))


@dataclass(frozen=True)
class _Draws:
    """How intervals are made: their level, and how many inputs other figures rest on."""

    level: float
    known: float | None
    accuracy_inputs: int | None
    outcome_inputs: int | None
    kind: Kind
    known_error: float | None

    def point(self, kappa: float, found: Found, value: float | None) -> PointForecast:
        kept = found.kept
        z = quantile(self.level, kept.units)
        floor = -math.inf if self.kind == "regression" else 0.0
        kept_ends = _ends(kept.value, z * kept.error, floor, 1.0)
        if found.estimate is None or value is None or self.known is None:
            return PointForecast(kappa, None, None, None, kept.value, *kept_ends)
        estimate = found.estimate
        accuracy = self.known_error or self._counted(self.known, self.accuracy_inputs)
        error = joined(estimate.error, found.model)
        sign = -1.0 if self.kind == "language" else 1.0
        loss = sign * (self.known - value)
        if found.flips is not None and self.outcome_inputs is not None:
            shown = math.sqrt(max(found.flips - loss**2, 0.0) / self.outcome_inputs)
            rest = (1 - estimate.by_accuracy) * self._counted(self.known, self.outcome_inputs)
        else:
            shown = self._counted(value, self.outcome_inputs)
            rest = estimate.by_accuracy * accuracy
        wide = joined(error, rest, shown)
        uncertain = z * joined(error, (1 - estimate.by_accuracy) * accuracy)
        top = math.inf if self.kind == "language" else 1.0
        return PointForecast(
            kappa,
            value,
            *_ends(value, z * wide, floor, top),
            kept.value,
            *kept_ends,
            loss,
            loss - uncertain,
            loss + uncertain,
            estimate.error,
            found.model,
            found.laws,
            found.tokens,
        )

    def _counted(self, share: float, count: int | None) -> float:
        """The standard error of a share of so many decisions, one an input."""
        if count is None or self.kind not in COUNTED:
            return 0.0
        inside = min(max(share, 0.5 / count), 1 - 0.5 / count)
        return math.sqrt(inside * (1 - inside) / count)


def _ends(value: float, half: float, least: float, most: float) -> tuple[float, float]:
    return max(least, value - half), min(most, value + half)


LENGTH = 0.3  # in log kappa, over which a curve's bends are related
FLAT = 100.0  # variance of level and slope, which the forecasts decide alone
EDGE = 0.02  # of the way from chance to the accuracy, within which a logit means nothing


def monotone(values: FloatArray, kappas: Sequence[float], errors: FloatArray) -> FloatArray:
    """The nearest values that do not fall as more is kept, weighted by inverse variances."""
    order = np.argsort(kappas, kind="stable")
    weights = 1 / np.maximum(errors[order], 1e-6) ** 2
    smooth = np.empty_like(values)
    smooth[order] = isotonic_regression(values[order], weights=weights).x
    return smooth


def smooth(
    estimates: Sequence[Estimate],
    models: Sequence[float],
    kappas: Sequence[float],
    accuracy: float,
    chance: float,
) -> FloatArray:
    """A line in (log kappa, logit of the way from chance to the accuracy) that may bend.

    Bends are a Gaussian process of length `LENGTH` and deviation one; the forecasts' errors have
    the covariance of their influences, which is large as the same inputs serve each kappa: what
    they share cannot be smoothed away.
    """
    span = accuracy - chance
    way = np.clip((np.array([e.value for e in estimates]) - chance) / span, EDGE, 1 - EDGE / 10)
    noise = np.array([[covariance(one, other) for other in estimates] for one in estimates])
    noise += np.diag([joined(e.least, m) ** 2 for e, m in zip(estimates, models, strict=True)])
    slope = 1 / (span * way * (1 - way))
    noise *= np.outer(slope, slope)
    where = np.log(kappas)
    line = np.stack([np.ones_like(where), where - where.mean()])
    apart = (where[:, None] - where[None]) / LENGTH
    prior = np.exp(-(apart**2) / 2) + FLAT * line.T @ line
    found = prior @ np.linalg.solve(prior + noise + 1e-9 * np.eye(len(where)), logit(way))
    return np.asarray(chance + span * expit(found), dtype=np.float64)
