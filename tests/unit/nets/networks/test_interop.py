"""torch.nn.utils.prune: its masks read."""

import torch
from torch.nn.utils import prune as torch_prune

from prunable.nets.measure.measuring import measure
from prunable.nets.networks.interop import merge_masks


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 6, 3), torch.nn.Flatten(), torch.nn.Linear(24, 5))


def test_masks_are_read_from_modules_and_files(tmp_path):
    model = network()
    torch_prune.l1_unstructured(model[2], "weight", amount=0.75)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    for source in (model, model.state_dict(), tmp_path / "m.pt"):
        layers = {layer.name: layer for layer in measure(source).layers}
        assert set(layers) == {"0.weight", "2.weight"}
        assert layers["2.weight"].zeros_share == 0.75
    merged = merge_masks(model.state_dict())
    assert list(merged) == ["0.weight", "0.bias", "2.bias", "2.weight"]
    assert torch.equal(merged["2.weight"], model[2].weight)


def test_other_names_are_left_alone():
    state = {"x_orig": torch.ones(2), "y_mask": torch.zeros(2)}
    assert merge_masks(state) == state
