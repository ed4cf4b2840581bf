"""Rules of division with numbers of their own: how one share of all weights becomes one a layer.

Each gives as many weights a layer as its formula has it, up to what the layers' sizes and the exact
total take. Views come in the order of the network's layers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from prunable.errors import check_at_least, check_between, check_one_of, require
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Outputs, ShareRule
from prunable.numerics.reconstruction.gram import output_error
from prunable.numerics.weights import shares
from prunable.numerics.weights.compressibility import relative_error
from prunable.numerics.weights.optimum import LossCurve, least_loss
from prunable.numerics.weights.selection import kept_count, top_k_mask

Scores = NDArray[np.floating[Any]]

# Shares of a layer at which its losses are looked at.
GRID = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.27, 0.35, 0.45, 0.55, 0.7, 0.85)
SLOPES = 9  # that are tried, from 0 to the steepest


class Allocation(Protocol):
    """A way to divide k weights among layers."""

    def counts(self, views: Sequence[WeightView], scores: Sequence[Scores], k: int) -> list[int]:
        """How many weights each layer keeps, k in all.

        `scores` are those by whose magnitudes weights of one layer are chosen, shaped as matrices.
        """


@dataclass(frozen=True)
class OutlierShares:
    """Layers keep more that have more outliers among their weights times inputs.

    Kept shares grow linearly with the share of |w| times the root mean square of its input that
    are more than `multiple` times their mean; the largest is 2 `spread` above the smallest. Without
    inputs the magnitudes of the weights count.

    Yin et al. (2024), section 3.2 (OWL): their M and lambda.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(50, 40), torch.nn.Linear(40, 50))
    >>> net[1].weight.data[:, 0] *= 50
    >>> strategy = prunable.strategies.MagnitudePruning(allocation=OutlierShares())
    >>> plan = prunable.prune(net, strategy, prunable.budgets.Keep(0.5, "global")).plan
    >>> [round(layer.kappa, 2) for layer in plan.layers]
    [0.42, 0.58]
    """

    multiple: float = 5.0
    spread: float = 0.08

    def __post_init__(self) -> None:
        check_at_least(self.multiple, 0, "multiple", "OutlierShares")
        check_between(self.spread, 0, 0.5, "spread", "OutlierShares")

    def counts(self, views: Sequence[WeightView], scores: Sequence[Scores], k: int) -> list[int]:
        """See `Allocation`."""
        del scores
        found = np.array([shares.outlier_share(view.weighted, self.multiple) for view in views])
        return shares.shifted_counts(shares.spread_over(found, 2 * self.spread), _sizes(views), k)


@dataclass(frozen=True)
class SpectralShares:
    """Layers keep more whose matrices have heavier spectral tails.

    Pruned shares are in proportions from 1 - `spread` to 1 + `spread`, linear in the exponent of
    the density of eigenvalues of W^T W (`spectral_exponent`). By weights alone.

    Lu, Zhou, Liu, Wang, Mahoney and Yang (2024), equation 2 (AlphaPruning): their tau.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(50, 40), torch.nn.Linear(40, 50))
    >>> strategy = prunable.strategies.MagnitudePruning(allocation=SpectralShares())
    >>> prunable.prune(net, strategy, prunable.budgets.Keep(0.5, "global")).plan.kappa
    0.5
    """

    spread: float = 0.3

    def __post_init__(self) -> None:
        check_between(self.spread, 0, 0.99, "spread", "SpectralShares")

    def counts(self, views: Sequence[WeightView], scores: Sequence[Scores], k: int) -> list[int]:
        """See `Allocation`."""
        del scores
        found = np.array([shares.spectral_exponent(view.matrix, view.taps) for view in views])
        finite = found[np.isfinite(found)]
        found = np.minimum(found, finite.max() if finite.size else 1.0)
        pruned = 1 - self.spread + shares.spread_over(found, 2 * self.spread)
        return shares.scaled_counts(pruned, _sizes(views), k)


@dataclass(frozen=True)
class MedianShares:
    """Layers keep more whose weights times inputs have a smaller median.

    With the medians m_l of |w| times the root mean square of its input, kept shares grow linearly
    with 1 - m_l / sum m; the largest is 2 `spread` above the smallest. Without inputs magnitudes of
    weights count.

    Chen, Cheng, Han, Zhang, Li and Zhang (2025), section 3 (DLP): their alpha.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(50, 40), torch.nn.Linear(40, 50))
    >>> strategy = prunable.strategies.MagnitudePruning(allocation=MedianShares())
    >>> prunable.prune(net, strategy, prunable.budgets.Keep(0.5, "global")).plan.kappa
    0.5
    """

    spread: float = 0.15

    def __post_init__(self) -> None:
        check_between(self.spread, 0, 0.5, "spread", "MedianShares")

    def counts(self, views: Sequence[WeightView], scores: Sequence[Scores], k: int) -> list[int]:
        """See `Allocation`."""
        del scores
        medians = np.array([float(np.median(np.abs(view.weighted))) for view in views])
        importance = 1 - medians / (float(medians.sum()) or 1.0)
        return shares.shifted_counts(
            shares.spread_over(importance, 2 * self.spread), _sizes(views), k
        )


@dataclass(frozen=True)
class DepthShares:
    """Kept shares in arithmetic progression: each block keeps `slope` less than the one before it.

    Weights that follow one another and share their names up to the first number are of one block,
    such as layers.3.attention.weight and layers.3.mlp.weight; others are blocks of their own.
    Without a slope that of nine is taken, from 0 to the steepest at which no share would leave
    [0, 1] if blocks were of one size, that does best: by the outputs of the network on calibration
    inputs where `prune` has these, and else by the sum of the layers' relative squared output
    errors.

    Huang et al. (2025), theorem on the growth of errors with depth (ATP): their beta.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(*(torch.nn.Linear(20, 20) for _ in range(3)))
    >>> strategy = prunable.strategies.MagnitudePruning(allocation=DepthShares(0.2))
    >>> plan = prunable.prune(net, strategy, prunable.budgets.Keep(0.5, "global")).plan
    >>> [layer.kappa for layer in plan.layers]
    [0.7, 0.5, 0.3]
    >>> views = [WeightView(f"{i}.weight", np.eye(20)) for i in range(3)]
    >>> [round(steps.slope, 3) for steps in DepthShares().tried(views, 600)[:3]]
    [0.0, 0.062, 0.125]
    """

    slope: float | None = None

    def __post_init__(self) -> None:
        if self.slope is not None:
            check_between(self.slope, -1, 1, "slope", "DepthShares")

    def counts(self, views: Sequence[WeightView], scores: Sequence[Scores], k: int) -> list[int]:
        """See `Allocation`."""
        if self.slope is not None:
            return shares.shifted_counts(-self.slope * depths_of(views), _sizes(views), k)
        curves = error_curves(views, scores)

        def loss(counts: list[int]) -> float:
            return sum(curve.at(n) for curve, n in zip(curves, counts, strict=True))

        tried = [steps.counts(views, scores, k) for steps in self.tried(views, k)]
        return min(tried, key=loss)

    def tried(self, views: Sequence[WeightView], k: int) -> list[DepthShares]:
        """The progressions among which one is chosen."""
        kappa = k / sum(_sizes(views))
        steepest = 2 * min(kappa, 1 - kappa) / max(float(depths_of(views)[-1]), 1.0)
        return [DepthShares(float(slope)) for slope in np.linspace(0, steepest, SLOPES)]


@dataclass(frozen=True)
class LeastLoss:
    """Shares at which what pruning does to the network's outputs is least.

    `prune` finds them on its calibration inputs; see `prunable.nets.prune.losses`. Where there are
    none, the layers' relative squared output errors add up to least, of inputs that are Gaussian
    and independent; with one threshold on magnitudes that is the rule `relative`.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(20, 20), torch.nn.ReLU(), torch.nn.Linear(20, 5))
    >>> strategy = prunable.strategies.MagnitudePruning(allocation=LeastLoss())
    >>> half = prunable.budgets.Keep(0.5, "global")
    >>> prunable.prune(net, strategy, half, calibration=torch.randn(128, 20)).plan.kappa
    0.5
    """

    # what the outputs of the network are; see `Target`
    outputs: Outputs = "logits"
    # whether BatchNorm goes by each batch when outputs are looked at, as suits a network whose
    # statistics are estimated again in the end
    recalibrated: bool = False
    n_inputs: int = 128  # that the network is run on, or a few more: whole batches

    def __post_init__(self) -> None:
        check_one_of(self.outputs, get_args(Outputs), "outputs", "LeastLoss")
        check_at_least(self.n_inputs, 1, "n_inputs", "LeastLoss")

    def counts(self, views: Sequence[WeightView], scores: Sequence[Scores], k: int) -> list[int]:
        """See `Allocation`."""
        return least_loss(error_curves(views, scores), k)


@dataclass(frozen=True)
class GivenCounts:
    """So many weights of each layer, in the order of the views.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.Linear(10, 10))
    >>> strategy = prunable.strategies.MagnitudePruning(allocation=GivenCounts((80, 20)))
    >>> plan = prunable.prune(net, strategy, prunable.budgets.Keep(0.5, "global")).plan
    >>> [layer.n_kept for layer in plan.layers]
    [80, 20]
    """

    kept: tuple[int, ...]

    def counts(self, views: Sequence[WeightView], scores: Sequence[Scores], k: int) -> list[int]:
        """See `Allocation`; InputError unless these are k weights of these layers."""
        del scores
        fits = len(self.kept) == len(views) and sum(self.kept) == k
        fits = fits and all(0 <= n <= v.matrix.size for n, v in zip(self.kept, views, strict=True))
        require(fits, "kept", "GivenCounts", f"{k} weights of {len(views)} layers", self.kept)
        return list(self.kept)


NAMED: dict[ShareRule, Allocation] = {
    "owl": OutlierShares(),
    "alpha": SpectralShares(),
    "dlp": MedianShares(),
    "atp": DepthShares(),
    "optimum": LeastLoss(),
}


def depths_of(views: Sequence[WeightView]) -> NDArray[np.float64]:
    """The number of each layer's block, from 0; see `DepthShares`."""
    blocks = [re.match(r"(?:.*?\.)??\d+(?=\.)", view.name) for view in views]
    names = [
        view.name if found is None else found[0] for view, found in zip(views, blocks, strict=True)
    ]
    steps = [0, *(name != before for before, name in pairwise(names))]
    return np.cumsum(steps, dtype=np.float64)


def error_curves(views: Sequence[WeightView], scores: Sequence[Scores]) -> list[LossCurve]:
    """The relative squared errors of each layer's outputs if its largest scores are kept."""
    return [error_curve(view, score) for view, score in zip(views, scores, strict=True)]


def error_curve(view: WeightView, scores: Scores) -> LossCurve:
    """The relative squared output errors of a layer of which the largest scores are kept."""
    kept, magnitudes, losses = grid_counts(view.matrix.size), np.abs(scores), []
    for count in kept:
        mask = top_k_mask(magnitudes, int(count))
        if view.gram is None:
            error = relative_error(view.weighted.ravel(), mask.ravel(), 2.0)
        else:
            changed = view.matrix * mask.reshape(view.matrix.shape)
            error = output_error(view.matrix, changed, view.gram.products)
        losses.append(error**2)
    return LossCurve(kept, np.array(losses))


def grid_counts(size: int) -> NDArray[np.int64]:
    """The numbers of weights at the shares of `GRID`, from 0 to all."""
    return np.unique([*(kept_count(share, size) for share in GRID), size]).astype(np.int64)


def _sizes(views: Sequence[WeightView]) -> list[int]:
    return [view.matrix.size for view in views]
