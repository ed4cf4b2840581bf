"""Masks in checkpoints: a run of the user's own is resumed bit for bit, from files alone."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import prunable
from prunable.budgets import Keep
from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import load_tensors
from prunable.nets.prune.tickets import write_digested
from prunable.strategies import MagnitudePruning, MedianCentred, NodePruning, SingularValuePruning


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


def optimizers(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)


def trained(model, optimizer, steps):
    """The user's own loop."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(16, 8, generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
        optimizer.step()


def test_prune_hold_train_store_resume_shrink_save_load(tmp_path):
    """An interrupted run, resumed from its checkpoint alone, and an uninterrupted one."""
    whole = network()
    pruned = prunable.prune(whole, NodePruning("unit"), Keep(0.5))
    optimizer = optimizers(whole)
    prunable.hold_masks(whole, optimizer, pruned)
    trained(whole, optimizer, range(10))

    model = network()
    pruned = prunable.prune(model, NodePruning("unit"), Keep(0.5))
    optimizer = optimizers(model)
    handle = prunable.hold_masks(model, optimizer, pruned)
    trained(model, optimizer, range(4))
    state = {"model": model, "optimizer": optimizer, "masks": handle}
    torch.save({k: v.state_dict() for k, v in state.items()}, tmp_path / "checkpoint.pt")

    again = network()
    optimizer = optimizers(again)
    stored = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    again.load_state_dict(stored["model"])
    optimizer.load_state_dict(stored["optimizer"])
    prunable.hold_masks(again, optimizer, stored["masks"])
    trained(again, optimizer, range(4, 10))

    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    gone = ~pruned.plan.layers[0].kept
    assert gone.sum() == 6
    assert not again[0].weight[torch.from_numpy(gone)].any()
    x = torch.randn(5, 8)
    smaller = prunable.shrink(again, pruned.plan, x)
    prunable.save(str(tmp_path / "small.safetensors"), smaller.model)
    loaded = prunable.load(str(tmp_path / "small.safetensors"))
    assert loaded[0].weight.shape == (6, 8)
    torch.testing.assert_close(loaded(x), again(x))


@pytest.mark.parametrize("form", ["result", "plan", "masks", "keywords", "former", "former plan"])
def test_every_form_holds_the_same(form):
    model = network()
    pruned = prunable.prune(model, MagnitudePruning(), Keep(0.3))
    optimizer = optimizers(model)
    masks = prunable.masks_of(pruned.plan, model.named_parameters())
    handle = {
        "result": lambda: prunable.hold_masks(model, optimizer, pruned),
        "plan": lambda: prunable.hold_masks(model, optimizer, pruned.plan),
        "masks": lambda: prunable.hold_masks(model, optimizer, masks),
        "keywords": lambda: prunable.hold_masks(masks=masks, optimizer=optimizer, model=model),
        "former": lambda: prunable.hold_masks(
            optimizer, masks=masks, named_parameters=model.named_parameters()
        ),
        "former plan": lambda: prunable.hold_masks(optimizer, model.named_parameters(), pruned),
    }[form]()
    found = handle.state_dict()
    assert found.keys() == masks.keys()
    assert all(torch.equal(found[name], masks[name]) for name in masks)
    trained(model, optimizer, range(3))
    for name, parameter in model.named_parameters():
        if name in masks:
            assert not parameter[~masks[name]].any()
            assert parameter[masks[name]].all()


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_masks_of_a_model_fit_it_in_its_wrappers(wrap):
    model = network()
    pruned = prunable.prune(model, MagnitudePruning(), Keep(0.3))
    handle = prunable.hold_masks(wrap(model), optimizers(model), pruned)
    assert handle.names == ("0.weight", "2.weight")
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    trained(model, handle._optimizer, range(1))
    assert (model[0].weight != 0).double().mean() < 0.31


def test_masks_of_tied_weights_hold_under_either_name():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    model["b"].weight = model["a"].weight
    optimizer = optimizers(model)
    mask = torch.eye(4, dtype=torch.bool)
    for name in ("a.weight", "b.weight"):
        handle = prunable.hold_masks(model, optimizer, {name: mask})
        assert torch.equal(model["a"].weight != 0, mask)
        handle.remove()


