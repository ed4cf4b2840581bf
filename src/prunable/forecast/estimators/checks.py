"""Checks of a forecast's assumptions, which can fail, and refusals of what is no input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp, norm

from prunable.errors import InputError, require
from prunable.numerics.arrays import FloatArray
from prunable.numerics.checks import real_array

LEAST_INPUTS = 30
ENOUGH_INPUTS = 100
# Networks trained in usual ways have temperatures from .6 (labels smoothed) to 2.5.
PLAUSIBLE = (1 / 3, 3.0)
FAR_FROM_CHANCE = "far from chance"
FALSE_ALARM = 0.01  # of each check that is a test


@dataclass(frozen=True)
class Check:
    """One assumption of a forecast, and whether what can be seen contradicts it."""

    name: str
    passed: bool
    text: str


def check_outputs(
    values: ArrayLike,
    param: str,
    where: str,
    *,
    dimensions: Sequence[int] = (2,),
    least: int = LEAST_INPUTS,
    shape: tuple[int, ...] | None = None,
) -> FloatArray:
    """Check finite outputs of at least so many inputs, of a shape or number of dimensions."""
    array = real_array(values, param, where)
    wanted = f"an array of {' or '.join(map(str, dimensions))} dimensions, the first the inputs"
    fits = array.ndim in dimensions and array.size > 0
    require(fits, param, where, wanted, f"the shape {array.shape}")
    if shape is not None:
        require(array.shape == shape, param, where, f"of shape {shape}", f"the shape {array.shape}")
    n = len(array)
    mend = "An interval from fewer would mean nothing."
    require(n >= least, param, where, f"outputs for at least {least} inputs", n, mend)
    rows = np.isfinite(array).reshape(n, -1).all(1)
    if not rows.all():
        found = f"NaN or infinity for {int((~rows).sum())} of {n} inputs"
        mend = f"Run the network on input {int(rows.argmin())} in float32."
        raise InputError.parameter(param, where, "finite", found, mend)
    return array.astype(np.float64)


def check_vary(dense: FloatArray, where: str) -> None:
    """Refuse outputs that are the same for every input."""
    require(
        np.any(dense != dense[:1]),
        "dense",
        where,
        "different for different inputs",
        "the same outputs for all of them",
        "Are the inputs constant, or not normalised as in training?",
    )


def check_accuracy(accuracy: object, chance: float, where: str) -> float:
    """Check an accuracy: a share above chance, not per cent."""
    share = check_number(accuracy, where)
    if 1 < share <= 100:
        asked = f"Did you mean {share / 100:.4g}?"
        raise InputError.parameter("accuracy", where, "a share, not per cent", accuracy, asked)
    require(0 <= share <= 1, "accuracy", where, "a share between 0 and 1", accuracy)
    found, mend = f"{share:.4g}", "A network that knows nothing has nothing to lose."
    require(share > chance, "accuracy", where, f"above chance, which is {chance:.4g}", found, mend)
    return share


def check_number(value: object, where: str, param: str = "accuracy") -> float:
    """Check a finite real number, of Python or NumPy; a bool is none."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    require(number and math.isfinite(float(value)), param, where, "a finite number", value)  # type: ignore[arg-type]
    return float(value)  # type: ignore[arg-type]


def check_labels(
    labels: ArrayLike, shape: tuple[int, ...], classes: int, where: str
) -> NDArray[np.intp]:
    """Check labels of a shape: whole numbers below `classes`; -1, None or NaN where unknown."""
    array = np.asarray(labels)
    require(array.shape == shape, "labels", where, f"of shape {shape}", f"the shape {array.shape}")
    if array.dtype == object:
        known = [-1 if label is None else label for label in array.ravel()]
        array = np.array(known, dtype=object).reshape(shape)
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        found = f"values such as {array.ravel()[0]!r}"
        asked = "whole numbers, -1 where unknown"
        raise InputError.parameter("labels", where, asked, found) from error
    numbers = np.where(np.isnan(numbers), -1, numbers)
    bad = (numbers != np.round(numbers)) | (numbers < -1) | (numbers >= classes)
    require(
        not bad.any(),
        "labels",
        where,
        f"classes from 0 to {classes - 1}, -1 where unknown",
        f"{numbers[bad][0]:g}" if bad.any() else "",
        "Are they counted from 1, or of other inputs?",
    )
    return numbers.astype(np.intp)


def enough(n: int) -> Check:
    """Whether intervals from so many inputs can be taken at their word."""
    short = f"; intervals are wide, and right only roughly: give {ENOUGH_INPUTS}"
    passed = n >= ENOUGH_INPUTS
    return Check("enough inputs", passed, f"{n} inputs" + ("" if passed else short))


def plausible_temperature(mean_confidence: float, temperature: float, accuracy: float) -> Check:
    """Whether the network's own confidence is anywhere near its accuracy.

    Networks trained in usual ways stay within the limits, so false alarms are rare but have no
    probability: it is no test.
    """
    low, high = PLAUSIBLE
    passed = low <= temperature <= high
    seen = (
        f"mean confidence {mean_confidence:.3f}, accuracy {accuracy:.3f}: "
        f"temperature {temperature:.2f}"
    )
    odd = (
        f", outside {low:.2f} to {high:.2f}: the inputs are unlike those that the accuracy was "
        "measured on, or the confidence means little"
    )
    return Check("plausible temperature", passed, seen + ("" if passed else odd))


def far_from_chance(accuracy: float, chance: float) -> Check:
    """Whether the network is right often enough for its confidence to say something."""
    passed = accuracy > chance + 0.1 * (1 - chance)
    near = "" if passed else ": so near to it confidence says little"
    return Check(FAR_FROM_CHANCE, passed, f"accuracy {accuracy:.3f}, chance {chance:.3f}{near}")


def same_confidence(confidence: FloatArray, reference: FloatArray) -> Check:
    """Whether confidences are drawn like those of inputs as the accuracy was measured on.

    A two-sample Kolmogorov-Smirnov test at 1 %: the probability of a false alarm.
    """
    found = ks_2samp(confidence, reference)
    passed = float(found.pvalue) >= FALSE_ALARM
    text = (
        f"confidence against {len(reference)} others: distance {found.statistic:.3f}, "
        f"p = {found.pvalue:.2g}"
    )
    return Check("inputs as before", passed, text)


def calibrated(belief: FloatArray, right: FloatArray) -> tuple[Check, Check]:
    """Whether labels fit the belief in the decisions: its mean, and its order.

    Two z tests, each with a false alarm in 1 % of calibrated networks: of the mean of right less
    belief, and Spiegelhalter's (1986) of its squares, which sees sure decisions that are wrong.
    """
    noise = belief * (1 - belief)
    limit = float(norm.ppf(1 - FALSE_ALARM / 2))
    found = []
    for name, weight in (
        ("accuracy as known", np.ones_like(belief)),
        ("confidence rightly ordered", 1 - 2 * belief),
    ):
        total = float(np.sum(weight**2 * noise))
        z = float(np.sum(weight * (right - belief))) / math.sqrt(total) if total else 0.0
        passed = abs(z) <= limit
        text = f"{len(belief)} labels: z = {z:.2f}, allowed {limit:.2f}"
        found.append(Check(name, passed, text))
    return found[0], found[1]
