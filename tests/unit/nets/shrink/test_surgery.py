"""Surgery on models: the smaller one computes what the masked one does, or is refused."""

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.models import resnet20
from prunable.nets.networks.views import views_of
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep, LayerPlan, PruningPlan
from prunable.nets.prune.strategies import MagnitudePruning, NodePruning
from prunable.nets.shrink.surgery import shrink
from prunable.numerics.randomness import rng


def plan_of(model, kappa=0.5, *, strategy=None, axis="unit", only=None):
    named = [(n, p) for n, p in model.named_parameters() if only is None or n in only]
    strategy = strategy or NodePruning(axis=axis)
    return strategy.plan(views_of(named), Keep(kappa), rng=rng(0))


def hidden(model):
    """Names of all weight matrices but the last."""
    return [n for n, p in model.named_parameters() if p.ndim > 1][:-1]


def masks(**kept):
    """A plan of units or inputs written out: name__axis=(shape, taps, indices kept)."""
    layers = []
    for key, (shape, taps, indices) in kept.items():
        name, axis = key.rsplit("__", 1)
        mask = np.zeros(shape[0] if axis == "unit" else shape[1] // taps, dtype=bool)
        mask[list(indices)] = True
        layers.append(
            LayerPlan(f"{name.replace('_', '.')}.weight", shape, axis, mask, eps=0.0, taps=taps)
        )
    return PruningPlan("node", Keep(0.5), tuple(layers))


def randomize(model):
    """Give batch normalisation statistics and scales that matter."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model


def same(model, plan, x, **options):
    """Shrink, and compare with the masked model on other inputs, in the model's precision."""
    before = {n: t.clone() for n, t in model.state_dict().items()}
    mode = model.training
    result = shrink(model, plan, x, **options)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[n], t) for n, t in before.items())
    assert model.training == result.model.training == mode
    masked = copy.deepcopy(model)
    apply_plan_(masked.named_parameters(), plan)
    masked.eval()
    small = copy.deepcopy(result.model).eval()
    generator = torch.Generator().manual_seed(7)
    given = x if isinstance(x, tuple) else (x,)
    other = [
        3 * torch.randn(t.shape, generator=generator) if t.is_floating_point() else t.flip(0)
        for t in given
    ]
    with torch.no_grad():
        for inputs in (given, other):
            expected = masked(*(t.clone() for t in inputs))
            assert expected.std() > 0
            found = small(*(t.clone() for t in inputs))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert result.max_difference < 1e-5
    count = sum(p.numel() for p in result.model.parameters())
    assert result.n_parameters == count
    assert result.n_parameters_before == sum(p.numel() for p in model.parameters())
    for name, (out, into) in result.kept.items():
        assert result.model.get_submodule(name).weight.shape[:2] == (out, into)
    return result


def mlp(activation, *, bias=True, norm=False):
    layers = []
    for i, (into, out) in enumerate([(7, 20), (20, 12)]):
        layers += [(f"fc{i}", nn.Linear(into, out, bias=bias))]
        layers += [(f"bn{i}", nn.BatchNorm1d(out))] if norm else []
        layers += [(f"act{i}", activation())]
    layers += [("drop", nn.Dropout(0.5)), ("out", nn.Linear(12, 3, bias=bias))]
    return randomize(nn.Sequential(OrderedDict(layers)))


def vgg(*, padding=1, bias=True, activation=nn.ReLU):
    return randomize(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=padding, bias=bias),
            nn.BatchNorm2d(8),
            activation(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=padding, bias=bias),
            activation(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12 * (3 if padding else 1) ** 2, 10),
            activation(),
            nn.Linear(10, 4),
        )
    )


