"""Networks by name: torchvision, timm, and references that name nothing."""

import pytest
import torch

import prunable
from prunable.errors import InputError
from prunable.nets.models.sources import input_shape_of, network_by_reference
from prunable.nets.models.torch_extras import torch_extra


def test_architectures_by_name_are_drawn_with_a_fixed_seed():
    state = torch.get_rng_state()
    model = prunable.load("torchvision:mobilenet_v3_small?num_classes=7")
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    again = network_by_reference("torchvision:mobilenet_v3_small?num_classes=7")
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    timm = prunable.load("timm:test_resnet?num_classes=3&in_chans=1")
    assert timm(torch.zeros(1, 1, 64, 64)).shape == (1, 3)
    assert input_shape_of("torchvision:inception_v3") == (3, 299, 299)
    assert input_shape_of("timm:test_resnet?in_chans=1")[0] == 1


def test_a_backbone_is_not_fetched(monkeypatch):
    def refuse(*_given, **_named):
        raise AssertionError("something is downloaded")

    torch_extra("torchvision.models", "tests")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    assert prunable.load("torchvision:lraspp_mobilenet_v3_large") is not None


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("torchvision:resnet5", "must be an architecture of torchvision.*resnet50"),
        ("timm:hf-hub:some/where", "must be an architecture of timm"),
        ("timm:/local/file", "must be an architecture of timm"),
        ("torchvision:resnet18?weights=DEFAULT", "nothing is downloaded"),
        ("timm:test_resnet?pretrained=true", "nothing is downloaded"),
        ("timm:test_resnet?checkpoint_path=x", "nothing is downloaded"),
        ("torchvision:resnet18?classes=3", "unexpected keyword argument"),
        ("torchvision:resnet18?num_classes=-3", "cannot be built"),
        ("torchvision:resnet18?num_classes", "cannot be built"),
    ],
)
def test_what_is_no_architecture_is_refused(reference, message):
    with pytest.raises(InputError, match=message):
        prunable.load(reference)
