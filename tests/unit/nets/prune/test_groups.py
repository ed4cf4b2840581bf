"""Groups of coupled units: expected by hand on small networks, and cut with proof."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.networks.examples import run
from prunable.nets.prune.cutting import cut_groups
from prunable.nets.prune.grouped import Group, GroupPlan
from prunable.nets.prune.groups import Groups, groups_of
from prunable.nets.prune.masks import mask_groups_


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.one, self.two = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn(self.stem(x)))
        x = x + self.two(functional.relu(self.one(x)))
        return self.head(x.mean((2, 3)))


class PaddedShortcut(nn.Module):
    """A shortcut that pads channels with zeros: only those it carries are coupled."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.a(x))
        return self.head((self.b(x) + functional.pad(x, (0, 0, 0, 0, 2, 2))).mean((2, 3)))


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.deep = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 3, padding=1, groups=6)
        self.down = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.hardswish(self.deep(functional.relu6(self.up(x))))).mean((2, 3))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.c = nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(functional.relu(self.b(functional.relu(self.a(x))))).mean((2, 3))


class Concatenated(nn.Module):
    """Halves, one of them worked on, put together again, as in C2f."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.c = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.a(x).relu().chunk(2, 1)
        return self.c(torch.cat([one, two, self.b(two).sigmoid()], 1)).mean((2, 3))


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.both, self.down = nn.Linear(6, 16), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.both(x).chunk(2, -1)
        return self.down(functional.silu(gate) * value)


class GroupedQueries(nn.Module):
    """Four heads of queries on two of keys and values, with a rotation and a norm in each head."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = 4, 2, 6
        self.q, self.k, self.v = nn.Linear(10, 24), nn.Linear(10, 12), nn.Linear(10, 12)
        self.norm, self.out = nn.RMSNorm(6), nn.Linear(24, 10)
        self.register_buffer("angles", torch.linspace(0.1, 1.0, 6))

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q = self.norm(self.q(x).view(b, n, self.heads, self.size)).transpose(1, 2)
        k = self.norm(self.k(x).view(b, n, self.kv_heads, self.size)).transpose(1, 2)
        v = self.v(x).view(b, n, self.kv_heads, self.size).transpose(1, 2)
        turn = (torch.arange(n)[:, None] * self.angles).cos()
        times = self.heads // self.kv_heads
        k, v = (t.repeat_interleave(times, 1) for t in (k * turn, v))
        return self.out(
            functional.scaled_dot_product_attention(q * turn, k, v)
            .transpose(1, 2)
            .reshape(b, n, -1)
        )


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.cells = kind(6, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(self.words(x))[0][:, -1])