class Block(nn.Module):
    def __init__(self, into, out, stride=1, *, bias=True):
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=bias)
        self.relu = nn.ReLU(inplace=True)
        self.short = nn.Identity() if into == out else nn.Conv2d(into, out, 1, stride, bias=bias)

    def forward(self, x):
        y = self.conv2(self.relu(self.bn1(self.conv1(x))))
        y += self.short(x)
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, *, bias=True):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=bias)
        self.body = nn.Sequential(
            Block(8, 8, bias=bias), Block(8, 12, 2, bias=bias), Block(12, 12, bias=bias)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.fc(torch.flatten(self.pool(self.body(x)), 1))


# Fully connected


@pytest.mark.parametrize("axis", ["unit", "input"])
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.ELU])
def test_mlp(activation, bias, norm, axis):
    model = mlp(activation, bias=bias, norm=norm)
    plan = plan_of(model, 0.5, axis=axis)
    result = same(model, plan, torch.randn(9, 7))
    if axis == "unit":  # the outputs and the inputs stay
        assert result.kept == {"fc0": (10, 7), "fc1": (6, 10), "out": (3, 6)}
    else:
        assert result.kept == {"fc0": (10, 7), "fc1": (6, 10), "out": (3, 6)}
    added = 0
    if not bias and axis == "unit" and (norm or activation is nn.Sigmoid):
        added = 6 + 3  # biases that carry the constants
    biases = 10 + 6 + 3 if bias else added
    norms = 2 * (10 + 6) if norm else 0
    assert result.n_parameters == 70 + 60 + 18 + biases + norms


def test_constants_by_hand():
    """A unit without weights puts out sigmoid(its bias), 0.75, which the next bias takes up."""
    model = nn.Sequential(nn.Linear(1, 2), nn.Sigmoid(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([[2.0], [5.0]])
        model[0].bias[:] = torch.tensor([0.5, np.log(3.0)])
        model[2].weight[:] = torch.tensor([[7.0, 4.0]])
    plan = masks(**{"0__unit": ((2, 1), 1, [0])})
    small = same(model, plan, torch.randn(4, 1)).model
    assert small[0].weight.tolist() == [[2.0]]
    assert small[0].bias.tolist() == [0.5]
    assert small[2].weight.tolist() == [[7.0]]
    assert small[2].bias.item() == pytest.approx(3.0, rel=1e-6)


def test_units_that_only_hear_constants_go_too():
    model = mlp(nn.Tanh)
    with torch.no_grad():
        model.fc1.weight[4, 10:] = 0
    plan = masks(**{"fc0__unit": ((20, 7), 1, range(10, 20))})
    assert same(model, plan, torch.randn(4, 7)).kept["fc1"] == (11, 10)
    plan = masks(**{"fc0__unit": ((20, 7), 1, range(10))})  # now row 4 varies
    assert same(model, plan, torch.randn(4, 7)).kept["fc1"] == (12, 10)


def test_units_nobody_needs_take_their_own_inputs_along():
    model = mlp(nn.ReLU)
    with torch.no_grad():  # input 0 of fc1 only feeds unit 0, which nobody reads
        model.fc1.weight[1:, 0] = 0
    plan = masks(**{"out__input": ((3, 12), 1, range(1, 12))})
    assert same(model, plan, torch.randn(4, 7)).kept == {
        "fc0": (19, 7),
        "fc1": (11, 19),
        "out": (3, 11),
    }


def test_state_loads_into_plain_layers():
    model = mlp(nn.GELU, norm=True)
    x = torch.randn(5, 7)
    small = shrink(model, plan_of(model, 0.3, only=hidden(model)), x).model.eval()
    plain = nn.Sequential(
        OrderedDict(
            fc0=nn.Linear(7, 6),
            bn0=nn.BatchNorm1d(6),
            act0=nn.GELU(),
            fc1=nn.Linear(6, 4),
            bn1=nn.BatchNorm1d(4),
            act1=nn.GELU(),
            drop=nn.Dropout(0.5),
            out=nn.Linear(4, 3),
        )
    )
    assert str(plain) == str(small)
    plain.load_state_dict(small.state_dict(), strict=True)
    assert torch.equal(plain.eval()(x), small(x))
    assert all(type(m).__module__.startswith("torch.nn") for m in small.modules())


def test_smaller_model_trains():
    model = mlp(nn.ReLU)
    model.fc0.weight.requires_grad_(False)
    small = shrink(model, plan_of(model, only=hidden(model)), torch.randn(4, 7)).model
    small(torch.randn(4, 7)).sum().backward()
    assert small.fc0.weight.grad is None
    assert small.fc1.weight.grad.shape == (6, 10)


@pytest.mark.parametrize(("round_to", "widths"), [(1, (7, 5)), (4, (8, 8)), (16, (16, 12))])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid])
def test_round_to(activation, round_to, widths):
    model = mlp(activation)
    plan = plan_of(model, 0.35, only=hidden(model))
    result = same(model, plan, torch.randn(4, 7), round_to=round_to)
    assert result.kept == {"fc0": (widths[0], 7), "fc1": widths[::-1], "out": (3, widths[1])}
    filled = (result.model.fc0.weight == 0).all(1)
    assert filled.sum() == widths[0] - 7
    assert not result.model.fc1.weight[:, filled].any()


