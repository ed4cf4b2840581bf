"""Noise on optimizers: what is noised, with what scale, and exact resumption."""

import copy
import math

import pytest
import torch
from torch import nn

from prunable.errors import InputError
from prunable.nets.train.noise import HeavyTailedNoise, attach_noise, validate
from prunable.nets.train.sampling import add_stable_
from prunable.numerics.randomness import child_seed


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 3, 3),
        nn.Flatten(),
        nn.Linear(12, 6),
        nn.BatchNorm1d(6),
        nn.Linear(6, 2),
    )


def quiet_step(optimizer):
    """One step with zero gradients: plain SGD then moves nothing but the noise."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


def test_validate_lists_every_parameter_with_its_reason():
    model = network()
    model[4].bias.requires_grad_(False)
    held = [p for name, p in model.named_parameters() if name != "5.weight"]
    reports = {r.name: r for r in validate(model, torch.optim.SGD(held, lr=0.1))}
    assert list(reports) == [name for name, _ in model.named_parameters()]
    assert {name for name, r in reports.items() if r.noised} == {"2.weight", "4.weight"}
    reasons = {name: r.reason for name, r in reports.items()}
    assert reasons["0.weight"] == "it is the first convolution"
    assert reasons["6.weight"] == "it is the output layer"
    assert reasons["4.bias"] == "it is frozen"
    assert reasons["5.weight"] == "the optimizer does not hold it"
    assert "bias" in reasons["2.bias"]
    assert str(reports["6.weight"]) == (
        "6.weight [2, 6]: not noised, because it is the output layer"
    )
    assert str(reports["4.weight"]) == "4.weight [6, 12]: noised"


def test_attach_noises_exactly_what_validate_says():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reports = validate(model, optimizer)
    handle = attach_noise(
        optimizer, model.named_parameters(), HeavyTailedNoise("type2", 1.7, 1.0), seed=1
    )
    assert handle.reports == reports
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    quiet_step(optimizer)
    for report in reports:
        moved = not torch.equal(before[report.name], model.get_parameter(report.name))
        assert moved == report.noised, report.name


def test_noise_is_the_papers_increment():
    weight = nn.Parameter(torch.zeros(50, 20, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    noise = HeavyTailedNoise("type1", alpha=1.6, sigma=2.0, lr_multiplier=30.0)
    attach_noise(optimizer, [("theta", weight)], noise, seed=4)
    quiet_step(optimizer)
    expected = torch.zeros_like(weight)
    seed = child_seed(4, "noise", "theta", 0)
    add_stable_(expected, 1.6, scale=2.0 * 0.01 ** (1 / 1.6), kind="shared", seed=seed)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-14, atol=0)
    assert torch.equal(weight[:, :1].expand_as(weight), weight)


def test_groups_and_schedulers_set_the_scale():
    slow, fast = (nn.Parameter(torch.zeros(8, 8, dtype=torch.float64)) for _ in range(2))
    groups = [{"params": [slow], "lr": 0.01}, {"params": [fast], "lr": 0.16}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.25)
    attach_noise(
        optimizer,
        [("slow", slow), ("fast", fast)],
        HeavyTailedNoise("type2", 2.0, 1.0),
        seed=0,
        only=["slow", "fast"],
    )
    for step, lrs in enumerate([(0.01, 0.16), (0.0025, 0.04)]):
        before = slow.detach().clone(), fast.detach().clone()
        quiet_step(optimizer)
        scheduler.step()
        for name, parameter, old, lr in zip(
            ("slow", "fast"), (slow, fast), before, lrs, strict=True
        ):
            expected = old.clone()
            seed = child_seed(0, "noise", name, step)
            add_stable_(expected, 2.0, scale=math.sqrt(lr), kind="iid", seed=seed)
            torch.testing.assert_close(parameter.detach(), expected)


def test_kernels_share_one_scalar_each():
    weight = nn.Parameter(torch.zeros(4, 3, 2, 2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    noise = HeavyTailedNoise("type1", 1.5, 1.0, vectors="kernel")
    attach_noise(optimizer, [("conv", weight)], noise, seed=0)
    quiet_step(optimizer)
    assert weight.detach().flatten(2).unique(dim=2).shape[2] == 1
    assert weight.detach().unique().numel() == 12


def test_removed_noise_is_gone():
    weight = nn.Parameter(torch.zeros(4, 4))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    handle = attach_noise(optimizer, [("w", weight)], HeavyTailedNoise("type2", 1.5, 1.0), seed=0)
    handle.remove()
    quiet_step(optimizer)
    assert torch.equal(weight.detach(), torch.zeros(4, 4))
    assert "heavy_tailed_noise" not in optimizer.state_dict()


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_resuming_from_state_dicts_is_bit_for_bit(optimizer_class):
    torch.manual_seed(1)
    x, y = torch.randn(64, 10), torch.randint(0, 3, (64,))

    def fresh():
        torch.manual_seed(2)
        model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 3))
        optimizer = optimizer_class(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
        attach_noise(
            optimizer, model.named_parameters(), HeavyTailedNoise("type3", 1.6, 0.1), seed=9
        )
        return model, optimizer, scheduler

    def advance(model, optimizer, scheduler, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            scheduler.step()

    whole = fresh()
    advance(*whole, 10)
    first = fresh()
    advance(*first, 4)
    states = copy.deepcopy([part.state_dict() for part in first])
    resumed = fresh()
    for part, state in zip(resumed, states, strict=True):
        part.load_state_dict(state)
    advance(*resumed, 6)
    for a, b in zip(whole[0].parameters(), resumed[0].parameters(), strict=True):
        assert torch.equal(a, b)


def attached(kind="type1", alpha=1.8, sigma=0.1, seed=0):
    weight = nn.Parameter(torch.zeros(4, 4))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    attach_noise(optimizer, [("w", weight)], HeavyTailedNoise(kind, alpha, sigma), seed=seed)
    return optimizer


def test_state_of_other_noise_is_refused():
    with pytest.raises(InputError, match=r"alpha: stored 1\.7, here 1\.8"):
        attached().load_state_dict(attached(alpha=1.7).state_dict())
    with pytest.raises(InputError, match="seed"):
        attached().load_state_dict(attached(seed=1).state_dict())
    plain = torch.optim.SGD([nn.Parameter(torch.zeros(4, 4))], lr=0.1)
    with pytest.raises(InputError, match="without heavy-tailed noise"):
        attached().load_state_dict(plain.state_dict())


def test_misuse_is_refused():
    optimizer = attached()
    weight = optimizer.param_groups[0]["params"][0]
    noise = HeavyTailedNoise("type1", 1.8, 0.1)
    with pytest.raises(InputError, match="attached already"):
        attach_noise(optimizer, [("w", weight)], noise, seed=0)
    other = torch.optim.SGD([weight, nn.Parameter(torch.zeros(2, 2))], lr=0.1)
    with pytest.raises(InputError, match="1 parameter"):
        attach_noise(other, [("w", weight)], noise, seed=0)
    bias = nn.Parameter(torch.zeros(4))
    with pytest.raises(InputError, match=r"no parameter to noise.*bias"):
        attach_noise(torch.optim.SGD([bias], lr=0.1), [("b", bias)], noise, seed=0)
    with pytest.raises(InputError, match=r"\['v'\]"):
        attach_noise(torch.optim.SGD([weight], lr=0.1), [("w", weight)], noise, seed=0, only=["v"])
    with pytest.raises(InputError, match="seed"):
        attach_noise(torch.optim.SGD([weight], lr=0.1), [("w", weight)], noise, seed=-1)


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"alpha": 0}, "alpha"),
        ({"alpha": 2.1}, "alpha"),
        ({"sigma": -0.1}, "sigma"),
        ({"sigma": math.nan}, "sigma"),
        ({"kind": "type4"}, "kind"),
        ({"lr_multiplier": 0.0}, "lr_multiplier"),
        ({"vectors": "row"}, "vectors"),
    ],
)
def test_bad_law_is_named(change, culprit):
    with pytest.raises(InputError, match=f"`{culprit}`"):
        HeavyTailedNoise(**({"kind": "type1", "alpha": 1.8, "sigma": 0.1} | change))