class Shared(nn.Module):
    """One layer used twice on its own output, and tied to the head."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(12, 6), nn.Linear(6, 6)
        self.head = nn.Linear(6, 12, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.words(x)
        return self.head(self.mix(self.mix(x).relu()).relu() + x)


class NormGroups(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv1d(2, 12, 3), nn.GroupNorm(4, 12), nn.Conv1d(12, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.gelu(self.norm(self.a(x)))).mean(-1)


class Upwards(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up, self.last = nn.ConvTranspose2d(4, 6, 2, stride=2), nn.Conv2d(10, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = functional.leaky_relu(self.down(x))
        wide = functional.interpolate(low, scale_factor=2, mode="bilinear")
        return self.last(torch.cat([self.up(low), wide], 1))


PICTURE, TOKENS = torch.randn(2, 3, 8, 8), torch.randint(0, 12, (2, 5))
# name: network, example, units of each group by hand, kept share of parameters at half of them
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor, dict[str, int], int]] = {
    "residual": (Residual, PICTURE, {"stem": 8, "one": 6}, 4 * 27 + 8 + 111 + 112 + 25),
    "padded": (PaddedShortcut, PICTURE, {"a": 4}, 2 * 28 + 6 * 2 * 9 + 6 + 14),
    "depthwise": (Depthwise, PICTURE, {"up": 6}, 12 + 6 * 10 + 4 * 7),
    "grouped": (Grouped, PICTURE, {"a": 4, "b": 6}, 16 + 6 * 18 + 6 + 4 * 7),
    "concatenated": (Concatenated, PICTURE, {"a": 4, "b": 4}, 16 + 2 * 19 + 2 * 7),
    "gated": (Gated, torch.randn(3, 6), {"both": 8}, 8 * 7 + 3 * 5),
    "queries": (GroupedQueries, torch.randn(2, 5, 10), {"q": 2}, 12 * 11 + 12 * 11 + 6 + 10 * 13),
    "shared": (Shared, TOKENS, {"words": 6}, 12 * 3 + 3 * 4),
    "norm groups": (NormGroups, torch.randn(2, 2, 9), {"a": 4}, 6 * 7 + 12 + 3 * 19),
    "upwards": (Upwards, PICTURE, {"down": 4, "up": 6}, 2 * 28 + 2 * 3 * 4 + 3 + 2 * 6),
}


def half(groups: tuple[Group, ...]) -> list[GroupPlan]:
    return [GroupPlan(group, np.arange(group.n_units) % 2 == 0) for group in groups]


def sizes(found: Groups) -> dict[str, int]:
    return {group.name: group.n_units for group in found.groups}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_units_of_a_network_are_those_found_by_hand_and_half_of_them_are_cut(name: str) -> None:
    build, example, expected, kept = NETWORKS[name]
    torch.manual_seed(0)
    model = build()
    before = {n: p.clone() for n, p in model.state_dict().items()}
    found = groups_of(model, example)
    assert sizes(found) == expected
    small, difference, _ = cut_groups(model, half(found.groups), example)
    assert parameters(small) == kept
    # another input than that of the proof
    masked = build()
    masked.load_state_dict(before)
    mask_groups_(dict(masked.named_parameters()), half(found.groups))
    other = example.flip(0) if not example.is_floating_point() else 2 * torch.randn_like(example)
    torch.testing.assert_close(small.eval()(other), masked.eval()(other), rtol=1e-4, atol=1e-5)
    assert difference < 1e-5
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[key])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_units_go_with_all_their_gates(kind: type[nn.RNNBase]) -> None:
    model = Recurrent(kind)
    found = groups_of(model, TOKENS)
    assert sorted(group.n_units for group in found.groups) == [6, 8, 8, 8, 8]
    small, _, _ = cut_groups(model, half(found.groups), TOKENS)
    fresh = kind(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    cells = small.get_submodule("cells")
    assert {n: p.shape for n, p in cells.named_parameters()} == {
        n: p.shape for n, p in fresh.named_parameters()
    }
    assert cells.hidden_size == 4
    assert cells.input_size == 3


def test_ties_stay_ties() -> None:
    model = Shared()
    found = groups_of(model, TOKENS)
    small, _, _ = cut_groups(model, half(found.groups), TOKENS)
    assert small.head.weight is small.words.weight


def test_layers_that_stay_are_named_with_their_reason() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm, self.b = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.norm(self.a(x)))

    found = groups_of(Normed(), torch.randn(2, 4))
    assert found.groups == ()
    reasons = {left.name: left.reason for left in found.left}
    assert "layer_norm" in reasons["a"]
    assert "`norm`" in reasons["a"]
    assert "outputs" in reasons["b"]


def test_units_whose_number_is_written_down_are_refused_with_the_cause() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).reshape(-1, 6))

    found = groups_of(Fixed(), torch.randn(2, 4))
    assert found.groups == ()
    assert any("does not run" in left.reason for left in found.left)
    assert sizes(groups_of(Fixed(), torch.randn(2, 4), shrinkable=False)) == {"a": 6}


def test_an_example_that_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match=r"`example` of shape \(2, 5\) does not fit"):
        groups_of(nn.Linear(4, 2), torch.randn(2, 5))


def test_modes_and_the_cache_setting_are_as_before() -> None:
    model = Residual().train()
    model.bn.eval()
    groups_of(model, PICTURE)
    assert model.training
    assert not model.bn.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_several_inputs_by_name() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, left: Tensor, right: Tensor | None = None) -> dict[str, Tensor]:
            hidden = self.a(left)
            return {"out": self.c(hidden if right is None else hidden * self.b(right))}

    example = {"left": torch.randn(2, 4), "right": torch.randn(2, 3)}
    model = Two()
    found = groups_of(model, example)
    assert sizes(found) == {"a": 6}
    small, _, _ = cut_groups(model, half(found.groups), example)
    assert run(small, example)["out"].shape == (2, 2)
    assert small.b.out_features == 3


def test_operations_that_are_not_followed_are_named() -> None:
    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.fft.rfft(self.a(x)).abs())

    (left, *_) = groups_of(Spectral(), torch.randn(2, 4)).left
    assert left.name == "a"
    assert "fft_r2c" in left.reason


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
def test_compiled_programs_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4), torch.jit.script(nn.Linear(4, 2)))
    with pytest.raises(UnsupportedModelError, match="`1` is a compiled program"):
        groups_of(model, torch.randn(2, 4))


class Attending(nn.Module):
    """Two blocks of attention that remember their number of heads, with small weights."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.h, self.scale = 4, scale
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.h, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1)
        return x + self.scale * self.proj(y)


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_a_network_blind_to_its_heads_still_forgets_the_old_number_of_them(scale: float) -> None:
    model, example = Attending(scale), torch.randn(2, 5, 16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    found = groups_of(model, example)
    small, _, _ = cut_groups(model, half(found.groups), example)
    assert small.h == 2
    masked = Attending(scale)
    masked.load_state_dict(model.state_dict())
    mask_groups_(dict(masked.named_parameters()), half(found.groups))
    other = torch.randn(3, 7, 16).double()
    ours, theirs = (net.double()(other) - other for net in (small, masked))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-15)