@pytest.mark.parametrize("axis", ["unit", "input"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid])
def test_vanished_layer_keeps_one_unit(activation, axis):
    model = mlp(activation)
    with torch.no_grad():
        model.out.bias[:] = torch.tensor([1.0, 2.0, 3.0])
    plan = masks(
        **{"fc1__unit" if axis == "unit" else "fc1__input": ((12, 20), 1, [])}  # all pruned
    )
    assert same(model, plan, torch.randn(4, 7)).kept == {
        "fc0": (1, 7),
        "fc1": (1, 1),
        "out": (3, 1),
    }


def test_nothing_pruned_nothing_changed():
    model = vgg()
    result = same(model, plan_of(model, 1.0), torch.randn(2, 3, 12, 12))
    assert result.n_parameters == result.n_parameters_before
    assert result.max_difference == 0
    for name, tensor in model.state_dict().items():
        assert torch.equal(result.model.state_dict()[name], tensor)


# Convolutions


@pytest.mark.parametrize("axis", ["unit", "input"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid, nn.GELU])
@pytest.mark.parametrize("bias", [False, True])
def test_vgg_without_padding(bias, activation, axis):
    """Without padding every constant can be moved, so the sizes are those of the plan."""
    model = vgg(padding=0, bias=bias, activation=activation)
    names = hidden(model)
    if axis == "input":
        names = [names[1], "10.weight"]
    plan = plan_of(model, 0.5, axis=axis, only=names)
    result = same(model, plan, torch.randn(3, 3, 12, 12))
    flat = model[8].in_features // 12
    middle = 6 if axis == "unit" else 12
    assert result.kept == {"0": (4, 3), "4": (middle, 4), "8": (5, middle * flat), "10": (4, 5)}
    second = result.model[4].bias is not None  # it takes up what batch normalisation leaves
    assert second == (bias or axis == "unit")
    weights = 4 * 3 * 9 + middle * 4 * 9 + 5 * middle * flat + 4 * 5
    biases = (4 if bias else 0) + (middle if second else 0) + 5 + 4
    assert result.n_parameters == weights + biases + 2 * 4


@pytest.mark.parametrize("axis", ["unit", "input"])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid])
def test_vgg_with_padding_keeps_constants_it_cannot_move(activation, axis):
    model = vgg(activation=activation)
    plan = plan_of(model, 0.5, axis=axis)
    result = same(model, plan, torch.randn(3, 3, 12, 12))
    bn, gone = model[1].eval(), ~torch.from_numpy(plan.layers[0].kept.copy())
    if axis == "unit":
        out = activation()(bn(model[0].bias.detach().reshape(1, 8, 1, 1))).flatten()
        stuck = int((out != 0)[gone].sum())
        assert result.kept["0"] == (4 + stuck, 3)
        assert stuck == 4 if activation is nn.Sigmoid else 0 < stuck < 4
        assert result.kept["8"] == (5, 6 * 9)
    else:
        assert result.kept["0"] == (4, 3)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_padding_modes(mode, padding):
    model = (
        nn.Sequential(
            nn.Conv1d(2, 6, 3),
            nn.Tanh(),
            nn.Conv1d(6, 4, 3, padding=padding, padding_mode=mode),
            nn.AvgPool1d(2, padding=1),
            nn.Flatten(),
            nn.Linear(4 * 6, 2),
        )
        if padding != "valid"
        else nn.Sequential(
            nn.Conv1d(2, 6, 3),
            nn.Tanh(),
            nn.Conv1d(6, 4, 3, padding=padding, padding_mode=mode),
            nn.AvgPool1d(2, padding=1),
            nn.Flatten(),
            nn.Linear(4 * 5, 2),
        )
    )
    result = same(model, plan_of(model, 0.5, only=hidden(model)), torch.randn(3, 2, 12))
    moves = mode != "zeros" or padding == "valid"
    assert result.kept["0"] == (3 if moves else 6, 2)
    # constants differ at the borders of average pooling, but each flattened place has its own
    assert result.kept["2"][0] == 2


