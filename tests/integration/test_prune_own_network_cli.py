"""`prunable prune` on a network, an example and data of the user's own."""

import importlib
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prunable import load
from prunable.data.own import load_own
from prunable.nets.networks.inputs import read_example

MODULE = """
import torch
from torch import nn

print("building")

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(12, 5),
        )

    def forward(self, x):
        return self.body(x)

def build():
    return Net()

class Group:
    made = staticmethod(build)

class Factory:
    def __call__(self):
        return Net()

factory, instance = Factory(), Net()

def tokens():
    return nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(24, 16), nn.ReLU(),
                         nn.Linear(16, 3))

def fails():
    return 1 / 0

def asserts():
    net = Net()
    def forward(x):
        assert x.shape[2] == 99, "sides of 99"
        return x
    net.forward = forward
    return net

def needs(width):
    return Net()

def prints():
    net = Net()
    net.register_forward_hook(lambda *given: print("called"))
    return net

def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 5
    return torch.randn(60, 3, 16, 16, generator=generator) + y[:, None, None, None], y


def last():
    x, y = data()
    return x.movedim(1, -1), y
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a module of a network and its trained file, as torch.save writes it."""
    (tmp_path / "own_nets.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    sys.path.insert(0, str(tmp_path))
    module = importlib.import_module("own_nets")
    sys.path.remove(str(tmp_path))
    torch.manual_seed(0)
    torch.save(module.build().state_dict(), "net.pt")
    yield tmp_path
    sys.modules.pop("own_nets", None)


def test_one_line_prunes_and_shrinks_the_users_network(document_of, here):
    asked = "prune net.pt --net own_nets:build --input-shape 3,16,16 --method unit --keep .5"
    found = document_of(asked, "--shrink --batch-size 2 --out small.safetensors")
    assert found["shrunk"]["max_difference"] < 1e-5
    assert found["shrunk"]["n_parameters"] < found["shrunk"]["n_parameters_before"]
    assert found["bytes"] == (here / "small.safetensors").stat().st_size


@pytest.mark.parametrize("net", ["build", "Net", "factory", "instance", "Group.made", "prints"])
def test_functions_classes_and_objects_build_networks(document_of, here, net):
    options = "--input-shape 3,16,16 --keep .5 --batch-size 1 --out pruned.safetensors"
    found = document_of(f"prune net.pt --net own_nets:{net}", options)
    assert found["footprint"]["models"]["pruned"]["nonzeros"] < found["n_nonzero_before"]
    assert (here / "pruned.safetensors").exists()


@pytest.mark.usefixtures("here")
def test_metadata_of_other_tools_does_not_stop_a_network(document_of):
    save_file(torch.load("net.pt"), "net.safetensors", {"format": "pt"})
    options = "--net own_nets:build --input-shape 3,16,16 --keep .5 --batch-size 1"
    assert document_of("prune net.safetensors", options, "--out pruned.safetensors")["out"]


@pytest.mark.usefixtures("here")
def test_pickled_models_find_their_class_in_the_working_directory(document_of):
    torch.save(sys.modules["own_nets"].build(), "whole.pt")
    del sys.modules["own_nets"]
    options = "--net own_nets:build --input-shape 3,16,16 --keep .5 --batch-size 1"
    assert document_of("prune whole.pt --unpickle --out x.safetensors", options)["out"]


@pytest.mark.usefixtures("here")
def test_examples_of_integers(document_of):
    import own_nets

    torch.save(own_nets.tokens().state_dict(), "tokens.pt")
    np.savez("ids.npz", np.arange(8).reshape(2, 4))
    options = "--net own_nets:tokens --example ids.npz --only 2.weight --keep .5 --batch-size 3"
    found = document_of("prune tokens.pt", options, "--out pruned.safetensors")
    assert found["footprint"]["models"]["dense"]["macs"] == 24 * 16 + 16 * 3


@pytest.mark.usefixtures("here")
def test_accuracy_and_retraining_on_the_users_data(document_of):
    options = "--net own_nets:build --data own_nets:data --keep .5 --retrain 20 --lr .02 --batch 16"
    found = document_of("prune net.pt", options, "--batch-size 1 --out pruned.safetensors")
    accuracy = {name: row["accuracy"] for name, row in found["footprint"]["models"].items()}
    assert accuracy["pruned"] > accuracy["dense"] + 0.1
    halves = {n: t.half() if t.is_floating_point() else t for n, t in torch.load("net.pt").items()}
    save_file(halves, "half.safetensors")
    found = document_of("prune half.safetensors", options, "--batch-size 1 --out h.safetensors")
    assert found["footprint"]["models"]["pruned"]["accuracy"] > accuracy["dense"] + 0.1
    stored = load("h.safetensors", net="own_nets:build").state_dict()
    assert stored["body.0.weight"].dtype == torch.float16


@pytest.mark.usefixtures("here")
def test_statistics_are_estimated_again_from_training_inputs(document_of, run):
    options = "--net own_nets:build --data own_nets:data --keep .9 --batch-size 1 --recalibrate"
    found = document_of("prune net.pt", options, "40 --out pruned.safetensors")["recalibrated"]
    assert (found["layers"], found["n_inputs"]) == (["body.1"], 40)
    pruned = load("pruned.safetensors", net="own_nets:build")
    x = torch.from_numpy(load_own("own_nets:data").x_train.copy())
    document_of("prune net.pt", options, "1000 --out all.safetensors --exclude body.3.weight")
    layers = load("all.safetensors", net="own_nets:build").body
    whole = layers[0](x).transpose(0, 1).flatten(1)
    assert not torch.allclose(pruned.body[1].running_mean, layers[1].running_mean)
    torch.testing.assert_close(layers[1].running_mean, whole.mean(1).detach())
    torch.testing.assert_close(layers[1].running_var, whole.var(1).detach())
    done = run("prune net.pt", options, "40 --out table.safetensors")
    assert "BatchNorm statistics of 1 layer estimated again from 40 inputs" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--net own_nets:build --input-shape 3,16,16 --recalibrate 9", "needs inputs to run on"),
        (
            "--net own_nets:build --data own_nets:data --recalibrate -1",
            "greater than or equal to 0",
        ),
        ("--net own_nets:build --keep .5", "needs to know what it takes: give --input-shape"),
        ("--net own_nets:build --input-shape 4,16,16", "does not fit the model"),
        ("--net own_nets:build --input-shape 3,16,16 --onnx a.onnx --example x.pt", "no effect"),
        ("--net own_nets:build --input-shape 3,16", "does not fit the model"),
        ("--net own_nets:build --data digits", "`--data` digits, of examples of shape (1, 8, 8)"),
        ("--net own_nets:build --data own_nets:last", "channels seem to be last"),
        ("--net own_nets:build --data there/is/none", "there is no such folder"),
        ("--net own_nets:build --data nowhere:data", "there is no module nowhere"),
        ("--net own_nets:fails --input-shape 3,16,16", "line 36: ZeroDivisionError"),
        ("--net own_nets:asserts --input-shape 3,16,16", "does not fit the model: sides of 99"),
        ("--net own_nets:needs --input-shape 3,16,16", "missing 1 required positional argument"),
        ("--net own_nets:absent --input-shape 3,16,16", "has no absent"),
        ("--net own_nets:tokens --input-shape 3,16,16", "not those of own_nets:tokens"),
        ("--net own_nets: --input-shape 3,16,16", "must be MODULE:NAME"),
        ("--input-shape 3,16,16", "does not say which architecture"),
        ("--net own_nets:build --data own_nets:data --input-shape 3,16,16", "has no effect"),
        ("--data own_nets:data --compare", "takes a registered data set"),
        ("--net own_nets:build --example net.pt", "does not fit the model"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(run, here, options, message):
    before = sorted(path.name for path in here.iterdir())
    done = run("prune net.pt --keep .5 --out made/small.safetensors", options)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.split())
    assert sorted(path.name for path in here.iterdir()) == before


@pytest.mark.usefixtures("here")
def test_files_appear_together_or_not_at_all(run, monkeypatch):
    """The network is written first: an ONNX file that fails takes it along."""
    from prunable.errors import UnsupportedModelError
    from prunable.experiments.prune import pruning

    def fails(*_):
        raise UnsupportedModelError("no such operator")

    monkeypatch.setattr(pruning, "save_onnx", fails)
    options = "--net own_nets:build --input-shape 3,16,16 --keep .5 --batch-size 1"
    done = run("prune net.pt --out a/small.safetensors --onnx b/small.onnx", options)
    assert done.exit_code == 4
    from pathlib import Path

    assert not Path("a").exists()
    assert not Path("b").exists()


def test_shared_parameters_stay_shared(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.table.weight

    from prunable.nets.models.registry import with_weights

    stored = {"table.weight": torch.randn(7, 4)}
    model = with_weights(Tied(), stored, "tied")
    assert model.head.weight is model.table.weight
    torch.testing.assert_close(model.head.weight.detach(), stored["table.weight"])
    del tmp_path


def test_calibration_inputs_that_do_not_fit_are_named(run, here):
    """Nobody gave an example: the network is called with what calibrates it."""
    np.savez(here / "flat.npz", x=np.zeros((40, 7), np.float32))
    asked = "prune net.pt --net own_nets:build --method obs --keep .5 --dry-run"
    done = run(asked, "--calibrate flat.npz")
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "`--calibrate flat.npz` of `prune`, of shape (2, 7), does not fit the model" in said
    assert "Give inputs that the network takes." in said


def test_a_single_array_calibrates_and_is_read_once(run, here, monkeypatch):
    """As `numpy.savez` writes it where no name is given."""
    from prunable.experiments.prune import inputs

    read = []
    monkeypatch.setattr(
        inputs, "read_example", lambda path: read.append(path) or read_example(path)
    )
    np.savez(here / "one.npz", np.random.default_rng(0).standard_normal((40, 3, 8, 8)))
    asked = "prune net.pt --net own_nets:build --method obs --keep .5 --dry-run"
    assert run(asked, "--calibrate one.npz").exit_code == 0
    assert len(read) == 1
