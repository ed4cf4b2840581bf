"""The half of a trial that keeps shapes: measuring, and zeros at every granularity."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tests.zoo.architectures import Architecture
from tests.zoo.building import outputs_of
from tests.zoo.outcomes import Record, expect
from tests.zoo.weights import Weight, others_of, weights_of
from torch import Tensor, nn

from prunable import measure, prune
from prunable.budgets import Keep
from prunable.nets.networks.examples import Example
from prunable.strategies import MagnitudePruning, NodePruning, SingularValuePruning, Strategy

# Numbers by which a share of zeros may miss one half: a rounding in each part of a fused weight.
ROUNDED = 8
# Singular values of matrices with more entries take longer than the rest of a trial.
LARGEST = 2**19


def measured(model: nn.Module, architecture: Architecture) -> Record:
    """Measure a network: all weights, nothing else, and the outputs told from the rest."""
    weights = weights_of(model, architecture.weights)
    layers = measure(model, eps=(0.1,), spectrum="none", workers=1).layers
    names = {layer.name.partition("[")[0]: layer for layer in layers}
    strange = sorted(names.keys() - weights.keys())
    expect(not strange, f"measured, but no weight: {strange}")
    needed = {name for name, weight in weights.items() if weight.kind != "embedding"}
    missing = sorted(needed - names.keys())
    expect(not missing, f"a weight, but not measured: {missing}")
    wanted = set(architecture.outputs)
    outputs = {layer.name for layer in layers if layer.role == "output"}
    expect(outputs <= wanted, f"measured as outputs, but are none: {sorted(outputs - wanted)}")
    # what the classes of layers alone do not tell is left open, and said so
    open_ = {layer.name for layer in layers if layer.role == "unknown"}
    expect(wanted <= outputs | open_, f"outputs, but not so measured: {sorted(wanted - outputs)}")
    kinds = {name: layer.kind for name, layer in names.items() if layer.kind != "attention"}
    wrong = {n: kind for n, kind in kinds.items() if kind != weights[n].kind}
    expect(not wrong, f"kinds mistaken: {wrong}")
    return {"layers": len(layers), "unknown": sorted(open_)}


@dataclass(frozen=True)
class Granularity:
    """A way to prune half, and what must then hold of a weight; "" if it does."""

    strategy: Strategy
    complaint: Callable[[Weight], str]
    largest: int | None = None


def _half_zero(weight: Weight) -> str:
    numbers = weight.read()
    zeros = int((numbers == 0).sum())
    fits = abs(zeros - numbers.numel() / 2) <= ROUNDED
    return "" if fits else f"{zeros / numbers.numel():.3f} of the numbers are 0"


def _half_of_inputs(weight: Weight) -> str:
    if weight.inputs is None:
        return ""
    numbers = weight.read().transpose(0, weight.inputs).flatten(1)
    gone, count = int((numbers == 0).all(1).sum()), len(numbers)
    return "" if gone == count // 2 else f"{gone} of {count} inputs are 0"


GRANULARITIES = {
    "magnitude": Granularity(MagnitudePruning(), _half_zero),
    "input": Granularity(NodePruning("input"), _half_of_inputs),
    "kernel": Granularity(NodePruning("kernel"), lambda _: ""),
    "singular-value": Granularity(SingularValuePruning(), lambda _: "", LARGEST),
}


def pruned(
    model: nn.Module, architecture: Architecture, example: Example, granularity: Granularity
) -> Record:
    """Prune half: what is no weight, and embeddings, stay; the network still runs.

    Layers left alone with a reason are listed; at most half may be.
    """
    masked = copy.deepcopy(model)
    weights = weights_of(masked, architecture.weights)
    tables = {name: w for name, w in weights.items() if w.kind == "embedding"}
    matrices = {name: w for name, w in weights.items() if name not in tables}
    size = max(w.read().numel() for w in matrices.values())
    if granularity.largest is not None and size > granularity.largest:
        return {"outcome": "left out", "why": f"a matrix has {size} entries"}
    others = others_of(masked, weights) | {name: w.read() for name, w in tables.items()}
    before = {name: tensor.detach().clone() for name, tensor in others.items()}
    shown = {name: w.read().clone() for name, w in matrices.items()}
    told = {left.name for left in prune(masked, granularity.strategy, Keep(0.5)).skipped}
    after = others_of(masked, weights) | {name: w.read() for name, w in tables.items()}
    changed = [name for name, tensor in after.items() if not torch.equal(tensor, before[name])]
    expect(not changed, f"pruned, but no weight matrix: {changed}")
    complaints = {n: granularity.complaint(w) for n, w in matrices.items() if n not in told}
    wrong = {name: complaint for name, complaint in complaints.items() if complaint}
    expect(not wrong, f"not one half: {wrong}")
    same = [name for name, weight in matrices.items() if torch.equal(weight.read(), shown[name])]
    # of a single input or output nothing can go
    silent = [n for n in same if n not in told and min(matrices[n].read().shape[:2]) > 1]
    expect(not silent, f"not pruned, without a reason: {silent}")
    left = sorted(told & matrices.keys())
    expect(len(left) <= len(matrices) / 2, f"left alone: {left}")
    expect(_finite(outputs_of(masked, example)), "the pruned network's output is not finite")
    return {"left": left}


def _finite(outputs: list[Tensor]) -> bool:
    return all(bool(x.isfinite().all()) for x in outputs)
