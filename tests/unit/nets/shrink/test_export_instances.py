"""Exported models that were cut inside their own classes, and weights made up of others."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import load_tensors
from prunable.nets.shrink.export import load_exported, save_exported

PAGE = Path(__file__).parents[4] / "docs" / "exported-models.md"


class Attention(nn.Module):
    """Heads of three numbers each, cut by hand: a head less, and two units of the norm's scale."""

    def __init__(self, width=6, heads=2):
        super().__init__()
        self.num_heads, self.head_dim, self.sizes = heads, 3, (heads, 3)
        self.qkv = nn.Linear(width, 3 * heads * self.head_dim)
        self.proj = nn.Linear(heads * self.head_dim, width)
        self.gate = nn.Parameter(torch.rand(heads))
        self.register_buffer("shift", torch.rand(heads))

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, *self.sizes)).unbind(-3)
        heads = (q * k).softmax(-1) * v * (self.gate + self.shift)[:, None]
        return self.proj(heads.flatten(-2))


def cut(model):
    """Leave the first head alone, as surgery does."""
    small = copy.deepcopy(model)
    rows = torch.cat([torch.arange(3) + 6 * part for part in range(3)])
    small.qkv = nn.Linear(6, 9)
    small.qkv.weight.data, small.qkv.bias.data = model.qkv.weight[rows], model.qkv.bias[rows]
    small.proj = nn.Linear(3, 6)
    small.proj.weight.data, small.proj.bias.data = model.proj.weight[:, :3], model.proj.bias.data
    small.gate, small.shift = nn.Parameter(model.gate[:1].detach()), model.shift[:1]
    small.num_heads, small.sizes = 1, (1, 3)
    return small


ATTRIBUTES = {"": {"num_heads": 1, "sizes": (1, 3)}}


@pytest.fixture
def small():
    torch.manual_seed(0)
    return cut(Attention()).eval()


def carrying(model):
    model._prunable_attributes = ATTRIBUTES
    return model


@pytest.mark.parametrize("given", ["argument", "carried"])
def test_a_cut_model_of_its_own_class(small, given, tmp_path):
    path, x = str(tmp_path / "m.safetensors"), torch.randn(2, 6)
    if given == "argument":
        save_exported(path, small, attributes=ATTRIBUTES)
    else:
        save_exported(path, copy.deepcopy(carrying(small)))
    again = load_exported(path, Attention())
    assert (again.num_heads, again.sizes, again.head_dim) == (1, (1, 3), 3)
    assert isinstance(again.gate, nn.Parameter)
    assert torch.equal(again(x), small(x))
    save_exported(path, again)  # and once more: it carries what it was given
    assert torch.equal(load_exported(path, Attention())(x), small(x))


def test_the_printed_loader_sets_what_cutting_changed(small, tmp_path):
    path, x = tmp_path / "m.safetensors", torch.randn(2, 6)
    save_exported(path, small, attributes=ATTRIBUTES)
    room = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, room)
    again = room["load"](path, Attention())
    assert (again.num_heads, again.sizes) == (1, (1, 3))
    assert torch.equal(again(x), small(x))


def test_without_cutting_shapes_are_those_of_the_instance(tmp_path):
    save_exported(tmp_path / "m.safetensors", Attention(heads=1))
    with pytest.raises(InputError, match="does not fit"):
        load_exported(tmp_path / "m.safetensors", Attention(heads=2))


@pytest.mark.parametrize(
    "attributes",
    [
        {"": {"num_heads": 2}},
        {"nowhere": {"num_heads": 1}},
        {"": {"_num_heads": 1}},
        {"": {"heads": 1}},
        {"": {"num_heads": 1.0}},
        {"": {"num_heads": 10**400}},
        {"": {3: 1}},
        {"": 3},
        [1],
        3,
    ],
)
def test_attributes_that_the_model_does_not_have_are_refused(small, attributes, tmp_path):
    with pytest.raises(InputError, match="`attributes` of `save_exported`"):
        save_exported(tmp_path / "m.safetensors", small, attributes=attributes)
    assert not list(tmp_path.iterdir())


def rewritten(path, change):
    tensors, header = load_tensors(path)
    manifest = json.loads(header["manifest"])
    change(manifest)
    save_file(tensors, path, header | {"manifest": json.dumps(manifest)})