class Put(nn.Module):
    """A network whose outputs leave in some way."""

    def __init__(self, how: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.a, self.b, self.how = nn.Linear(4, 6), nn.Linear(6, 8), how

    def forward(self, x: Tensor) -> object:
        return self.how(self.b(torch.relu(self.a(x))))


@pytest.mark.parametrize(
    "how",
    [
        lambda y: y.gather(1, torch.tensor([[1], [2]])),
        lambda y: y[torch.arange(2), torch.tensor([1, 2])],
        lambda y: y[:, :3],
        lambda y: SimpleNamespace(scores=y),
        lambda y: {"a": [y, {"b": y[:, 0]}]},
    ],
)
def test_outputs_stay_however_they_leave(how: Callable[[Tensor], object]) -> None:
    assert sizes(groups_of(Put(how), torch.randn(2, 4))) == {"a": 6}


def test_outputs_that_cannot_be_seen_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="holds no tensors"):
        groups_of(Put(lambda y: y.tolist()), torch.randn(2, 4))


def test_parameters_on_one_memory_are_one() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    model[2].weight = nn.Parameter(model[0].weight.data)
    found = groups_of(model, torch.randn(2, 8))
    assert found.groups == ()


def test_heads_that_only_training_has_keep_what_they_give() -> None:
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.aux = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> object:
            h = torch.relu(self.a(x))
            return (self.b(h), self.aux(functional.dropout(h))) if self.training else self.b(h)

    model = Auxiliary()
    found = groups_of(model, torch.randn(2, 4))
    assert sizes(found) == {"a": 6}
    small, _, _ = cut_groups(model.train(), half(found.groups), torch.randn(2, 4))
    assert small.aux.weight.shape == (5, 3)
    small(torch.randn(2, 4))


def test_an_example_that_shows_nothing_is_refused() -> None:
    model = nn.Sequential(nn.Embedding(5, 6), nn.Linear(6, 3))
    model.register_forward_hook(lambda *given: given[-1] * float("nan"))
    with pytest.raises(InputError, match="shows nothing"):
        groups_of(model, torch.zeros(1, 2, dtype=torch.int64))


def test_networks_of_one_precision_are_proved_in_it() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)) @ torch.eye(6)[:, :6].to(torch.float32))

    class Plain(Single):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype != torch.float32:
                raise TypeError("only float32")
            return self.b(torch.relu(self.a(x)))

    assert sizes(groups_of(Plain(), torch.randn(2, 4))) == {"a": 6}
    assert groups_of(Single(), torch.randn(2, 4)).groups == ()  # a matrix of fixed size reads them
