"""Pruning of whole nodes by the norms of their weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from prunable.errors import check_one_of
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.choices import Axis
from prunable.nets.prune.plan import Budget, PruningPlan
from prunable.nets.prune.strategies.base import check_views, plan_of, select
from prunable.numerics.checks import check_order
from prunable.numerics.weights.selection import Rounding

NODE_AXES = ("unit", "input", "kernel")


@dataclass(frozen=True)
class NodePruning:
    """Keep the nodes of largest l_p norm.

    >>> import torch, prunable
    >>> net = torch.nn.Linear(3, 2, bias=False)
    >>> net.weight.data = torch.tensor([[3.0, 0.1, 2.0], [4.0, 0.2, 1.0]])
    >>> pruned = prunable.prune(net, NodePruning("input"), prunable.budgets.Keep(0.6))
    >>> net.weight[:, 1].tolist()
    [0.0, 0.0]
    """

    # nodes are the rows of the (out, in * taps) matrix, a hidden unit's incoming weights or a
    # filter (the columns theta^i of Wan, Zaidi and Simsekli 2023, section 3); the columns of one
    # input, an input node's or channel's outgoing weights (theorem 4 of Barsbey et al. 2021); or
    # the kernels of a convolution (their code for networks with convolutions)
    axis: Axis = "unit"
    # order of the norm, positive and finite. Error budgets must have the same order, since only
    # then are the largest nodes the best to keep
    p: float = 2.0
    rounding: Rounding = "ceil"  # how `Keep` turns a share into a count

    def __post_init__(self) -> None:
        check_one_of(self.axis, NODE_AXES, "axis", "NodePruning")
        check_order(self.p, "NodePruning")
        check_one_of(self.rounding, get_args(Rounding), "rounding", "NodePruning")

    def plan(
        self, views: Sequence[WeightView], budget: Budget, *, rng: np.random.Generator
    ) -> PruningPlan:
        """Choose the nodes to keep; see `Strategy.plan`. The choice is not random.

        With global scope the norms of all layers compete as they are; of equal norms the
        earlier node stays.
        """
        del rng
        check_views(views, "NodePruning")
        top = max(float(np.abs(view.matrix).max()) for view in views)
        norms = [self._norms(view, top) for view in views]
        masks = select(norms, budget, p=self.p, rounding=self.rounding, where="NodePruning")
        return plan_of("node", views, budget, self.axis, masks, norms, self.p)

    def _norms(self, view: WeightView, top: float) -> NDArray[np.float64]:
        """Norms of the nodes in units of `top`, the largest weight of all layers."""
        out, width = view.matrix.shape
        blocks = np.abs(view.matrix).astype(np.float64).reshape(out, width // view.taps, view.taps)
        if self.axis == "unit":
            nodes = blocks.reshape(out, -1)
        elif self.axis == "input":
            nodes = blocks.transpose(1, 0, 2).reshape(blocks.shape[1], -1)
        else:
            nodes = blocks.reshape(-1, view.taps)
        largest = nodes.max(axis=1)
        # relative to each node's largest weight, so that no power underflows
        nodes = nodes / np.where(largest > 0, largest, 1)[:, np.newaxis]
        nodes **= self.p
        return largest / (top or 1) * nodes.sum(axis=1) ** (1 / self.p)
