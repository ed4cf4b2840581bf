"""One network of the zoo through everything that a user does with it, and what came of it.

Outcomes are ok, refused (by one of the package's own errors, whose reason is kept), or FAULT: any
other exception, a difference beyond rounding, a number pruned that is no weight.

Usage: python -m tests.zoo.trial NAME
"""

import copy
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import torch
from tests.zoo.architectures import ZOO, Architecture
from tests.zoo.building import built, example_of, outputs_of
from tests.zoo.weights import others_of, weights_of
from torch import Tensor, nn

from prunable import measure, prune
from prunable.budgets import Keep
from prunable.errors import PrunableError
from prunable.strategies import MagnitudePruning

Record = dict[str, Any]
# Numbers by which a share of zeros may miss one half: a rounding in each part of a fused weight.
ROUNDED = 8


class FaultError(AssertionError):
    """Something that the package did wrongly without saying so."""


def expect(holds: bool, complaint: str) -> None:
    """Raise `FaultError` unless something holds."""
    if not holds:
        raise FaultError(complaint)


def attempt(stage: Callable[[], Mapping[str, Any]]) -> Record:
    """What a stage gives, with its outcome, the reason if it is not ok, and its seconds."""
    started = perf_counter()
    found: Record
    try:
        found = {"outcome": "ok", **stage()}
    except PrunableError as error:
        found = {"outcome": "refused", "why": f"{type(error).__name__}: {error}"}
    except FaultError as fault:
        found = {"outcome": "FAULT", "why": str(fault)}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rpartition('/')[2]}:{where.lineno}"
        found = {"outcome": "FAULT", "why": f"{type(error).__name__} at {place}: {error}"}
    return found | {"seconds": round(perf_counter() - started, 2)}


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
    outputs = {layer.name for layer in layers if layer.role == "output"}
    expect(
        outputs == set(architecture.outputs),
        f"outputs are {sorted(architecture.outputs)}, measured as such {sorted(outputs)}",
    )
    kinds = {name: layer.kind.replace("attention", "dense") for name, layer in names.items()}
    wrong = {n: kind for n, kind in kinds.items() if kind != weights[n].kind}
    expect(not wrong, f"kinds mistaken: {wrong}")
    return {"layers": len(layers)}


def magnitude(model: nn.Module, architecture: Architecture, example: Any) -> Record:
    """Prune half of the weights by magnitude: half of each is 0, and nothing else changed."""
    weights = weights_of(model, architecture.weights)
    others = {name: p.detach().clone() for name, p in others_of(model, weights).items()}
    embeddings = {n: w.read().clone() for n, w in weights.items() if w.kind == "embedding"}
    prune(model, MagnitudePruning(), Keep(0.5))
    changed = [n for n, p in others_of(model, weights).items() if not torch.equal(p, others[n])]
    expect(not changed, f"pruned, but no weight: {changed}")
    changed = [n for n, before in embeddings.items() if not torch.equal(weights[n].read(), before)]
    expect(not changed, f"embeddings pruned: {changed}")
    halves, total, zeros = {}, 0, 0
    for name, weight in weights.items():
        if weight.kind == "embedding":
            continue
        numbers = weight.read()
        zero = int((numbers == 0).sum())
        total, zeros = total + numbers.numel(), zeros + zero
        if abs(zero - numbers.numel() / 2) > ROUNDED:
            halves[name] = round(zero / numbers.numel(), 3)
    expect(not halves, f"zeros are not one half: {halves}")
    expect(_finite(outputs_of(model, example)), "the pruned network's output is not finite")
    return {"zeros": zeros / total}


def _finite(outputs: list[Tensor]) -> bool:
    return all(bool(x.isfinite().all()) for x in outputs)


def trial(name: str) -> Record:
    """Everything for one network, stage by stage; a stage that fails stops no other."""
    architecture, example = ZOO[name], example_of(name)
    model = built(name)
    record: Record = {"name": name, "parameters": sum(p.numel() for p in model.parameters())}
    record["measure"] = attempt(lambda: measured(model, architecture))
    record["magnitude"] = attempt(lambda: magnitude(copy.deepcopy(model), architecture, example))
    return record


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the libraries; those of the package fail in the tests
    sys.stdout.write(json.dumps(trial(sys.argv[1])) + "\n")
