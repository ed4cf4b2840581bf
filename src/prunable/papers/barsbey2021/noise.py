"""The error of a mean tail index, and what an order of networks by it can show."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import rankdata, studentized_range

from prunable.data.registry import registered
from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.document import Check, Scale
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.barsbey2021 import settings
from prunable.papers.barsbey2021.settings import PAPER_WIDTHS, Case
from prunable.papers.barsbey2021.specs import GaussianTailSpec

PREFIX = "gaussian weights, "
NARROW = 256  # up to here many networks are drawn in seconds
MOST = 2  # doublings of the width that are simulated
ORDERS = 20_000  # random orders that a pooled correlation is compared with
Pairs = tuple[Sequence[float], Sequence[float]]


def with_gaussian_networks(plan: Plan, chosen: Iterable[Case], scale: Scale) -> Plan:
    """A plan with runs on Gaussian weights beside: of its widths, their doubles and fourfolds."""
    runs = {
        f"{PREFIX}{'-'.join(case)}/width {spec.width}": spec
        for case in chosen
        for spec in _specs(case, scale)
    }
    return Plan(plan.scale, plan.convention, {**plan.runs, **runs}, plan.settings, plan.notes)


def _specs(case: Case, scale: Scale) -> Iterable[GaussianTailSpec]:
    train = settings.setting(case, scale).train
    first, last = train.width or 1, PAPER_WIDTHS[case[0]]
    doublings = 0 if scale == "smoke" else min(MOST, math.floor(math.log2(last / first)))
    shape = registered(train.dataset.name).shape
    for power in range(doublings + 1):
        draws = 200 if power == 0 and first <= NARROW else 40
        draws = 4 if scale == "smoke" else draws
        yield GaussianTailSpec.create(
            net=train.net, width=first * 2**power, shape=shape, draws=draws
        )


@dataclass(frozen=True)
class Noise:
    """Tail indices that the authors' procedure finds in Gaussian weights, by width.

    networks : Means over layers, one a draw.
    layers : Estimates of each layer, one a draw, at the networks' own width.
    """

    width: int
    networks: Mapping[int, Sequence[float]]
    layers: Sequence[Sequence[float]]
    runs: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Tail index of Gaussian networks of the width; below 2, since estimates are capped."""
        return float(np.mean(self.networks[self.width]))

    @property
    def std(self) -> float:
        """Error of a network's mean tail index."""
        return float(np.std(self.networks[self.width], ddof=1))

    def layer_std(self, layer: int) -> float:
        """Error of a layer's tail index; 0 of a layer of too few vectors for one."""
        if len(self.layers[layer]) < 2:
            return 0.0
        return float(np.std(self.layers[layer], ddof=1))

    def spread(self, n: int, width: int | None = None) -> float:
        """Range of the indices of n Gaussian networks that 95 % stay below."""
        values = self.networks[self.width if width is None else width]
        return _range_quantile(n, len(values) - 1) * float(np.std(values, ddof=1))

    def needs(self, span: float, n: int) -> str:
        """The width at which so large a range could be told from chance."""
        wide = (w for w in sorted(self.networks) if self.spread(n, w) < span)
        width = next(wide, None)
        if width is None:
            return f"networks wider than {max(self.networks)}, or more networks"
        return f"width {width}, where {n} Gaussian networks span {self.spread(n, width):.4f}"

    def hides(self, statement: str, alphas: Sequence[float]) -> Check | None:
        """The claim as underpowered, where the indices differ no more than Gaussian weights'."""
        n = len(alphas)
        if n < 2 or max(alphas) - min(alphas) > self.spread(n):
            return None
        span = max(alphas) - min(alphas)
        evidence = (
            f"the tail indices span {span:.4f} ({min(alphas):.3f} to {max(alphas):.3f}); those of "
            f"{n} Gaussian networks of width {self.width} ({self.mean:.3f} ± {self.std:.4f} each) "
            f"span up to {self.spread(n):.4f} in 95 % of cases"
        )
        return checks.underpowered(statement, evidence, self.needs(span, n))


@cache
def _range_quantile(n: int, degrees: int) -> float:
    """The range of n normal numbers over a deviation of so many degrees of freedom: 95 %."""
    return float(studentized_range.ppf(checks.LEVEL, n, degrees))