def test_flattened_channel_goes_only_with_all_its_features():
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    most = [0, 1, 2, 3, 4, 11]  # one feature of channels 1 and 2 each
    plan = masks(**{"3__input": ((2, 12), 1, most)})
    assert same(model, plan, torch.randn(2, 1, 3, 3)).kept["0"] == (3, 1)
    plan = masks(**{"3__input": ((2, 12), 1, most[:5])})
    result = same(model, plan, torch.randn(2, 1, 3, 3))
    assert result.kept == {"0": (2, 1), "3": (2, 8)}


def test_normalised_features_of_a_flattened_channel():
    """Each feature of a constant channel has a constant of its own."""
    model = randomize(
        nn.Sequential(
            nn.Conv2d(1, 4, 2), nn.Flatten(), nn.BatchNorm1d(16), nn.Sigmoid(), nn.Linear(16, 3)
        )
    )
    result = same(model, plan_of(model, 0.5, only=["0.weight"]), torch.randn(5, 1, 3, 3))
    assert result.model[2].num_features == 8
    assert result.kept == {"0": (2, 1), "4": (3, 8)}


@pytest.mark.parametrize("axis", ["unit", "input"])
@pytest.mark.parametrize("kappa", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("bias", [False, True])
def test_resnet(bias, kappa, axis):
    model = randomize(ResNet(bias=bias))
    same(model, plan_of(model, kappa, axis=axis), torch.randn(2, 3, 8, 8))


def test_groups_that_are_cut_are_not_tried_before(monkeypatch):
    """The proof of what is cut is enough, and takes half as long."""
    from prunable.nets.prune import groups

    def tried(*_):
        raise AssertionError

    monkeypatch.setattr(groups, "_tried", tried)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    example = torch.randn(4, 6)
    views = views_of(net.named_parameters())[:1]
    plan = NodePruning("unit").plan(views, Keep(0.5), rng=rng(0))
    assert shrink(net, plan, example).n_parameters < sum(p.numel() for p in net.parameters())


def test_residual_channels_go_only_together():
    model = randomize(ResNet(bias=False))
    stem, conv2 = ((8, 27), 9), ((8, 72), 9)
    x = torch.randn(2, 3, 8, 8)
    alone = masks(stem__unit=(*stem, [0, 1, 2, 3]))
    assert same(model, alone, x).kept["stem"] == (8, 3)
    both = masks(stem__unit=(*stem, [0, 1, 2, 3]), body_0_conv2__unit=(*conv2, [0, 1, 2, 6]))
    kept = same(model, both, x).kept
    assert kept["stem"] == (5, 3)
    assert kept["body.0.conv1"] == (8, 5)
    assert kept["body.0.conv2"] == (5, 8)
    assert kept["body.1.conv1"] == (12, 5)
    assert kept["body.1.short"] == (12, 5)
    # the second group: the 1x1 shortcut and both convolutions that add to it
    last = masks(fc__input=((5, 12), 1, range(6)))
    assert same(model, last, x).kept["fc"] == (5, 12)  # others still read those channels
    kept = same(
        model,
        masks(
            body_1_conv2__unit=((12, 108), 9, range(6)),
            body_1_short__unit=((12, 8), 1, range(6)),
            body_2_conv2__unit=((12, 108), 9, range(6)),
        ),
        x,
    ).kept
    assert kept["fc"] == (5, 6)
    assert kept["body.2.conv2"] == (6, 12)
    assert kept["body.2.conv1"] == (12, 6)


def test_mixed_axes_and_single_weights():
    model = randomize(ResNet())
    plans = [plan_of(model, 0.6, axis="input", only=["fc.weight", "body.2.conv2.weight"])]
    plans += [plan_of(model, 0.4, only=["stem.weight", "body.2.conv1.weight"])]
    plan = PruningPlan("node", Keep(0.5), plans[0].layers + plans[1].layers)
    same(model, plan, torch.randn(2, 3, 8, 8), round_to=2)
    wide = mlp(nn.ReLU)
    plan = plan_of(wide, 0.05, strategy=MagnitudePruning())
    result = same(wide, plan, torch.randn(3, 7))
    assert result.n_parameters < result.n_parameters_before / 2


# Functions and methods


class Functional(nn.Module):
    def __init__(self, forward, *, pooled, other):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        if other:
            self.other = nn.Conv2d(1, 6, 3)
        if pooled:
            self.pooled = nn.Linear(6, 2)
        else:
            self.fc, self.last = nn.Linear(6 * 9, 5), nn.Linear(5, 2)
        self.scale = 7
        self.register_buffer("mean", torch.randn(1, 8, 8))
        self.way = forward

    def forward(self, x):
        return self.way(self, x)


FORWARDS = {
    "flatten": lambda m, x: m.last(
        F.gelu(m.fc(F.max_pool2d(F.leaky_relu(m.conv(x), 0.2), 2).flatten(1)))
    ),
    "view": lambda m, x: m.last(
        torch.tanh(m.fc(F.avg_pool2d(m.conv(x).sigmoid(), 2).view(x.size(0), -1)))
    ),
    "reshape": lambda m, x: m.last(
        F.elu(m.fc(F.adaptive_max_pool2d(F.silu(m.conv(x)), 3).reshape((x.shape[0], -1))))
    ),
    "mean": lambda m, x: m.pooled(F.relu(m.conv(x), inplace=True).mean((2, 3))),
    "scaled": lambda m, x: (
        m.pooled((1 - 2 * m.conv((x - m.mean) / 3)).mean([-1, -2], keepdim=False)) / m.scale
    ),
    "dropout": lambda m, x: F.log_softmax(
        m.pooled(F.dropout(F.adaptive_avg_pool2d(m.conv(x), 1), training=m.training).flatten(1)),
        dim=1,
    ),
    "add": lambda m, x: m.pooled(
        torch.add(m.conv(x).relu_(), m.other(x).tanh(), alpha=3).mean((2, 3))
    ),
    "product": lambda m, x: m.pooled((m.conv(x).sigmoid() * m.other(x)).mean((2, 3))),
}


@pytest.mark.parametrize("way", FORWARDS)
def test_functional_forms(way):
    two, pooled = way in ("add", "product"), way not in ("flatten", "view", "reshape")
    model = Functional(FORWARDS[way], pooled=pooled, other=two)
    names = ["conv.weight"] if pooled else ["conv.weight", "fc.weight"]
    if two:
        names = ["conv.weight", "other.weight"]
        with torch.no_grad():  # the same filters are the smallest of both
            model.other.weight.copy_(model.conv.weight).mul_(0.9)
    result = same(model, plan_of(model, 0.5, only=names), torch.randn(4, 1, 8, 8))
    assert result.kept["conv"] == (3, 1)


def test_input_may_be_reshaped_by_written_sizes():
    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(nn.ReLU)

        def forward(self, x):
            return self.net(x.view(-1, 7))

    model = Images()
    plan = plan_of(model, 0.5, only=["net.fc0.weight"])
    assert same(model, plan, torch.randn(3, 1, 7)).kept["net.fc0"] == (10, 7)


def test_linear_layers_on_sequences():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    plan = plan_of(model, 0.5, only=["0.weight"])
    assert same(model, plan, torch.randn(3, 5, 4)).kept["0"] == (3, 4)


def test_skip_from_the_input_pins_the_width():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out = nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.out(x + self.fc(x))

    model = Skip()
    with pytest.raises(
        UnsupportedModelError, match="`fc` cannot be shrunk: its channels are mixed"
    ):
        shrink(model, plan_of(model, 0.5, only=["fc.weight"]), torch.randn(3, 6))


def test_other_precisions():
    model = mlp(nn.Sigmoid).double()
    plan = plan_of(model, only=hidden(model))
    assert shrink(model, plan, torch.randn(3, 7)).max_difference < 1e-14
    half = mlp(nn.Sigmoid).bfloat16()
    small = shrink(half, plan_of(half, only=hidden(half)), torch.randn(3, 7)).model
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}


