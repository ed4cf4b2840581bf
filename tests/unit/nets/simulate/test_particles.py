"""Particle systems: drift, coupling of steps and widths, limit, divergence."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from prunable.errors import InputError
from prunable.nets.simulate.particles import (
    MeanFieldProblem,
    StableDrive,
    System,
    initial_particles,
    mean_field_path,
    simulate,
)
from prunable.numerics.stable import StableLaw

ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
F64 = torch.float64


def problem(loss="squared", activation="tanh", weight_decay=0.0, m=7, p=3):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(m, p, dtype=F64, generator=generator)
    outputs = 1
    y = torch.randn(m, 1, dtype=F64, generator=generator)
    if loss == "logistic":
        y = y.sign()
    elif loss == "cross-entropy":
        outputs, y = 3, torch.arange(m) % 3
    return MeanFieldProblem(x, y, activation, loss, outputs, weight_decay)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["squared", "logistic", "cross-entropy"])
def test_drift_is_minus_n_times_the_gradient(loss, activation):
    at = problem(loss, activation, weight_decay=0.3)
    theta, c = initial_particles(at, 2, 5, seed=0, readout=2.0)
    theta.requires_grad_()
    f = ACTIVATIONS[activation](theta @ at.inputs.T).mT @ c / 5
    if loss == "squared":
        risk = ((f - at.targets) ** 2 / 2).mean(dim=1).sum()
    elif loss == "logistic":
        risk = torch.nn.functional.softplus(-at.targets * f).mean(dim=1).sum()
    else:
        risk = sum(torch.nn.functional.cross_entropy(one, at.targets) for one in f)
    risk.backward()
    move, field = at.drift(theta.detach(), c)
    assert torch.allclose(move, -5 * theta.grad - 0.3 * theta.detach(), atol=1e-13)
    assert torch.allclose(field, f.detach(), atol=1e-13)
    assert torch.allclose(at.predictions(theta.detach(), c), f.detach(), atol=1e-13)


def test_scheme_repeats_equation_2():
    at, drive = problem(), StableDrive(1.7, 0.4, "type2")
    theta, c = initial_particles(at, 1, 6, seed=3)
    increments = []
    plain = simulate(
        at, StableDrive(1.7, 0.0, "type2"), [System(6)], theta, c, eta=0.1, steps=1, seed=5
    )[0]
    noisy = simulate(at, drive, [System(6)], theta, c, eta=0.1, steps=1, seed=5)[0]
    increments.append(noisy - plain)
    assert torch.allclose(plain, theta + 0.1 * at.drift(theta, c)[0], atol=1e-14)
    # one step with pure noise, far apart seeds, differ; equal seeds repeat
    again = simulate(at, drive, [System(6)], theta, c, eta=0.1, steps=1, seed=5)[0]
    other = simulate(at, drive, [System(6)], theta, c, eta=0.1, steps=1, seed=6)[0]
    assert torch.equal(noisy, again)
    assert not torch.allclose(noisy, other)


@pytest.mark.parametrize("noise", ["type1", "type2", "type3"])
def test_noise_accumulates_to_the_stable_law_of_the_horizon(noise):
    """Without drift theta_T - theta_0 = sigma T^(1/alpha) X; KS on 4,000 particles, 1e-6."""
    x = torch.zeros(2, 2, dtype=F64)
    at = MeanFieldProblem(x, torch.zeros(2, 1, dtype=F64))
    theta, c = initial_particles(at, 2, 2000, seed=0)
    alpha, horizon, sigma = 1.6, 0.7, 0.5
    drive = StableDrive(alpha, sigma, noise)
    end = simulate(at, drive, [System(2000)], theta, c, eta=horizon / 14, steps=14, seed=1)[0]
    moved = (end - theta).reshape(-1, 2).numpy() / (sigma * horizon ** (1 / alpha))
    law = StableLaw(alpha)
    assert stats.kstest(moved[:, 0], law.cdf).pvalue > 1e-6
    both = moved.sum(axis=1) / {"type1": 2, "type2": 2 ** (1 / alpha), "type3": 2**0.5}[noise]
    assert stats.kstest(both, law.cdf).pvalue > 1e-6
    assert np.allclose(moved[:, 0], moved[:, 1]) == (noise == "type1")


def test_coarse_noise_is_the_sum_of_fine_noise():
    x = torch.zeros(2, 2, dtype=F64)
    at = MeanFieldProblem(x, torch.zeros(2, 1, dtype=F64))
    theta, c = initial_particles(at, 3, 4, seed=0)
    fine, coarse = simulate(
        at, StableDrive(1.5), [System(4), System(4, 4)], theta, c, eta=0.1, steps=8, seed=1
    )
    assert torch.allclose(fine, coarse, atol=1e-12)


def test_systems_do_not_depend_on_their_company():
    at, drive = problem(), StableDrive(1.8, 0.3)
    theta, c = initial_particles(at, 3, 8, seed=0)
    run = {"eta": 0.05, "steps": 4, "seed": 2}
    alone = simulate(at, drive, [System(8)], theta, c, **run)[0]
    small, large = simulate(at, drive, [System(4, 2), System(8)], theta, c, **run)
    assert torch.allclose(alone, large, atol=1e-13)
    assert small.shape == (3, 4, 3)
    assert torch.equal(theta, initial_particles(at, 3, 8, seed=0)[0])


def test_a_system_driven_by_its_own_path_is_itself():
    at, drive = problem(), StableDrive(1.8, 0.3)
    theta, c = initial_particles(at, 1, 16, seed=0)
    run = {"eta": 0.05, "steps": 4, "seed": 0}
    path = mean_field_path(at, drive, width=16, **run)
    own, driven = simulate(at, drive, [System(16), System(16, path=path)], theta, c, **run)
    assert torch.allclose(own, driven, atol=1e-12)


def test_observer_sees_all_systems_when_they_meet():
    at = problem()
    theta, c = initial_particles(at, 1, 4, seed=0)
    seen = []
    simulate(
        at,
        StableDrive(1.8),
        [System(4), System(2, 4)],
        theta,
        c,
        eta=0.1,
        steps=8,
        seed=0,
        observe=lambda done, state: seen.append((done, [s.shape[1] for s in state])),
    )
    assert seen == [(4, [4, 2]), (8, [4, 2])]


def test_euler_error_without_noise_is_of_first_order():
    at = problem()
    theta, c = initial_particles(at, 4, 8, seed=0, readout=3.0)
    *ends, fine = simulate(
        at,
        StableDrive(1.8, 0.0),
        [System(8, 16), System(8, 8), System(8)],
        theta,
        c,
        eta=1 / 1024,
        steps=1024,
        seed=0,
    )
    # errors from the fine system: eta - 1/1024 at eta = 1/64 and 1/128
    errors = [float((end - fine).norm()) for end in ends]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(math.log2(15 / 7), abs=0.03)


def test_divergence_names_the_step():
    at = problem(activation="relu")
    theta, c = initial_particles(at, 1, 4, seed=0, readout=5.0)
    with pytest.raises(InputError, match=r"diverged at step \d+ .*eta \* n = 4000") as found:
        simulate(at, StableDrive(1.8), [System(4)], theta, c, eta=1000.0, steps=200, seed=0)
    assert "`eta`" in str(found.value)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.1, math.nan])
def test_noise_without_mean_is_refused(alpha):
    with pytest.raises(InputError, match="no mean"):
        StableDrive(alpha)


def test_bad_settings_are_refused():
    at, drive = problem(), StableDrive(1.8)
    theta, c = initial_particles(at, 1, 4, seed=0)
    good = {"eta": 0.1, "steps": 4, "seed": 0}
    path = torch.zeros(3, 7, 1, dtype=F64)
    for systems, change, name in (
        ([System(5)], {}, "width"),
        ([System(0)], {}, "width"),
        ([System(4, 3)], {}, "every"),
        ([System(4, path=path)], {}, "path"),
        ([], {}, "systems"),
        ([System(4)], {"eta": 0.0}, "eta"),
        ([System(4)], {"eta": math.inf}, "eta"),
        ([System(4)], {"steps": 0}, "steps"),
    ):
        with pytest.raises(InputError, match=f"`{name}`"):
            simulate(at, drive, systems, theta, c, **(good | change))
    with pytest.raises(InputError, match="theta"):
        simulate(at, drive, [System(4)], theta[..., :2], c, **good)
    with pytest.raises(InputError, match="replicas"):
        initial_particles(at, 0, 4, seed=0)
    with pytest.raises(InputError, match="sigma"):
        StableDrive(1.8, -1.0)
    with pytest.raises(InputError, match="noise"):
        StableDrive(1.8, 1.0, "type4")
    x, y = at.inputs, at.targets
    for change, name in (
        ({"activation": "cosine"}, "activation"),
        ({"loss": "hinge"}, "loss"),
        ({"inputs": x * math.nan}, "inputs"),
        ({"targets": y[:3]}, "targets"),
        ({"loss": "logistic"}, "targets"),
        ({"weight_decay": -1.0}, "weight_decay"),
    ):
        with pytest.raises(InputError, match=f"`{name}`"):
            MeanFieldProblem(**({"inputs": x, "targets": y} | change))
