"""Estimators of a pruned classifier's accuracy, behind one protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln, ndtr, softmax
from scipy.stats import gaussian_kde

from prunable.forecast.estimators.belief import Belief, Decisions, decide, tempered
from prunable.forecast.estimators.classwise import class_wise, vector
from prunable.forecast.estimators.estimate import Estimate, of_mean
from prunable.forecast.estimators.model_error import EVIDENCE, RENEWED, evidence_at, informed
from prunable.numerics.arrays import FloatArray


@dataclass(frozen=True, eq=False)
class Dense:
    """What is known of the dense network: logits (n, c), and its accuracy with `top` guesses.

    `renewed` (n, c) are its logits after BatchNorm's statistics were estimated again, if copies are
    made so. Where inputs differ from those of training, new statistics change many decisions by
    themselves, and neither network is much better: the belief is that of their mean logits. `drawn`
    says that rows were drawn each by itself.
    """

    logits: FloatArray
    accuracy: float
    top: int = 1
    renewed: FloatArray | None = None
    drawn: bool = True

    @cached_property
    def decisions(self) -> Decisions:
        """The decided classes, shape (n, top)."""
        return decide(self.logits, self.top)

    @cached_property
    def belief(self) -> Belief:
        """The softmax at the temperature that fits the accuracy."""
        both = self.logits if self.renewed is None else (self.logits + self.renewed) / 2
        return tempered(both, self.decisions, self.accuracy)

    @cached_property
    def class_wise(self) -> Belief:
        """The belief with a temperature for each decided class."""
        return class_wise(self.logits, self.decisions, self.accuracy)

    @cached_property
    def vector(self) -> Belief:
        """The belief with an offset for each class."""
        return vector(self.logits, self.decisions, self.accuracy)


class Estimator(Protocol):
    """Forecasts the accuracy of a pruned network from its logits and the dense network's."""

    @property
    def name(self) -> str: ...

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        """The forecast with each input's influence; `pruned` has shape (n, c)."""
        ...


def kept_of(dense: Dense, pruned: FloatArray) -> FloatArray:
    """Of each input the share of the dense network's decided classes that are decided still."""
    kept = dense.decisions[:, :, None] == decide(pruned, dense.top)[:, None, :]
    return np.asarray(kept.any(2).mean(1), dtype=np.float64)


def worth_of(
    dense: Dense,
    pruned: FloatArray,
    after: Decisions,
    evidence: float = EVIDENCE,
    renewed: float = RENEWED,
) -> FloatArray:
    """What new decisions `after` (n, top) of a pruned network are worth, in log odds, (n, top).

    Nothing where they are the dense network's. Those of new statistics alone speak for the old
    ones, by `renewed`, which the belief of both networks takes for no better; unless inputs are
    unlike those of training.
    """
    told = informed(dense.logits.argmax(1), pruned.argmax(1), pruned.shape[1])
    new = _others(after, dense.decisions)
    if dense.renewed is None:
        return np.asarray(told * evidence_at(dense.belief.temperature, evidence) * new)
    by_weights = _others(after, decide(dense.renewed, dense.top))
    old = evidence_at(dense.belief.temperature, renewed)
    return np.asarray(told * new * np.where(by_weights, evidence, old))


def _others(after: Decisions, before: Decisions) -> NDArray[np.bool_]:
    """Which decided classes (n, top) are not among those decided before."""
    return np.asarray((after[:, :, None] != before[:, None, :]).all(2))


def _forecast(dense: Dense, pruned: FloatArray, belief: Belief) -> Estimate:
    """The accuracy plus the gain that a belief expects of the new decisions."""
    after = decide(pruned, dense.top)
    gain = belief.gain(after, dense.decisions)
    return _finished(dense, pruned, gain, belief.of(after) - belief.of(dense.decisions))


def _finished(dense: Dense, pruned: FloatArray, gain: Estimate, values: FloatArray) -> Estimate:
    """The forecast of a gain, given what the belief expects of each input's new decision."""
    kept = kept_of(dense, pruned)
    # One more input might have changed its decision, at what those few that did stand to lose.
    changed = kept < 1
    stake = np.sqrt(np.mean(values[changed] ** 2)) if changed.any() else LEAST_STAKE
    return dataclasses.replace(
        gain,
        value=dense.accuracy + gain.value,
        by_accuracy=1 + gain.by_accuracy,
        changed=1 - float(kept.mean()),
        least=max(float(stake), LEAST_STAKE) / len(kept),
    )


LEAST_STAKE = 0.1


@dataclass(frozen=True)
class TemperedDifference:
    """A minus the mean of what the belief loses: p(dense decision) - p(pruned decision)."""

    name: str = "tempered difference"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        return _forecast(dense, pruned, dense.belief)


