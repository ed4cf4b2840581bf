"""Exported models: rebuilt bit for bit, here and by the printed loader; whole or not at all."""

import copy
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune as torch_prune

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.archive import load_tensors
from prunable.nets.models import resnet20
from prunable.nets.networks.views import views_of
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.sparse_file import load_sparse
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning, SingularValuePruning
from prunable.nets.shrink import onnx_export
from prunable.nets.shrink.export import load_exported, save_exported, save_onnx
from prunable.nets.shrink.factoring import factor
from prunable.nets.shrink.sparse_layers import SparseLinear
from prunable.nets.shrink.surgery import shrink
from prunable.numerics.randomness import rng

PAGE = Path(__file__).parents[4] / "docs" / "exported-models.md"


class Tied(nn.Module):
    """A class of its own: a tied output layer, a parameter and a buffer of no layer."""

    def __init__(self, width=6):
        super().__init__()
        self.embed = nn.Embedding(9, width)
        self.layers = nn.ModuleDict({"mix": nn.Linear(width, width), "norm": nn.LayerNorm(width)})
        self.scale = nn.Parameter(torch.randn(width))
        self.register_buffer("shift", torch.randn(width))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.out = nn.Linear(width, 9, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        x = self.layers["norm"](self.layers["mix"](self.embed(tokens)) * self.scale + self.shift)
        return self.out(x)


def convolutional():
    model = nn.Sequential(
        nn.Sequential(
            nn.Conv2d(3, 8, (3, 2), stride=(1, 2), padding=(1, 0), padding_mode="reflect"),
            nn.BatchNorm2d(8, eps=1e-3),
            nn.LeakyReLU(0.2, inplace=True),
            nn.MaxPool2d(2, ceil_mode=True),
        ),
        nn.Conv2d(8, 8, 3, padding="same", groups=4, bias=False),
        nn.GroupNorm(2, 8, affine=False),
        nn.GELU("tanh"),
        nn.PReLU(8),
        nn.AdaptiveAvgPool2d((2, 3)),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Unflatten(1, (6, 8)),
        nn.LayerNorm((8,), elementwise_affine=True, bias=False),
        nn.Linear(8, 5, bias=False),
        nn.Softmax(dim=-1),
    )
    nn.init.normal_(model[0][1].running_mean)
    return model


def thinned(model, kappa=0.1):
    prune(model, MagnitudePruning(), Keep(kappa))
    return model


def chain():
    return nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 4))


def sparse():
    model = thinned(chain())
    model[0] = SparseLinear.from_linear(model[0])
    return model


def factored():
    model, x = chain(), torch.randn(2, 30)
    plan = prune(model, SingularValuePruning(), Keep(0.1), dry_run=True).plan
    return factor(model, plan, x).model


def residual(shrunk=True):
    model = resnet20(3, 10, width=4, generator=torch.Generator().manual_seed(1))
    if not shrunk:
        return model
    matrices = [(n, p) for n, p in model.named_parameters() if p.ndim == 4]
    plan = NodePruning(axis="unit").plan(views_of(matrices), Keep(0.5), rng=rng(0))
    return shrink(model, plan, torch.randn(2, 3, 16, 16)).model


# name: model, input, an instance of its class if it needs one
CASES = {
    "convolutional": (convolutional, lambda: torch.randn(2, 3, 9, 9), None),
    "thinned": (lambda: thinned(chain()), lambda: torch.randn(3, 30), None),
    "sparse": (sparse, lambda: torch.randn(3, 30), None),
    "sparse alone": (
        lambda: SparseLinear.from_linear(thinned(nn.Linear(20, 9))),
        lambda: torch.randn(3, 20),
        None,
    ),
    "factored": (factored, lambda: torch.randn(3, 30), None),
    "residual": (residual, lambda: torch.randn(2, 3, 16, 16), lambda: residual(False)),
    "tied": (Tied, lambda: torch.randint(0, 9, (2, 5)), Tied),
    "half": (lambda: chain().half(), lambda: torch.randn(3, 30).half(), None),
    "bfloat16": (lambda: thinned(chain()).bfloat16(), lambda: torch.randn(3, 30).bfloat16(), None),
    "double": (lambda: chain().double(), lambda: torch.randn(3, 30).double(), None),
}


