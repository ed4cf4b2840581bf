"""Torch-Pruning at equal multiply-adds, by every importance, for `units_study.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any, cast

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional
from units_networks import Network, cut_copy

from prunable.nets.shrink.footprint import macs_of

IMPORTANCES = {
    "magnitude l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
    "magnitude l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "lamp": lambda: tp.importance.LAMPImportance(p=2),
    "bn scale": lambda: tp.importance.BNScaleImportance(),
    "taylor": lambda: tp.importance.GroupTaylorImportance(),
    "hessian": lambda: tp.importance.GroupHessianImportance(),
}
HALVINGS = 7
LABELLED = 512  # training pictures with labels, for taylor
ONE_BY_ONE = 64  # and for hessian, which takes the gradient of each
SLACK = 0.002  # of the multiply-adds, at which halving stops


@dataclass(frozen=True)
class Variant:
    """One importance, over each group's units or over all."""

    importance: str
    everywhere: bool
    hidden: bool = False  # whether only hidden units of a transformer's MLPs go

    @property
    def label(self) -> str:
        """As tables name it."""
        part = " of MLPs" if self.hidden else ""
        return f"{self.importance}, {'global' if self.everywhere else 'uniform'}{part}"


def variants(model: nn.Module) -> Iterator[Variant]:
    """All that can be computed of a network."""
    normalised = any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    parts = (False, True) if _attentions(model) else (False,)
    for importance in IMPORTANCES:
        if importance != "bn scale" or normalised:
            for hidden in parts:
                yield from (Variant(importance, e, hidden) for e in (False, True))


def _attentions(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if hasattr(m, "qkv")]


def _attend(self: Any, x: Tensor) -> Tensor:
    """The attention of the handed transformer, with sizes read from its layers."""
    b, n, _ = x.shape
    q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(q, k, v)
    return cast(Tensor, self.proj(attended.transpose(1, 2).reshape(b, n, -1)))


class Peer:
    """Networks that Torch-Pruning makes of one, by variant and share of units cut."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._whole = macs_of(network.model, network.example)[""]
        self._macs: dict[tuple[Variant | bool, float], float] = {}
        self._gradients: dict[str, list[Tensor | None]] = {}

    def at(self, variant: Variant, level: float) -> tuple[nn.Module, float]:
        """The largest network of at most this share of multiply-adds, and its share."""
        # without a global threshold the counts of units depend on the ratio alone
        key = variant if variant.everywhere else variant.hidden
        low, high = 0.0, 1.0
        best: nn.Module | None = None
        for _ in range(HALVINGS):
            ratio = (low + high) / 2
            small = None
            if (key, ratio) not in self._macs:
                small = self._cut(variant, ratio)
                self._macs[key, ratio] = macs_of(small, self._network.example)[""] / self._whole
            macs = self._macs[key, ratio]
            if macs <= level:
                high, best = ratio, small
                if macs > level - SLACK:
                    break
            else:
                low = ratio
        if best is None:
            best = self._cut(variant, high)
        return best, macs_of(best, self._network.example)[""] / self._whole

    def _cut(self, variant: Variant, ratio: float) -> nn.Module:
        model = cut_copy(self._network.model)
        importance = IMPORTANCES[variant.importance]()
        if variant.importance in ("taylor", "hessian"):
            found = self._gradients_for(variant.importance)
            for parameter, gradient in zip(model.parameters(), found, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()
        unwrapped = [(model.pos, 2)] if hasattr(model, "pos") else None
        heads = {m.qkv: m.heads for m in _attentions(model)}
        for module in _attentions(model):
            # the forward that is handed takes its sizes from its input, which is cut elsewhere
            module.forward = MethodType(_attend, module)
        alone: list[nn.Module] = [
            m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 10
        ]
        if variant.hidden:
            alone += [
                m
                for name, m in model.named_modules()
                if isinstance(m, nn.Linear | nn.Conv2d) and not name.endswith("mlp.0")
            ]
        pruner = tp.pruner.BasePruner(
            model,
            self._network.example,
            importance=importance,
            global_pruning=variant.everywhere,
            pruning_ratio=ratio,
            max_pruning_ratio=0.95,
            ignored_layers=alone,
            num_heads=heads,
            unwrapped_parameters=unwrapped,
            prune_num_heads=False,
        )
        pruner.step()
        model.zero_grad(set_to_none=True)
        return model.eval()

    def _gradients_for(self, importance: str) -> list[Tensor | None]:
        if importance not in self._gradients:
            model = cut_copy(self._network.model).eval()
            x, y = self._network.train, self._network.train_labels
            if importance == "taylor":
                for start in range(0, LABELLED, 128):
                    part = slice(start, start + 128)
                    loss = functional.cross_entropy(model(x[part]), y[part], reduction="sum")
                    (loss / LABELLED).backward()
                found = [p.grad for p in model.parameters()]
            else:
                # the importance's own sum of squares keeps the last example alone; this is
                # the mean over examples that it means to take
                sums = [torch.zeros_like(p) for p in model.parameters()]
                for i in range(ONE_BY_ONE):
                    model.zero_grad()
                    functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
                    for total, p in zip(sums, model.parameters(), strict=True):
                        total += 0 if p.grad is None else p.grad.square()
                found = [total / ONE_BY_ONE for total in sums]
            self._gradients[importance] = found
        return self._gradients[importance]