@dataclass(frozen=True)
class ChangedDecisions:
    """The tempered difference, where a changed decision is itself evidence.

    Decisions change where the dense network is less sure than its margin says: the odds of what is
    decided anew are multiplied by exp(`evidence`), the same for all shares kept and all networks
    but those far too sure (`evidence_at`) and copies near chance (`informed`). Decisions near a tie
    count in part for the runner-up. Classes come as often as is to be expected (`by_frequencies`).
    """

    name: str = "changed decisions"
    evidence: float = EVIDENCE
    renewed: float = RENEWED

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        n = len(pruned)
        if dense.top == 1:
            classes, weights = near_ties(dense.logits, pruned)
            ways = [(classes[:, [j]], weights[:, j]) for j in (0, 1)]
        else:
            ways = [(decide(pruned, dense.top), np.ones(n))]
        values, influence, by_accuracy, leverage = np.zeros(n), np.zeros(n), 0.0, 0.0
        for after, part in ways:
            new = _others(after, dense.decisions)
            shifts = np.zeros_like(pruned)
            worth = worth_of(dense, pruned, after, self.evidence, self.renewed)
            np.put_along_axis(shifts, after, worth, 1)
            belief = dense.belief.moved(shifts)
            gain = belief.gain(after, dense.decisions, part)
            influence += gain.influence
            by_accuracy += gain.by_accuracy
            gains = belief.of(after) - belief.of(dense.decisions)
            values += part * gains
            # d/dc of p(after) - p(before), where c is the evidence for the new classes
            moved = (np.take_along_axis(belief.law, after, 1) * new).sum(1)
            leverage += float(np.mean(part * moved * (1 - gains)))
        gain = Estimate(float(values.mean()), influence, by_accuracy, leverage=leverage)
        if dense.drawn:
            gain = by_frequencies(gain, dense.belief.law)
        return _finished(dense, pruned, gain, values)


@dataclass(frozen=True)
class Mixed:
    """The tempered difference, the pruned network's logits mixed into the belief.

    They are scaled to the dense ones' deviation; their weight falls with agreement, from .25 where
    all decisions stay to .05 where few do. The interval takes the weight as fixed.
    """

    name: str = "mixed belief"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        changed = 1 - float(kept_of(dense, pruned).mean())
        weight = 0.05 + 0.2 * np.exp(-changed / 0.08)
        scale = weight * dense.logits.std() / max(float(pruned.std()), 1e-12)
        mixture = dense.logits + scale * pruned
        return _forecast(dense, pruned, tempered(mixture, dense.decisions, dense.accuracy))


@dataclass(frozen=True)
class OfClasses:
    """The tempered difference with temperatures or offsets of classes."""

    name: str
    fitted: Callable[[Dense], Belief]

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        return _forecast(dense, pruned, self.fitted(dense))


@dataclass(frozen=True)
class Agreement:
    """The share of decisions kept, times A: what is decided anew counts as wrong."""

    name: str = "agreement"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        kept = kept_of(dense, pruned)
        share = float(kept.mean())
        return of_mean(dense.accuracy * kept, by_accuracy=share, changed=1 - share)


@dataclass(frozen=True)
class DisagreementLaw:
    """Decisions change regardless of what is right: A (1 - q) + q (1 - A) / (c - 1).

    As if all inputs were equally hard, of q decisions changed the share A was right, and of the
    others one in c - 1 hits.
    """

    name: str = "disagreement law"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        kept = kept_of(dense, pruned)
        others = max(1, pruned.shape[1] - dense.top) / dense.top
        hit = (1 - dense.accuracy) / others
        share = float(kept.mean())
        return of_mean(
            hit + (dense.accuracy - hit) * kept,
            by_accuracy=share - (1 - share) / others,
            changed=1 - share,
        )


@dataclass(frozen=True)
class ThresholdedConfidence:
    """The share of inputs on which the pruned network is more confident than a threshold.

    The threshold is exceeded by the share A of the dense network's confidences (Garg et al. 2022,
    eq. 2, maximum confidence).
    """

    name: str = "thresholded confidence"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        before, after = (
            np.sort(softmax(logits, axis=1), axis=1)[:, -dense.top :].sum(1)
            for logits in (dense.logits, pruned)
        )
        threshold = float(np.quantile(before, 1 - dense.accuracy))
        above = (after > threshold).astype(np.float64)
        found = of_mean(above, changed=1 - float(kept_of(dense, pruned).mean()))
        ratio = _density(after, threshold) / max(_density(before, threshold), 1e-6)
        moved = (before > threshold) - float((before > threshold).mean())
        return dataclasses.replace(
            found, influence=found.influence - ratio * moved, by_accuracy=ratio
        )


