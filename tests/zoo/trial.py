"""One network of the zoo through everything that a user does with it, and what came of it.

Usage: python -m tests.zoo.trial NAME
"""

import json
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from tests.zoo.architectures import ZOO
from tests.zoo.building import built, example_of
from tests.zoo.cutting import cut, exported, saved, trained
from tests.zoo.outcomes import Record, attempt
from tests.zoo.pruning import GRANULARITIES, measured, pruned
from torch import nn

# Stages from the first to the last; those after "unit" are of the smaller network.
STAGES = ("measure", *GRANULARITIES, "unit", "train", "save", "onnx")


def trial(name: str) -> Record:
    """Everything for one network, stage by stage; a stage that fails stops none that it can."""
    architecture, example = ZOO[name], example_of(name)
    model = built(name)
    record: Record = {"parameters": sum(p.numel() for p in model.parameters())}
    record["measure"] = attempt(lambda: measured(model, architecture))
    for label, way in GRANULARITIES.items():
        record[label] = attempt(lambda way=way: pruned(model, architecture, example, way))
    made: list[nn.Module] = []

    def unit() -> Mapping[str, Any]:
        found, small = cut(model, architecture, name)
        made.append(small)
        return found

    record["unit"] = attempt(unit)
    for small in made:
        record["train"] = attempt(lambda small=small: trained(small, example))
        record["save"] = attempt(lambda small=small: saved(small, name, example))
        if architecture.onnx:
            record["onnx"] = attempt(lambda small=small: exported(small, example))
    return record


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of the libraries; those of the package fail in the tests
    sys.stdout.write(json.dumps(trial(sys.argv[1])) + "\n")