def test_forms_that_mean_nothing():
    model = network()
    optimizer = optimizers(model)
    with pytest.raises(TypeError, match="missing a required argument: 'masks'"):
        prunable.hold_masks(model, optimizer)
    with pytest.raises(TypeError, match="`hold_masks` has no argument `plan`"):
        prunable.hold_masks(model, optimizer, plan={})
    with pytest.raises(InputError, match="`masks` of `hold_masks` must be a result of `prune`"):
        prunable.hold_masks(model, optimizer, 3)
    pruned = prunable.prune(nn.Sequential(nn.Linear(2, 2)), MagnitudePruning(), Keep(0.5))
    with pytest.raises(InputError, match="do not fit the model"):
        prunable.hold_masks(model, optimizer, pruned)
    other = prunable.prune(nn.ModuleDict({"a": nn.Linear(2, 2)}), MagnitudePruning(), Keep(0.5))
    with pytest.raises(InputError, match=r"no parameter `a\.weight`"):
        prunable.hold_masks(model, optimizer, other)
    for strategy in (SingularValuePruning(), MedianCentred(MagnitudePruning())):
        left = prunable.prune(network(), strategy, Keep(0.5))
        with pytest.raises(InputError, match="leaves no zeros to hold"):
            prunable.hold_masks(model, optimizer, left)
    assert not optimizer._optimizer_step_post_hooks


def test_masks_in_a_file(tmp_path):
    model = network()
    optimizer = optimizers(model)
    pruned = prunable.prune(model, MagnitudePruning(), Keep(0.3))
    handle = prunable.hold_masks(model, optimizer, pruned)
    masks = handle.state_dict() | {"none": torch.zeros(0, 3).bool(), "one": torch.tensor(True)}
    for path, given in ((tmp_path / "a", masks), (str(tmp_path / "b"), handle)):
        prunable.save_masks(path, given)
        found = prunable.load_masks(path)
        expected = masks if given is masks else handle.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], mask) for name, mask in expected.items())
    assert (tmp_path / "b").stat().st_size < 600
    prunable.hold_masks(model, optimizer, found)
    with pytest.raises(InputError, match=r"`w` of `save_masks` must be of torch\.bool"):
        prunable.save_masks(tmp_path / "c", {"w": torch.ones(2)})
    with pytest.raises(InputError, match=r"got 3 \(int\) at .w"):
        prunable.save_masks(tmp_path / "c", {"w": 3})
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "shapes",
    [{}, {"w": [9]}, {"w": [-1, 2]}, {"w": [2.0, 4]}, {"w": [True, 8]}, {"w": 8}, {"w": "8"},
     {"w": [8], "v": [8]}, {"w": [10**12]}, {"w": None}, [], 3, None, {"v": [8]}],
)  # fmt: skip
def test_hostile_files_of_masks(shapes, tmp_path):
    path = tmp_path / "m.safetensors"
    bits = {"mask/w": torch.tensor([7], dtype=torch.uint8)}
    write_digested(path, "masks-1", bits, {"shapes": shapes})
    with pytest.raises(DataIntegrityError, match="write it again"):
        prunable.load_masks(path)


def test_damaged_files_of_masks(tmp_path):
    path = tmp_path / "m.safetensors"
    prunable.save_masks(path, {"w": torch.rand(40) > 0.5})
    tensors, header = load_tensors(path)
    for change in ({"format": "x"}, {"digest": "0"}, {"document": json.dumps({"shapes": {}})}):
        save_file(tensors, path, header | change)
        with pytest.raises(DataIntegrityError):
            prunable.load_masks(path)
    save_file({"mask/w": tensors["mask/w"].float()}, path, header)
    with pytest.raises(DataIntegrityError):
        prunable.load_masks(path)
    with pytest.raises(DataIntegrityError, match="is missing"):
        prunable.load_masks(tmp_path / "gone")
