"""Shares of coupled units from what each group's loss does to the outputs, on unlabelled inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from prunable.errors import InputError, require
from prunable.nets.calibration.divergence import divergence, normalising, outputs_of_batch
from prunable.nets.networks.examples import Example, on_device_of
from prunable.nets.networks.parametrized import copied
from prunable.nets.prune.choices import Outputs
from prunable.nets.prune.grouped import Group, GroupPlan
from prunable.nets.prune.masks import mask_groups_

Floats = NDArray[np.float64]
Cost = Callable[[Sequence[GroupPlan]], float]

TRIED = (0.3, 0.6, 1.0)  # shares of a group's units that go, by itself; one stays at least
AT_ONCE = 128  # inputs a batch, where a tensor is given
ROUNDS = 2  # of prices: what a unit costs depends on what else stays
HALVINGS = 24  # of the price at which a target is met
LEAST = 1e-9  # divergence below which rounding is measured


def sensitivity_plans(
    groups: Sequence[Group],
    scores: Sequence[Floats],
    measured: Floats,
    cost: Cost,
    target: float,
    rounded: Callable[[int, int], int] = lambda count, _: count,
) -> tuple[GroupPlan, ...] | None:
    """Choose how much of each group stays, so that the summed divergences are least at a cost.

    `measured` are `divergences`; between those the divergence grows as a power of the share that
    goes. Of all counts of units those are taken at which divergence plus price times cost is
    least, with the price at which the target is met. What a unit costs is measured again where
    the last round ended, for a layer costs less where the layers around it are thin. None if no
    counts meet the target.
    """
    curves = [_curve(x, group.n_units) for x, group in zip(measured, groups, strict=True)]
    order = [np.argsort(-score, kind="stable") for score in scores]
    known: dict[tuple[int, ...], float] = {}

    def plans_of(counts: Sequence[int]) -> tuple[GroupPlan, ...]:
        plans = []
        for group, best, count in zip(groups, order, counts, strict=True):
            kept = np.zeros(group.n_units, dtype=np.bool_)
            kept[best[: rounded(count, group.n_units)]] = True
            plans.append(GroupPlan(group, kept))
        return tuple(plans)

    def cost_of(counts: Sequence[int]) -> float:
        key = tuple(counts)
        if key not in known:
            known[key] = cost(plans_of(counts))
        return known[key]

    counts = [group.n_units for group in groups]
    best: list[int] | None = None
    for _ in range(ROUNDS):
        found = _cheapest(curves, _prices(counts, cost_of), cost_of, target)
        if found is None:
            break
        counts = found
        if best is None or _total(curves, counts) <= _total(curves, best):
            best = counts
    if best is None:
        fewest = [1 for _ in groups]
        best = fewest if cost_of(fewest) <= target else None
    return None if best is None else plans_of(best)


def _total(curves: Sequence[Floats], counts: Sequence[int]) -> float:
    return sum(float(curve[count - 1]) for curve, count in zip(curves, counts, strict=True))


def divergences(
    model: nn.Module,
    groups: Sequence[Group],
    scores: Sequence[Floats],
    inputs: Tensor | Iterable[Example],
    outputs: Outputs = "logits",
) -> NDArray[np.float64]:
    """How far the outputs move if the lowest-scored units of one group go, at each of `TRIED`.

    Of scores of classes, (n, classes) or what a model calls its logits, the mean Kullback-Leibler
    divergence of their softmax from the whole network's, or of themselves where they are
    probabilities; of other outputs, and of all if they are values, the squared error relative to
    their variance, of (n, k) to that of each.

    Raises InputError if there are no inputs, one does not fit, or outputs are not finite.
    """
    batches = [on_device_of(model, batch) for batch in _batches(inputs)]
    require(batches, "inputs", "prune", "batches of what the model is called with", "none")
    whole = normalising(copied(model))
    expected = [outputs_of_batch(whole, batch, outputs) for batch in batches]
    found = np.zeros((len(groups), len(TRIED)))
    for i, (group, score) in enumerate(zip(groups, scores, strict=True)):
        order = np.argsort(-score, kind="stable")
        for k, gone in enumerate(TRIED):
            kept = np.zeros(group.n_units, dtype=np.bool_)
            kept[order[: _stay(gone, group.n_units)]] = True
            masked = normalising(copied(model))
            mask_groups_(dict(masked.named_parameters()), [GroupPlan(group, kept)])
            changed = [outputs_of_batch(masked, batch, outputs) for batch in batches]
            found[i, k] = divergence(expected, changed)
            if not np.isfinite(found[i, k]):
                raise InputError(
                    f"`inputs` of `prune` give outputs that are not finite (`{group.name}` "
                    "pruned). Check the inputs."
                )
    return found


def _batches(inputs: Tensor | Iterable[Example]) -> Iterable[Example]:
    several = inputs.ndim if isinstance(inputs, Tensor) else isinstance(inputs, Iterable)
    wanted = "a tensor of several inputs, or batches of them"
    require(several and not isinstance(inputs, dict), "inputs", "prune", wanted, type(inputs))
    if not isinstance(inputs, Tensor):
        return inputs
    # parts of equal size, for statistics of a small rest would be noise
    return inputs.chunk(max(1, round(len(inputs) / AT_ONCE)))


def _stay(gone: float, n_units: int) -> int:
    return max(1, round((1 - gone) * n_units))


def _curve(found: Floats, n_units: int) -> Floats:
    """Divergence by the number of units that stay, from 1 to all: powers of the share that goes."""
    shares = np.array([1 - _stay(gone, n_units) / n_units for gone in TRIED])
    # fewer units do not tell more; an accident of measuring is evened out
    values = np.maximum.accumulate(np.maximum(found, LEAST))
    shares, first = np.unique(shares, return_index=True)
    values = values[first][shares > 0]
    shares = shares[shares > 0]
    gone = 1 - np.arange(1, n_units + 1) / n_units
    if not len(shares):
        return np.zeros(n_units)
    x, y = np.log(shares), np.log(values)
    slopes = np.diff(y) / np.diff(x) if len(x) > 1 else np.array([2.0])
    with np.errstate(divide="ignore"):
        at = np.log(gone)
    low = y[0] + max(slopes[0], 1.0) * (at - x[0])
    high = y[-1] + max(slopes[-1], 1.0) * (at - x[-1])
    inside = np.interp(at, x, y)
    curve = np.exp(np.where(at < x[0], low, np.where(at > x[-1], high, inside)))
    return np.where(gone > 0, curve, 0.0)


def _prices(counts: Sequence[int], cost: Callable[[Sequence[int]], float]) -> list[float]:
    """What one unit of each group adds to the cost, where the others stay as they are."""
    whole = cost(counts)
    prices = []
    for i, count in enumerate(counts):
        fewer = list(counts)
        fewer[i] = max(1, count - max(1, count // 4))
        cut = count - fewer[i]
        prices.append(max(0.0, whole - cost(fewer)) / cut if cut else 0.0)
    return prices


def _cheapest(
    curves: Sequence[Floats],
    prices: Sequence[float],
    cost: Callable[[Sequence[int]], float],
    target: float,
) -> list[int] | None:
    """The counts of least divergence at which the cost is met, by halving the price; None if none.

    What is left of the budget then goes to the groups of which a unit brings most, one at a time.
    """

    def at(weight: float) -> list[int]:
        counts = []
        for curve, price in zip(curves, prices, strict=True):
            total = curve + weight * price * np.arange(1, len(curve) + 1)
            counts.append(len(total) - int(np.argmin(total[::-1])))  # of equals the most units
        return counts

    low, high = -12.0, 12.0  # decimal logarithms of the price
    fewer, more = at(10.0**high), at(10.0**low)
    if cost(fewer) > target:
        return None
    if cost(more) <= target:
        return more
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        counts = at(10.0**middle)
        if cost(counts) <= target:
            high, fewer = middle, counts
        else:
            low, more = middle, counts
        if fewer == more:
            break
    return _filled(fewer, more, curves, prices, cost, target)


def _filled(
    fewer: Sequence[int],
    more: Sequence[int],
    curves: Sequence[Floats],
    prices: Sequence[float],
    cost: Callable[[Sequence[int]], float],
    target: float,
) -> list[int]:
    """The counts that meet a target, with as much of the next ones, which do not, as it allows."""
    counts = list(fewer)
    apart = [i for i in range(len(counts)) if more[i] > counts[i]]

    def worth(i: int) -> float:
        gain = curves[i][counts[i] - 1] - curves[i][more[i] - 1]
        return float(gain / (max(prices[i], 1e-12) * (more[i] - counts[i])))

    for i in sorted(apart, key=worth, reverse=True):
        low, high = counts[i], more[i] + 1
        while high - low > 1:
            middle = (low + high) // 2
            if cost([*counts[:i], middle, *counts[i + 1 :]]) <= target:
                low = middle
            else:
                high = middle
        counts[i] = low
    return counts