# Any graph


class Net(nn.Module):
    """A forward function over named layers."""

    def __init__(self, way, **layers):
        super().__init__()
        self.way = way
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.way(self, *inputs)


def net(way, **layers):
    """Two layers of one width, put together by a function."""
    return Net(way, a=nn.Linear(4, 4), b=nn.Linear(4, 4), **layers)


class Attention(nn.Module):
    """Attention by hand, and two layers."""

    def __init__(self, width=8, hidden=20, heads=2):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        n, t, _ = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, self.size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.proj(y)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList([Attention(), Attention()])
        self.head = nn.Linear(8, 4)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def test_a_transformer_loses_its_hidden_units():
    """Their biases, through GELU, go to the next layer."""
    model, tokens = Encoder().train(), torch.randint(0, 11, (3, 6))
    result = same(
        model, plan_of(model, 0.25, only=[f"blocks.{i}.fc1.weight" for i in (0, 1)]), tokens
    )
    assert result.kept["blocks.0.fc1"] == (5, 8)
    assert result.kept["blocks.1.fc2"] == (8, 5)
    assert result.n_parameters_before - result.n_parameters == 2 * 15 * (8 + 1 + 8)
    assert all(module.training for module in result.model.modules())
    assert all(p.requires_grad and p.grad is None for p in result.model.parameters())


