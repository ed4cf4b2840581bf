"""Architectures: the papers' parameter counts, and networks found again from their files."""

import sys

import pytest
import torch
from torch import nn

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.archive import save_tensors
from prunable.nets.models import (
    NETS,
    Architecture,
    build,
    mlp,
    network_of,
    read_weights,
    rebuild,
    resnet20,
)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("fcn4", (3, 32, 32), 18_894_848),
        ("fcn4", (1, 28, 28), 14_209_024),
        ("fcn6", (3, 32, 32), 27_283_456),
        ("vgg", (3, 32, 32), 9_222_848),
        ("vgg", (1, 28, 28), 9_221_696),
        ("lenet-300-100", (784,), 266_610),
    ],
)
def test_published_parameter_counts(name, shape, parameters, generator):
    assert count(build(Architecture(name, shape, 10), generator=generator())) == parameters


@pytest.mark.parametrize("width", [1, 5, 8, 10])
def test_resnet20_has_the_counts_of_its_formula(width, generator):
    exact = 1044 * width**2 + 153 * width + 10
    assert count(resnet20(3, 10, width=width, generator=generator())) == exact


@pytest.mark.parametrize("name", NETS)
def test_networks_run_repeat_and_are_found_again(name, tmp_path, generator):
    shape = (2, 20, 24) if NETS[name].pictures else (30,)
    architecture = Architecture(name, shape, 7, width=6)
    model = build(architecture, generator=generator()).eval()
    again = build(architecture, generator=generator())
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    x = torch.rand(3, *shape)
    assert model(x).shape == (3, 7)
    path = tmp_path / "net.safetensors"
    save_tensors(path, model.state_dict(), architecture.metadata())
    for given in (None, name):
        found = network_of(*read_weights(path), given, shape=shape)
        assert torch.equal(found(x), model(x))
        assert list(found.state_dict()) == list(model.state_dict())


def test_linear_layers_start_as_torch_starts_them(generator):
    """Uniform on +-1/sqrt(inputs): five standard errors of the mean and the square."""
    layer = mlp((400, 1000), generator=generator())[1]
    w = layer.weight.detach().double() * 400**0.5
    assert w.abs().max() <= 1
    assert abs(w.mean()) < 5 * (1 / 3) ** 0.5 / w.numel() ** 0.5
    assert abs((w**2).mean() - 1 / 3) < 5 * (4 / 45) ** 0.5 / w.numel() ** 0.5


@pytest.mark.parametrize(
    "names", [["0", "2", "4"], ["fc1", "fc2", "fc3"], ["net.0", "net.2", "head"]]
)
def test_a_chain_is_built_under_the_names_of_its_file(names):
    sizes = [(6, 5), (4, 6), (3, 4)]
    tensors = {}
    for name, shape in zip(names, sizes, strict=True):
        tensors[f"{name}.weight"] = torch.randn(shape)
        if name != names[-1]:
            tensors[f"{name}.bias"] = torch.randn(shape[0])
    model = network_of(tensors, {}, "mlp")
    assert set(model.state_dict()) == set(tensors)
    x = torch.randn(8, 5)
    expected = x
    for name in names:
        if name != names[0]:
            expected = expected.relu()
        bias = tensors.get(f"{name}.bias", torch.zeros(1))
        expected = expected @ tensors[f"{name}.weight"].T + bias
    torch.testing.assert_close(model(x), expected)


def test_networks_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\ndef small():\n    return nn.Sequential(nn.Linear(3, 2), nn.Tanh())\n"
        "def wrong():\n    return 5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = nn.Linear(3, 2)
    tensors = {"0.weight": layer.weight.detach(), "0.bias": layer.bias.detach()}
    x = torch.randn(4, 3)
    found = network_of(tensors, {}, "my_nets:small")
    torch.testing.assert_close(found(x), layer(x).tanh())
    for net, message in (
        ("my_nets:absent", "cannot be built"),
        ("no_such_module:small", "cannot be built"),
        ("my_nets:wrong", "returns a torch module"),
    ):
        with pytest.raises(InputError, match=message):
            network_of(tensors, {}, net)
    with pytest.raises(InputError, match="not those of my_nets:small"):
        network_of({"0.weight": torch.ones(9, 9)}, {}, "my_nets:small")
    sys.modules.pop("my_nets", None)


def test_what_cannot_be_found_is_named(tmp_path, generator):
    square = {"a.weight": torch.ones(3, 3)}
    with pytest.raises(InputError, match="does not say which architecture"):
        network_of(square, {})
    with pytest.raises(InputError, match="`net` of `load` must be one of"):
        network_of(square, {}, "transformer")
    with pytest.raises(InputError, match="needs the shape of its pictures"):
        network_of({"a.weight": torch.ones(3, 3, 3, 3)}, {}, "resnet20")
    with pytest.raises(InputError, match="holds no weight matrix"):
        network_of({"a": torch.ones(3)}, {}, "mlp")
    with pytest.raises(InputError, match=r"no chain of linear layers: a\.weight \(3, 3\)"):
        network_of({**square, "b.weight": torch.ones(4, 5)}, {}, "mlp")
    with pytest.raises(InputError, match="running_mean has no place"):
        network_of({**square, "bn.running_mean": torch.ones(3)}, {}, "mlp")
    with pytest.raises(InputError, match="not those of lenet-300-100"):
        rebuild(square, Architecture("lenet-300-100", (784,), 10))
    with pytest.raises(InputError, match="sides of 16 or more"):
        build(Architecture("vgg", (3, 8, 8), 10), generator=generator())
    with pytest.raises(DataIntegrityError, match=r"nowhere\.safetensors"):
        read_weights(tmp_path / "nowhere.safetensors")


def test_onnx_cannot_be_written_back(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(torch.ones(2, 2).numpy(), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedModelError, match="cannot write"):
        read_weights(tmp_path / "m.onnx")