def _density(sample: FloatArray, at: float) -> float:
    return float(gaussian_kde(sample)(at)[0]) if sample.std() > 1e-9 else 0.0


@dataclass(frozen=True)
class MeanConfidence:
    """The mean confidence of the pruned network at the dense network's temperature."""

    name: str = "mean confidence"

    def contributions(self, dense: Dense, pruned: FloatArray) -> Estimate:
        base = dense.belief
        scores = pruned / base.temperature
        own = dataclasses.replace(base, scores=scores, directions=-scores[None])
        after = decide(pruned, dense.top)
        values, slope = own.of(after), float(own.tilts(after).mean())
        weight = slope * float(base.by_accuracy[0])
        mean = float(values.mean())
        return Estimate(
            mean,
            values - mean - weight * base.equations[:, 0],
            weight,
            1 - float(kept_of(dense, pruned).mean()),
        )


DEFAULT = "changed decisions"
ESTIMATORS: Mapping[str, Estimator] = {
    estimator.name: estimator
    for estimator in (
        ChangedDecisions(),
        TemperedDifference(),
        Mixed(),
        OfClasses("class-wise temperature", attrgetter("class_wise")),
        OfClasses("vector temperature", attrgetter("vector")),
        Agreement(),
        DisagreementLaw(),
        ThresholdedConfidence(),
        MeanConfidence(),
    )
}


# Widths are the least of these shares of what pruning moves gaps by, and of the gaps themselves, at
# `INPUTS` inputs; for others they shrink as is best for a kernel of this order.
OF_CHANGE, OF_GAPS, INPUTS, RATE = 0.5, 0.3, 256, 1 / 9


def near_ties(dense: FloatArray, pruned: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """The two classes of largest pruned logits, shape (n, 2), and the weight of each.

    Weights of an input sum to 1; where the gap is far wider than what pruning moved they are 1 and
    0, and networks that are alike have no others. The kernel's order makes a few slightly negative.

    Which of two nearly equal logits is larger is chance, and counts whole in a mean over few
    inputs. Weighing both classes by a smooth function of the gap is what a kernel estimate of a
    distribution does; one of fourth order leaves no bias of second order in its width.
    """
    order = np.argpartition(-pruned, 1, axis=1)[:, :2]
    values = np.take_along_axis(pruned, order, 1)
    swap = values[:, 1] > values[:, 0]
    order[swap] = order[swap, ::-1]
    # Ties go to the first class, as in every decision.
    first = pruned.argmax(1)
    tied = order[:, 0] != first
    order[tied] = order[tied, ::-1]
    order[:, 0] = first
    gaps = np.abs(values[:, 0] - values[:, 1])
    ahead, behind = np.take_along_axis(dense, order, 1).T
    before = ahead - behind
    scale = float(before @ before)
    moved = gaps - before * (float(gaps @ before) / scale if scale else 0.0)
    change = float(np.sqrt(np.mean(moved**2)))
    width = min(OF_CHANGE * change, OF_GAPS * float(gaps.std())) * (INPUTS / len(gaps)) ** RATE
    if width <= 1e-9 * float(np.abs(gaps).max(initial=1e-300)):
        return order, np.tile([1.0, 0.0], (len(gaps), 1))
    weight = 2 * ndtr(gaps / width) - ndtr(gaps / (width * np.sqrt(2)))
    return order, np.column_stack([weight, 1 - weight])


LEAST = 10  # inputs a class, below which what classes are worth cannot be told from noise


def unequal(shares: FloatArray, n: int) -> float:
    """The probability that classes of these shares (c,) among n inputs are not equally frequent.

    Beforehand equal ones are as likely as all others together, these all alike.
    """
    c = len(shares)
    others = gammaln(c) - gammaln(n + c) + gammaln(n * shares + 1).sum()
    return float(expit(others + n * np.log(c)))


def by_frequencies(estimate: Estimate, law: FloatArray) -> Estimate:
    """An estimate as it would be had the classes come as often as is to be expected of them.

    `law` (n, c) is what is believed of the inputs' classes. A copy that decides few classes is
    worth their share of the inputs, which in a few hundred is chance: the part of the estimate that
    is linear in the beliefs moves with them to the expected shares. Influences take the probability
    that they are equal as fixed.
    """
    n, c = law.shape
    if n < LEAST * c:
        return estimate
    shares = law.mean(0)
    equal = 1 - unequal(shares, n)
    apart = law - shares
    slopes = np.linalg.lstsq(apart, estimate.influence, rcond=1e-6)[0]
    return dataclasses.replace(
        estimate,
        value=estimate.value + equal * float((1 / c - shares) @ slopes),
        influence=estimate.influence - equal * (apart @ slopes),
    )