@pytest.mark.parametrize("case", CASES)
def test_round_trip(case, tmp_path):
    make, inputs, instance = CASES[case]
    model, x, path = make(), inputs(), tmp_path / "m.safetensors"
    before = copy.deepcopy(model.state_dict())
    mode = model.training
    result = save_exported(path, model)
    assert model.training == mode
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert result.bytes == path.stat().st_size
    assert result.rebuilt_from_nothing == (instance is None)
    again = load_exported(path, instance() if instance else None)
    state = again.state_dict()
    assert list(state) == list(before)
    assert all(torch.equal(state[n], t) and state[n].dtype == t.dtype for n, t in before.items())
    assert not again.training
    with torch.no_grad():  # products round by where matrices lie in memory
        expected = copy.deepcopy(model).eval()(x.clone())
        torch.testing.assert_close(again(x.clone()), expected, rtol=1e-5, atol=1e-6)
    dense = load_exported(path, instance() if instance else None, sparse=False)
    assert not any(isinstance(module, SparseLinear) for module in dense.modules())
    json.dumps(result.to_dict())


def test_modules_keep_their_arguments(tmp_path):
    model = convolutional()
    save_exported(tmp_path / "m.safetensors", model)
    assert repr(load_exported(tmp_path / "m.safetensors")) == repr(model)


LOAD = """
import sys
sys.modules["prunable"] = None
import torch
from safetensors.torch import load_file, save_file
{loader}
files = sys.argv[1:]
with torch.no_grad():
    for file in files:
        x = load_file(file + ".x")["x"]
        ours = {{"dense": load(file)(x.clone()), "sparse": load_sparse(file)(x.clone())}}
        save_file({{name: y.contiguous() for name, y in ours.items()}}, file + ".y")
class Tied(torch.nn.Module):
{source}
net = load("tied.safetensors", Tied())
assert net.out.weight is net.embed.weight
y = net(load_file("tied.safetensors.x")["x"])
save_file({{"dense": y.detach()}}, "tied.safetensors.y")
try:
    import prunable
except ImportError:
    print("alone")
"""