def noise_of(plan: Plan, results: Mapping[str, Result], case: Case) -> Noise | None:
    """The error of a case's tail indices; None where those runs are lost or too few vectors."""
    prefix, found, own, runs = f"{PREFIX}{'-'.join(case)}/", {}, [], []
    first = settings.setting(case, plan.scale).train.width
    for key, spec in plan.runs.items():
        if not key.startswith(prefix) or results[key]["status"] != "done":
            continue
        assert isinstance(spec, GaussianTailSpec)
        layers = [layer["alphas"] for layer in results[key]["layers"]]
        alphas = [alpha for alpha in results[key]["alphas"] if alpha is not None]
        if len(alphas) < 2:
            continue
        found[spec.width] = alphas
        runs.append(spec.run_id)
        if spec.width == first:
            own = [[a for a in layer if a is not None] for layer in layers]
    if first is None or first not in found:
        return None
    return Noise(first, found, own, tuple(runs))


def by_tail_index(
    statement: str, alphas: Sequence[float], values: Sequence[float], noise: Noise | None
) -> Check:
    """The claim that values fall as the tail index grows, if the indices differ beyond chance."""
    hidden = None if noise is None else noise.hides(statement, alphas)
    return hidden or checks.monotone(statement, alphas, values)


def worst_third(
    statement: str,
    alphas: Sequence[float],
    values: Sequence[float],
    noise: Noise | None,
    *,
    words: checks.Words = checks.percent,
) -> Check:
    """The claim that the third of the networks of highest tail index has the lowest values."""
    if len(alphas) < 3:
        return checks.undecided(statement, f"{len(alphas)} networks")
    thirds = np.array_split(np.array(values)[np.argsort(alphas, kind="stable")], 3)
    means = [float(third.mean()) for third in thirds]
    said = ", ".join(map(words, means)) + " from the lowest third to the highest"
    hidden = None if noise is None else noise.hides(statement, alphas)
    if hidden is not None:
        return checks.underpowered(statement, f"{said}; but {hidden.evidence}", hidden.needs)
    return Check(statement, means[2] < min(means[:2]), said)


def pooled(
    statement: str, groups: Mapping[str, Pairs], *, rising: bool = False, unit: str = "networks"
) -> Check:
    """The claim that y falls (or rises) with x within every group, by the mean rank correlation.

    Groups count by their degrees of freedom. The claim holds if the mean lies beyond the central
    90 % of random orders within the groups on the claimed side (one-sided 5 %), and is
    contradicted if it lies beyond on the other; between them it fails, or is underpowered where
    so few could not show a correlation of `checks.STRONG`.
    """
    used = {k: v for k, v in groups.items() if len(set(v[0])) > 1 and len(set(v[1])) > 1}
    if not used:
        return checks.undecided(statement, f"no {unit} that differ")
    rng = np.random.default_rng(0)
    weights = np.array([len(x) - 1 for x, _ in used.values()], dtype=float)
    weights /= weights.sum()
    rhos, chance = [], np.zeros(ORDERS)
    for weight, (x, y) in zip(weights, used.values(), strict=True):
        a, b = (_standard_ranks(side) for side in (x, y))
        rhos.append(float(a @ b))
        chance += weight * (rng.permuted(np.tile(b, (ORDERS, 1)), axis=1) @ a)
    mean = float(weights @ rhos)
    low, high = (float(end) for end in np.quantile(chance, (0.05, 0.95)))
    sign = 1.0 if rising else -1.0
    far = -low if sign < 0 else high
    p_value = (1 + np.count_nonzero(sign * chance >= sign * mean - 1e-12)) / (1 + ORDERS)
    parts = ", ".join(f"{name} {rho:.2f}" for name, rho in zip(used, rhos, strict=True))
    evidence = (
        f"mean rank correlation {mean:.2f} ({parts}), one-sided p {p_value:.2g}; 90 % of random "
        f"orders within {low:.2f} to {high:.2f}"
    )
    if sign * mean >= far - 1e-12:
        return Check(statement, True, evidence)
    if (mean <= low + 1e-12) if rising else (mean >= high - 1e-12):
        return Check(statement, False, evidence, outcome="contradicted")
    if far > checks.STRONG:
        return checks.underpowered(statement, evidence, f"more {unit}")
    return Check(statement, False, evidence)


def _standard_ranks(values: Sequence[float]) -> np.ndarray:
    ranks = rankdata(values)
    ranks = ranks - ranks.mean()
    return np.asarray(ranks / math.sqrt(float(ranks @ ranks)))
