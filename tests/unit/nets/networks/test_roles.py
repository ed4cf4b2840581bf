"""What parameters are: in modules by their classes, in files by names and shapes."""

import pytest
import torch
from torch import nn

from prunable.nets.models.vision import vision
from prunable.nets.networks.file_roles import parts_of
from prunable.nets.networks.module_roles import parts_of_module


def of_file(model):
    """From a state dict whose names are sorted, as those of files are."""
    state = model.state_dict()
    return parts_of({name: tuple(state[name].shape) for name in sorted(state)})


def having(parts, **wanted):
    return {
        name
        for name, part in parts.items()
        if part.reason is None and all(getattr(part, key) == x for key, x in wanted.items())
    }


def not_matrices(parts):
    return {name for name, part in parts.items() if part.reason and len(part.shape) > 1}


VISION = {
    "alexnet": {"classifier.6.weight"},
    "vgg11": {"classifier.6.weight"},
    "resnet18": {"fc.weight"},
    "resnext50_32x4d": {"fc.weight"},
    "densenet121": {"classifier.weight"},
    "mobilenet_v2": {"classifier.1.weight"},
    "mobilenet_v3_small": {"classifier.3.weight"},
    "efficientnet_b0": {"classifier.1.weight"},
    "convnext_tiny": {"classifier.2.weight"},
    "swin_t": {"head.weight"},
    "vit_b_16": {"heads.head.weight"},
    "squeezenet1_0": {"classifier.1.weight"},
}


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("source", [parts_of_module, of_file])
def test_networks_of_torchvision_have_their_classifier_as_output(name, source):
    models = vision("torchvision.models", "this test")
    with torch.device("meta"):
        model = getattr(models, name)(weights=None)
    parts = source(model)
    assert having(parts, role="output") == VISION[name]
    assert having(parts, role="unknown") == set()
    layers = (nn.Linear, nn.Conv2d)
    matrices = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, layers)}
    attention = {n for n, _ in model.named_parameters() if n.endswith("in_proj_weight")}
    assert having(parts) == matrices | attention
    assert having(parts, transposed=True) == set()
