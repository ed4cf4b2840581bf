"""torch.nn.utils.prune: its masks read, ours handed over."""

import pytest
import torch
from torch.nn.utils import prune as torch_prune

from prunable.errors import InputError
from prunable.nets.measure.measuring import measure
from prunable.nets.networks.interop import hand_over_, merge_masks
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning, SingularValuePruning


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 6, 3), torch.nn.Flatten(), torch.nn.Linear(24, 5))


@pytest.mark.parametrize(
    "strategy",
    [MagnitudePruning(), NodePruning(), NodePruning(axis="input"), NodePruning(axis="kernel")],
)
def test_handed_over_masks_prune_the_same(strategy):
    theirs, ours, x = network(), network(), torch.randn(4, 2, 4, 4)
    plan = prune(theirs, strategy, Keep(0.5), dry_run=True).plan
    hand_over_(theirs, plan)
    apply_plan_(ours.named_parameters(), plan)
    assert torch_prune.is_pruned(theirs)
    assert torch.equal(theirs(x), ours(x))
    torch_prune.remove(theirs[0], "weight")
    assert torch.equal(theirs[0].weight, ours[0].weight)


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


def test_mistakes_raise_before_anything_changes():
    model = network()
    plan = prune(model, MagnitudePruning(), Keep(0.5), dry_run=True).plan
    with pytest.raises(InputError, match=r"`0\.weight`.*none"):
        hand_over_(torch.nn.Linear(3, 3), plan)
    spectral = prune(model, SingularValuePruning(), Keep(0.5), dry_run=True).plan
    with pytest.raises(InputError, match="singular values have no mask"):
        hand_over_(model, spectral)
    assert not torch_prune.is_pruned(model)