def test_the_printed_loader_needs_nothing_of_ours(tmp_path):
    """In a process that cannot import this package."""
    expected = {}
    for case, (make, inputs, instance) in CASES.items():
        if instance is None or case == "tied":
            name = f"{case.replace(' ', '-')}.safetensors"
            model, x = make().eval(), inputs()
            save_exported(tmp_path / name, model)
            save_file({"x": x}, tmp_path / f"{name}.x")
            with torch.no_grad():
                expected[name] = model(x.clone())
    loader = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    source = Path(__file__).read_text().partition("class Tied(nn.Module):\n")[2]
    program = LOAD.format(loader=loader, source=source.partition("\n\n\ndef ")[0])
    files = [name for name in expected if name != "tied.safetensors"]
    done = subprocess.run(
        [sys.executable, "-c", program, *files], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "alone", done.stderr
    for name, y in expected.items():
        found, _ = load_tensors(tmp_path / f"{name}.y")
        for mine in found.values():
            tolerance = {"rtol": 1e-2, "atol": 1e-3} if y.itemsize < 4 else {}
            torch.testing.assert_close(mine, y, **tolerance)


def test_ties_are_stored_once_and_last(tmp_path):
    model = Tied()
    result = save_exported(tmp_path / "m.safetensors", model)
    assert result.tied == {"out.weight": "embed.weight"}
    stored, _ = load_tensors(tmp_path / "m.safetensors")
    assert "out.weight" not in stored
    loose = Tied()
    loose.out.weight = nn.Parameter(torch.zeros(9, 6))
    again = load_exported(tmp_path / "m.safetensors", loose)
    assert again.out.weight is again.embed.weight
    # and the same module in two places
    shared = nn.Linear(5, 5)
    for layer in (shared, SparseLinear.from_linear(thinned(shared))):
        save_exported(tmp_path / "s.safetensors", nn.Sequential(layer, nn.ReLU(), layer))
        again = load_exported(tmp_path / "s.safetensors")
        one, two = dict(again[0].named_parameters()), dict(again[2].named_parameters())
        assert all(one[name] is two[name] for name in one)


def test_the_file_is_one_of_pruned_weights(tmp_path):
    model = thinned(chain())
    save_exported(tmp_path / "m.safetensors", model, metadata={"note": "mine"})
    found = load_sparse(tmp_path / "m.safetensors")
    assert all(torch.equal(found[name], t) for name, t in model.state_dict().items())
    assert load_tensors(tmp_path / "m.safetensors")[1]["note"] == "mine"


def test_random_numbers_and_gradients_are_left_alone(tmp_path):
    save_exported(tmp_path / "m.safetensors", convolutional())
    state = torch.get_rng_state()
    model = load_exported(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.requires_grad and p.device.type == "cpu" for p in model.parameters())


def test_refused_models(tmp_path):
    path = tmp_path / "m.safetensors"
    hooked = chain()
    hooked[2].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedModelError, match="`2` cannot be exported: it has hooks"):
        save_exported(path, hooked)
    masked = chain()
    torch_prune.l1_unstructured(masked[0], "weight", 0.5)
    with pytest.raises(UnsupportedModelError, match=r"`0`.*torch.nn.utils.prune"):
        save_exported(path, masked)
    with pytest.raises(UnsupportedModelError, match=r"`0\.weight`.*no dense tensor"):
        save_exported(path, nn.Sequential(nn.Linear(2, 2, device="meta")))
    assert not list(tmp_path.iterdir())


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_unknown_layers_need_an_instance(tmp_path):
    """A subclass inside nn.Sequential, and a layer of torch with layers of its own."""
    path = tmp_path / "m.safetensors"
    model, x = nn.Sequential(nn.Linear(4, 3), Doubled(3, 3)).eval(), torch.randn(2, 4)
    assert not save_exported(path, model).rebuilt_from_nothing
    with pytest.raises(InputError, match=r"`model`.*an instance of torch.*Sequential"):
        load_exported(path)
    instance = nn.Sequential(nn.Linear(4, 3), Doubled(3, 3))
    assert torch.equal(load_exported(path, instance)(x), model(x))
    attention = nn.MultiheadAttention(4, 2)
    assert not save_exported(path, attention).rebuilt_from_nothing
    with pytest.raises(InputError, match="The model does not fit"):
        load_exported(path, nn.MultiheadAttention(6, 2))


