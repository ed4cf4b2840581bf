"""Weights whose names carry what wrapped the network fit it all the same."""

import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import parametrizations

import prunable
from prunable.errors import InputError
from prunable.experiments.prune.pruning import prune_checkpoint
from prunable.experiments.prune.specs import PruningJob
from prunable.nets.archive import save_tensors
from prunable.nets.models import network_of, read_weights
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import MagnitudePruning


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x):
        return self.classifier(self.body(x).relu())


class Wrapping(nn.Module):
    """A network whose own names begin with one of the words."""

    def __init__(self):
        super().__init__()
        self.model = Net()

    def forward(self, x):
        return self.model(x)


def normalised():
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 8)), nn.Linear(8, 3))


@pytest.fixture
def build(monkeypatch):
    module = ModuleType("wrapped_nets")
    module.net, module.wrapping, module.normalised = Net, Wrapping, normalised
    monkeypatch.setitem(sys.modules, "wrapped_nets", module)
    torch.manual_seed(0)
    return "wrapped_nets:net"


WRAPPED = {
    "plain": "{}",
    "data parallel": "module.{}",
    "compiled": "_orig_mod.{}",
    "both": "module._orig_mod.{}",
    "lightning": "model.{}",
    "lightning, compiled": "net._orig_mod.{}",
}


@pytest.mark.parametrize("name", WRAPPED.values(), ids=WRAPPED)
def test_wrapped_names_fit_and_bare_files_keep_them(name, build, tmp_path):
    net = Net()
    state = {name.format(n): t for n, t in net.state_dict().items()}
    path, out = tmp_path / "m.safetensors", tmp_path / "out.safetensors"
    save_file(state, path, {"format": "pt"})
    x = torch.randn(4, 6)
    torch.testing.assert_close(prunable.load(path, net=build)(x), net(x))
    job = PruningJob.create(checkpoint=path, out=out, net=build, keep=0.5, batch_size=(1,))
    prune_checkpoint(job)
    assert set(load_file(out)) == set(net.state_dict())
    prune_checkpoint(PruningJob.create(checkpoint=path, out=out, keep=0.5))
    assert set(load_file(out)) == set(state)
    assert read_weights(out)[1] == {"format": "pt"}


def test_a_compiled_part_fits(build, tmp_path):
    net = Net()
    state = {n.replace("body.", "body._orig_mod."): t for n, t in net.state_dict().items()}
    torch.save(state, tmp_path / "m.pt")
    x = torch.randn(4, 6)
    torch.testing.assert_close(prunable.load(tmp_path / "m.pt", net=build)(x), net(x))


def test_a_networks_own_names_stay(build):
    tensors = Wrapping().state_dict()
    found = network_of(tensors, {}, "wrapped_nets:wrapping")
    assert found.state_dict().keys() == tensors.keys()
    twice = {f"model.{name}": tensor for name, tensor in tensors.items()}
    assert network_of(twice, {}, "wrapped_nets:wrapping").state_dict().keys() == tensors.keys()
    with pytest.raises(InputError, match=r"other\.0\.weight"):
        network_of({"other.0.weight": torch.ones(3, 3)}, {}, build)


def test_a_checkpoint_of_lightning_is_its_network(build, tmp_path):
    net = Net()
    checkpoint = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{n}": t for n, t in net.state_dict().items()},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(8, 6)}}, "param_groups": []}],
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    x = torch.randn(4, 6)
    torch.testing.assert_close(prunable.load(tmp_path / "last.ckpt", net=build)(x), net(x))
    tensors, _ = read_weights(tmp_path / "last.ckpt")
    assert set(tensors) == set(checkpoint["state_dict"])


@pytest.mark.usefixtures("build")
def test_pruned_weights_that_were_made_up_load_into_their_network(tmp_path):
    model = normalised()
    prune(model, MagnitudePruning(), Keep(0.5))
    save_file(model.state_dict(), tmp_path / "m.safetensors")
    found = prunable.load(tmp_path / "m.safetensors", net="wrapped_nets:normalised")
    x = torch.randn(4, 6)
    torch.testing.assert_close(found(x), model(x))


def test_a_tied_copy_in_the_file_is_one_parameter_again(tmp_path):
    state = Net().state_dict()
    state |= {"other.weight": state["body.weight"]}
    save_tensors(tmp_path / "m.safetensors", state)
    with_header = load_file(tmp_path / "m.safetensors")
    assert "other.weight" not in with_header
    found, _ = read_weights(tmp_path / "m.safetensors")
    assert found["other.weight"] is found["body.weight"]