def test_a_head_that_nobody_hears_goes():
    model, tokens = Encoder(), torch.randint(0, 11, (3, 6))
    plan = masks(blocks_0_proj__input=((8, 8), 1, range(4)))
    result = same(model, plan, tokens)
    assert result.kept["blocks.0.qkv"] == (12, 8)
    assert result.model.blocks[0].heads == 1


def test_the_stream_of_a_transformer_stays():
    """Other layers write to the same places, which are then not zero, and it is normalised."""
    model, tokens = Encoder(), torch.randint(0, 11, (3, 6))
    plan = plan_of(model, only=["blocks.0.fc2.weight", "blocks.1.proj.weight"])
    with pytest.raises(UnsupportedModelError, match=r"`blocks\.0\.fc2`.*layer_norm"):
        shrink(model, plan, tokens)


@pytest.mark.parametrize("bias", [True, False])
def test_concatenation_and_batch_normalisation(bias):
    """Of no padding: constants of normalisation are the same everywhere."""
    model = randomize(
        Net(
            lambda m, x: m.out(torch.cat([F.relu(m.bn(m.a(x))), m.b(x)], 1)).amax((2, 3)),
            a=nn.Conv2d(2, 6, 3, bias=bias),
            bn=nn.BatchNorm2d(6),
            b=nn.Conv2d(2, 4, 3, bias=bias),
            out=nn.Conv2d(10, 3, 2, bias=bias),
        )
    )
    with torch.no_grad():
        model.bn.bias += 5
    result = same(model, plan_of(model, only=["a.weight", "b.weight"]), torch.randn(2, 2, 7, 7))
    assert result.kept == {"a": (3, 2), "b": (2, 2), "out": (3, 5)}
    assert result.model.out.bias is not None  # holds the constants


def test_depthwise_convolutions_and_two_inputs():
    model = Net(
        lambda m, x, y: m.out((m.deep(m.a(x)) + m.b(y)).flatten(1)),
        a=nn.Conv2d(2, 6, 1, bias=False),
        deep=nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
        b=nn.Conv2d(1, 6, 1, bias=False),
        out=nn.Linear(6 * 16, 5),
    )
    # unit 2 is zero in b alone
    plan = masks(a__unit=((6, 2), 1, [0, 2, 4, 5]), b__unit=((6, 1), 1, [0, 4, 5]))
    result = same(model, plan, (torch.randn(2, 2, 4, 4), torch.randn(2, 1, 4, 4)))
    assert result.kept["a"] == (4, 2)
    assert result.kept["deep"] == (4, 1)
    assert result.kept["out"] == (5, 4 * 16)


def test_what_varies_stays():
    """A bias that the model multiplies by its input is no constant."""
    model = Net(
        lambda m, x: m.b(m.a(x) * x.sum(1, keepdim=True)), a=nn.Linear(4, 6), b=nn.Linear(6, 2)
    )
    assert same(model, plan_of(model, only=["a.weight"]), torch.randn(3, 4)).kept["a"] == (6, 4)


def test_ties_stay():
    model = Net(
        lambda m, x: m.out(m.a(x) + m.b(x)),
        a=nn.Linear(4, 6),
        b=nn.Linear(4, 6),
        out=nn.Linear(6, 2),
    )
    model.b.weight = model.a.weight
    result = same(model, plan_of(model, only=["a.weight"]), torch.randn(3, 4))
    assert result.model.b.weight is result.model.a.weight
    assert result.kept["a"] == (6, 4)