def test_what_does_not_fit(tmp_path):
    path = tmp_path / "m.safetensors"
    save_exported(path, Tied())
    with pytest.raises(InputError, match=r"does not fit.*Give an instance of .*Tied"):
        load_exported(path, chain())


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: m.pop("modules"),
        lambda m: m["modules"].append(["9", "functional", {}]),
        lambda m: m["modules"].append(["9", "NoSuch", {}]),
        lambda m: m["modules"].append(["9"]),
        lambda m: m["modules"][1][2].update(no=1),
        lambda m: m["tied"].update(a="b"),
        lambda m: m["modules"][1][2].update(in_features="x"),
    ],
)
def test_damaged_manifests(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    save_exported(path, thinned(chain()))
    tensors, header = load_tensors(path)
    manifest = json.loads(header["manifest"])
    damage(manifest)
    save_file(tensors, path, header | {"manifest": json.dumps(manifest)})
    with pytest.raises(DataIntegrityError, match="is no whole exported model"):
        load_exported(path)


def test_damaged_files(tmp_path):
    path = tmp_path / "m.safetensors"
    save_exported(path, thinned(chain()))
    tensors, header = load_tensors(path)
    save_file(tensors, tmp_path / "plain.safetensors")
    del tensors["0.weight::values"]
    save_file(tensors, tmp_path / "short.safetensors", header)
    path.write_bytes(path.read_bytes()[:-9])
    for name in ("m", "plain", "short", "missing"):
        with pytest.raises(DataIntegrityError):
            load_exported(tmp_path / f"{name}.safetensors")


FULL = """
import resource, sys
from pathlib import Path
import torch
from prunable.errors import InputError
from prunable.nets.shrink.export import save_exported
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    save_exported(Path(sys.argv[1]), torch.nn.Sequential(torch.nn.Linear(100, 100)))
except InputError as error:
    print(error)
"""


def test_no_room_leaves_the_old_file(tmp_path, monkeypatch):
    """The system refuses to write more, as on a full disk; and the full disk itself, imitated."""
    path = tmp_path / "m.safetensors"
    save_exported(path, nn.Sequential(nn.Linear(2, 2)))
    old = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    assert f"cannot write {path}" in done.stdout
    assert "Choose another place" in done.stdout

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("prunable.nets.archive.safetensors_file.save_file", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_exported(path, chain())
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# ONNX


@pytest.fixture
def onnxruntime():
    pytest.importorskip("onnx")
    return pytest.importorskip("onnxruntime")


def test_onnx_agrees_at_any_batch_size(tmp_path, onnxruntime):
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5)
    )
    nn.init.normal_(model[1].running_mean)
    before = copy.deepcopy(model.state_dict())
    result = save_onnx(tmp_path / "m.onnx", model, torch.randn(1, 1, 6, 6))
    assert model.training
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert result.max_difference < 1e-5
    assert result.opset >= 18
    assert result.bytes == (tmp_path / "m.onnx").stat().st_size
    assert json.loads(json.dumps(result.to_dict()))["path"] == str(tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for size in (1, 7):
        x = torch.randn(size, 1, 6, 6)
        (found,) = session.run(["output"], {"input": x.numpy()})
        with torch.no_grad():
            expected = model.eval()(x).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("onnxruntime")
def test_onnx_of_sparse_layers_and_the_older_exporter(tmp_path, monkeypatch):
    model = sparse()
    monkeypatch.setattr(onnx_export, "find_spec", lambda _: None)
    result = save_onnx(tmp_path / "m.onnx", model, torch.randn(2, 30))
    assert result.exporter == "torchscript"
    assert isinstance(model[0], SparseLinear)
    assert result.max_difference < 1e-5


@pytest.mark.usefixtures("onnxruntime")
def test_onnx_refusals_leave_the_old_file(tmp_path, monkeypatch):
    path, x = tmp_path / "m.onnx", torch.randn(2, 30)
    path.write_text("old")
    with pytest.raises(InputError, match=r"`example` of shape \(2, 3\) does not fit"):
        save_onnx(path, chain(), torch.randn(2, 3))
    with pytest.raises(InputError, match="a batch that is not empty"):
        save_onnx(path, chain(), torch.randn(0, 30))
    monkeypatch.setattr(onnx_export, "find_spec", lambda _: None)  # the quicker exporter
    with pytest.raises(UnsupportedModelError, match="cannot be exported to ONNX"):
        save_onnx(path, chain().bfloat16(), x.bfloat16())
    run = onnx_export._run
    monkeypatch.setattr(onnx_export, "_run", lambda *a: [[y + 0.1 for y in ys] for ys in run(*a)])
    with pytest.raises(UnsupportedModelError, match=r"onnxruntime's output differs by 0\.1"):
        save_onnx(path, chain(), x)
    monkeypatch.setattr(onnx_export, "LARGEST", 10)
    with pytest.raises(UnsupportedModelError, match="exceed the 2 GB"):
        save_onnx(path, chain(), x)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_onnx_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"`save_onnx` needs onnx.*prunable\[onnx\]"):
        save_onnx(tmp_path / "m.onnx", chain(), torch.randn(2, 30))
