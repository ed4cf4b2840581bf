"""Torch-Pruning alone on a network of the zoo; run as a program, because it may never end.

Usage: python -m tests.zoo.peer NAME
"""

import json
import sys
import warnings
from importlib.metadata import version
from typing import Any

import torch
from tests.zoo.architectures import ZOO
from tests.zoo.building import built, example_of, outputs_of
from tests.zoo.costs import macs
from torch import nn

from prunable.nets.models.torch_extras import torch_extra


def cut(name: str) -> dict[str, Any]:
    """Half of the channels by group norm, as its documentation does it; what is left."""
    torch_extra("torchvision", "the zoo")  # which it imports
    import torch_pruning

    model, example = built(name), example_of(name)
    before = outputs_of(model, example)
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=importance,
        pruning_ratio=0.5,
        ignored_layers=[_owner(model, output) for output in ZOO[name].outputs],
    )
    pruner.step()
    after = outputs_of(model, example)
    changed = [tuple(x.shape) for x in after] != [tuple(x.shape) for x in before]
    return {
        "outcome": "another output shape" if changed else "ok",
        "version": version("torch-pruning"),
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": macs(model, example),
    }


def _owner(model: nn.Module, parameter: str) -> nn.Module:
    """The last module that holds a parameter: of a tied one, the layer that puts out."""
    wanted = model.get_parameter(parameter)
    return [m for m in model.modules() if any(p is wanted for p in m._parameters.values())][-1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        record = cut(sys.argv[1])
    except Exception as error:  # whatever it may be, it is the result
        brief = " ".join(str(error).split())[:160]
        record = {"outcome": "error", "why": f"{type(error).__name__}: {brief}"}
    sys.stdout.write(json.dumps(record) + "\n")