def test_hooks_are_followed():
    model = net(lambda m, x: m.b(m.a(x)))
    model.a.register_forward_hook(lambda _module, _given, made: made.relu())
    plan = plan_of(model, only=["a.weight"])
    assert same(model, plan, torch.randn(3, 4)).kept["a"] == (2, 4)


# Refusals


MIXED, OUTPUTS = "its channels are mixed by", "its outputs are the network's"
REFUSED = {
    "normalised": (
        nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)),
        (3, 4),
        rf"`0`.*{MIXED} native_layer_norm of `1`",
    ),
    "twice": (net(lambda m, x: m.b(m.a(m.a(x)))), (3, 4), rf"`a`.*{OUTPUTS}"),
    "written size": (net(lambda m, x: m.b(m.a(x).view(-1, 4))), (3, 4), "`a`.*shape.*invalid"),
    "size": (
        net(lambda m, x: (lambda h: m.b(h) / h.shape[1])(m.a(x))),
        (3, 4),
        "`a`.*its outputs differ by a share of 1",
    ),
    "mean": (net(lambda m, x: m.b(m.a(x).mean(1, keepdim=True) + x)), (4, 4), f"`a`.*{MIXED} mean"),
    "not run": (net(lambda m, x: m.a(x)[:, :2]), (4, 4), "`b`, which is not run on the example"),
    "pool of channels": (
        nn.Sequential(nn.Conv1d(2, 4, 1), nn.MaxPool2d(2)),
        (2, 2, 6),
        f"`0`.*{MIXED} max_pool2d",
    ),
    "two outputs": (net(lambda m, x: (m.a(x), m.b(x))), (3, 4), f"`a`.*{OUTPUTS}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_units_that_stay_are_named_with_the_reason(case):
    model, shape, message = REFUSED[case]
    plan = plan_of(model, only=["0.weight" if "0" in dict(model.named_children()) else "a.weight"])
    with pytest.raises(UnsupportedModelError, match=message):
        shrink(model.eval(), plan, torch.randn(shape))


def test_the_check_refuses_what_differs(monkeypatch):
    """A defect of the surgery itself does not pass."""
    monkeypatch.setattr("prunable.nets.shrink.surgery._pads_with_zeros", lambda _: False)
    model = vgg(activation=nn.Sigmoid)
    with pytest.raises(UnsupportedModelError, match=r"`Sequential`.*output differs by"):
        shrink(model, plan_of(model), torch.randn(2, 3, 12, 12))


def test_bad_arguments():
    model = mlp(nn.ReLU)
    plan, x = plan_of(model), torch.randn(3, 7)
    with pytest.raises(InputError, match="`round_to` of `shrink` must be at least 1; got 0"):
        shrink(model, plan, x, round_to=0)
    with pytest.raises(InputError, match="`example` of `shrink` must be without empty tensors"):
        shrink(model, plan, torch.ones(0, 7))
    for bad in (torch.ones(3, 7, dtype=torch.int64), torch.randn(3, 8)):
        with pytest.raises(InputError, match=r"`example` of shape \(3, .\) does not fit"):
            shrink(model, plan, bad)
    with pytest.raises(InputError, match="does not fit the model"):
        shrink(vgg(), plan, x)


@pytest.mark.parametrize("axis", ["unit", "input"])
def test_resnet20_shrinks_and_computes_the_same(axis):
    """Padded shortcuts tie the stages together, so that only the blocks' insides shrink."""
    model = resnet20(3, 10, width=4, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    for name, tensor in model.named_buffers():
        if "running" in name:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    matrices = [(n, p) for n, p in model.named_parameters() if p.ndim == 4]
    plan = NodePruning(axis=axis).plan(views_of(matrices), Keep(0.5), rng=rng(0))
    result = shrink(model, plan, torch.randn(2, 3, 16, 16, generator=generator))
    assert result.max_difference < 1e-12
    inside = [result.kept[name][0] for name in result.kept if name.endswith("conv1")]
    assert inside == [2, 2, 2, 4, 4, 4, 8, 8, 8] or axis == "input"
    assert result.n_parameters < 0.6 * result.n_parameters_before
    assert result.kept["conv"][0] == 4
