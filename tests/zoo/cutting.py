"""The structured half of a trial: half of the units of every group, cut out, and life after it."""

import copy
import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tests.zoo.architectures import Architecture
from tests.zoo.building import SEED, built, example_of, outputs_of
from tests.zoo.costs import macs, milliseconds
from tests.zoo.outcomes import Record, expect
from torch import Tensor, nn

from prunable import load, prune, save, shrink
from prunable.budgets import Keep
from prunable.nets.networks.equality import tensors_in
from prunable.nets.networks.examples import Example, run
from prunable.nets.prune.groups import groups_of
from prunable.nets.shrink.onnx_export import save_onnx
from prunable.strategies import NodePruning

# Largest |difference| over largest |output| that is rounding, in units of the precision's own:
# some hundred layers of some thousand products each.
ROUNDING = 300


def same(found: list[Tensor], expected: list[Tensor], what: str) -> float:
    """The largest difference of outputs; it must be rounding. `what` says whose they are."""
    shapes = [tuple(x.shape) for x in found], [tuple(x.shape) for x in expected]
    expect(shapes[0] == shapes[1], f"{what} has outputs of shapes {shapes[0]}, not {shapes[1]}")
    largest = 0.0
    for one, other in zip(found, expected, strict=True):
        difference = float((one - other).abs().max())
        allowed = ROUNDING * torch.finfo(other.dtype).eps * float(other.abs().max())
        expect(difference <= allowed, f"{what} differs by {difference:.2e}, more than rounding")
        largest = max(largest, difference)
    return largest


def cut(model: nn.Module, architecture: Architecture, name: str) -> tuple[Record, nn.Module]:
    """Prune half of the units, shrink, and compare on an example that nobody has seen."""
    example, fresh = example_of(name), example_of(name, SEED + 7)
    before = {n: tensor.clone() for n, tensor in model.state_dict().items()}
    masked = copy.deepcopy(model)
    plan = prune(masked, NodePruning(), Keep(0.5), example=example).plan
    for group, kept in _halves(plan).items():
        expect(kept[0] == math.ceil(kept[1] / 2), f"{group} keeps {kept[0]} of {kept[1]} units")
    small = shrink(model, plan, example).model
    state = model.state_dict()
    expect(
        all(torch.equal(state[n], tensor) for n, tensor in before.items()),
        "shrinking changed the network that it was given",
    )
    expected = outputs_of(masked, fresh)
    largest = same(outputs_of(small, fresh), expected, "the smaller network")
    alive = any(float(x.std()) > 0 for x in expected) and not _equal(
        expected, outputs_of(masked, example)
    )
    expect(alive, "the masked network's output says nothing of its input")
    _check_kept(model, small, architecture)
    left = Counter(one.reason for one in groups_of(model, example).left)
    times = milliseconds({"before": model, "after": small}, example)
    record = {
        "parameters": sum(p.numel() for p in small.parameters()),
        "macs_before": macs(model, example),
        "macs": macs(small, example),
        "milliseconds": times,
        "groups_cut": len(plan.groups),
        "left": dict(left),
        "max_difference": largest,
    }
    return record, small


def trained(small: nn.Module, example: Example) -> Record:
    """One step of training: every loss and weight finite, and the weights move."""
    model = copy.deepcopy(small).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    outputs = [x for x in tensors_in(run(model, example)) if x.is_floating_point()]
    loss = sum((x.square().mean() for x in outputs), torch.zeros(()))
    loss.backward()
    optimizer.step()
    old = dict(small.named_parameters())
    finite = all(bool(p.isfinite().all()) for p in model.parameters())
    expect(bool(loss.isfinite()) and finite, "training gives numbers that are not finite")
    moved = sum(not torch.equal(p, old[n]) for n, p in model.named_parameters())
    expect(moved > len(old) / 2, f"training moves {moved} of {len(old)} parameters")
    return {}


def saved(small: nn.Module, name: str, example: Example) -> Record:
    """Saved, and loaded into a fresh instance: the same outputs, to the bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.safetensors"
        save(path, small)
        again = load(path, built(name, SEED + 1))
    same(outputs_of(again, example), outputs_of(small, example), "the loaded network")
    return {}


def exported(small: nn.Module, example: Any) -> Record:
    """Written as ONNX, which checks itself by onnxruntime."""
    with tempfile.TemporaryDirectory() as folder:
        result = save_onnx(Path(folder) / "small.onnx", small, example)
    return {"max_difference": result.max_difference}


def _halves(plan: Any) -> Mapping[str, tuple[int, int]]:
    return {group.name: (group.n_kept, group.n_total) for group in plan.groups}


def _equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def _check_kept(model: nn.Module, small: nn.Module, architecture: Architecture) -> None:
    """No output and no token is gone."""
    for name in architecture.outputs:
        whole, left = len(model.get_parameter(name)), len(small.get_parameter(name))
        expect(whole == left, f"{name} has {left} of {whole} outputs")
    parts = dict(small.named_modules())
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            left = len(parts[name].weight)
            expect(left == len(module.weight), f"{name} has {left} of {len(module.weight)} rows")