@pytest.mark.parametrize(
    "hostile",
    [
        {"": {"_modules": 1}},
        {"": {"__class__": 1}},
        {"": {"num heads": 1}},
        {"": {"num_heads": True}},
        {"": {"num_heads": 1.5}},
        {"": {"num_heads": "1"}},
        {"": {"num_heads": None}},
        {"": {"sizes": [1, "3"]}},
        {"": {"sizes": {"0": 1}}},
        {"": 3},
        [1],
        "num_heads",
    ],
)
def test_hostile_attributes(small, hostile, tmp_path):
    path, instance = tmp_path / "m.safetensors", Attention()
    save_exported(path, small, attributes=ATTRIBUTES)
    rewritten(path, lambda manifest: manifest.update(attributes=hostile))
    with pytest.raises(DataIntegrityError, match="is no whole exported model"):
        load_exported(path, instance)
    assert instance.num_heads == 2


@pytest.mark.parametrize("hostile", [["gone"], 3, [3], {"a": 1}, [["gate"]]])
def test_hostile_parameters(small, hostile, tmp_path):
    path = tmp_path / "m.safetensors"
    save_exported(path, small, attributes=ATTRIBUTES)
    rewritten(path, lambda manifest: manifest.update(parameters=hostile))
    with pytest.raises(DataIntegrityError, match="is no whole exported model"):
        load_exported(path, Attention())


@pytest.mark.parametrize(
    "foreign",
    [{"": {"forward": 1}}, {"": {"gate": 1}}, {"": {"sizes": 1}}, {"": {"num_heads": [1]}},
     {"nowhere": {"num_heads": 1}}, {"": {"training": 0}}],
)  # fmt: skip
def test_only_numbers_of_the_instance_are_set(small, foreign, tmp_path):
    """A file cannot put a number in the place of a method, a parameter or a flag."""
    path = tmp_path / "m.safetensors"
    save_exported(path, small, attributes=ATTRIBUTES)
    rewritten(path, lambda manifest: manifest.update(attributes=foreign))
    with pytest.raises(InputError, match="does not fit"):
        load_exported(path, Attention())


# weights that are made up


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = parametrizations.weight_norm(nn.Linear(4, 5))
        self.conv = parametrizations.spectral_norm(nn.Conv1d(1, 2, 3))
        self.turn = parametrizations.orthogonal(nn.Linear(3, 3, bias=False))

    def forward(self, x):
        return self.turn(self.conv(self.first(x)[:, None]))


def hooked():
    with pytest.warns(FutureWarning):
        normed = nn.utils.weight_norm(nn.Linear(4, 5))
    return nn.Sequential(normed, nn.utils.spectral_norm(nn.Linear(5, 3)))


@pytest.mark.parametrize(
    ("make", "names"),
    [(Normed, ("first.weight", "conv.weight", "turn.weight")), (hooked, ("0.weight", "1.weight"))],
)
def test_effective_weights_are_stored(make, names, tmp_path):
    path, x = str(tmp_path / "m.safetensors"), torch.randn(3, 4)
    model = make()
    model(x).sum().backward()  # what was computed last remembers how
    model.eval()
    before = copy.deepcopy({n: t.detach() for n, t in model.state_dict().items()})
    expected = model(x).detach()
    result = save_exported(path, model)
    assert result.effective == names
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert torch.allclose(model(x), expected)
    again = load_exported(path, make() if make is Normed else None)
    assert set(again.state_dict()) >= set(names)
    assert not any("Parametrized" in type(module).__name__ for module in again.modules())
    assert not any("original" in name or name.endswith("_g") for name in again.state_dict())
    torch.testing.assert_close(again(x), expected)


def test_ties_of_made_up_weights_stay(tmp_path):
    path = tmp_path / "m.safetensors"

    def make():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        for layer in model:
            parametrizations.weight_norm(layer)
        model[1].parametrizations.weight = model[0].parametrizations.weight
        return model

    result = save_exported(path, make())
    assert result.tied == {"1.weight": "0.weight"}
    again = load_exported(path)
    assert again[1].weight is again[0].weight


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_rebuilt(kind, tmp_path):
    model = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True, bias=False).eval()
    path, x = tmp_path / "m.safetensors", torch.randn(2, 5, 3)
    assert save_exported(path, model).rebuilt_from_nothing
    again = load_exported(path)
    assert repr(again) == repr(model)
    assert torch.equal(again(x)[0], model(x)[0])
