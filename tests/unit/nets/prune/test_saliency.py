"""Saliencies against autograd example by example, and pruning by them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from prunable.errors import InputError
from prunable.nets.networks.views import WeightView
from prunable.nets.prune.plan import Error, Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.saliency import fisher_saliency, gradient_saliency
from prunable.nets.prune.strategies import SaliencyPruning
from prunable.numerics.randomness import rng


@pytest.fixture
def problem():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 9), torch.nn.BatchNorm1d(9), torch.nn.ReLU(), torch.nn.Linear(9, 3)
    ).eval()
    return model, torch.randn(50, 6), torch.randint(0, 3, (50,))


def test_fisher_is_the_mean_of_squared_gradients(problem):
    model, x, y = problem
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for example, label in zip(x, y, strict=True):
        model.zero_grad()
        functional.cross_entropy(model(example[None]), label[None]).backward()
        for name, p in model.named_parameters():
            expected[name] += p.detach() ** 2 * p.grad**2 / 100
    found = fisher_saliency(model, x, y, chunk=7)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=2e-4, atol=1e-9)


def test_gradient_saliency_is_weight_times_gradient(problem):
    model, x, y = problem
    model.zero_grad()
    functional.cross_entropy(model(x), y).backward()
    found = gradient_saliency(model, x, y, chunk=16)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name], (p.detach() * p.grad).abs(), rtol=2e-4, atol=1e-8)


def test_model_is_left_alone(problem):
    model, x, y = problem
    before = {name: p.clone() for name, p in model.state_dict().items()}
    fisher_saliency(model, x, y)
    gradient_saliency(model, x, y)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_pruning_keeps_the_most_salient(problem):
    model, x, y = problem
    saliencies = fisher_saliency(model, x, y)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    result = prune(
        model,
        SaliencyPruning(saliencies, "hessian"),
        Keep(0.3, scope="global"),
        only=["0.weight", "3.weight"],
    )
    assert result.plan.method == "hessian"
    pooled = np.concatenate([saliencies[n].ravel() for n in ("0.weight", "3.weight")])
    threshold = np.sort(pooled)[::-1][int(np.ceil(0.3 * pooled.size)) - 1]
    for name in ("0.weight", "3.weight"):
        kept = torch.from_numpy(saliencies[name] >= threshold)
        assert torch.equal(model.get_parameter(name), torch.where(kept, before[name], 0.0))


def test_hessian_and_oracle_of_a_linear_problem_prune_the_right_ones():
    """With independent features the oracle keeps the largest share of the explained variance."""
    r = rng(0, "linear")
    variances, beta = r.uniform(0.1, 10, 40), r.standard_normal(40)
    x = r.standard_normal((4000, 40)) * np.sqrt(variances)
    estimate = np.linalg.lstsq(x, x @ beta, rcond=None)[0]
    view = WeightView("beta", estimate[None])
    scores = {"beta": (x**2).mean(axis=0) * estimate**2}
    hessian = SaliencyPruning(scores, "hessian").plan([view], Keep(0.25), rng=rng(0)).layers[0]
    oracle = np.argsort(-variances * beta**2)[:10]
    assert len(set(np.flatnonzero(hessian.kept)) & set(oracle)) >= 9


@pytest.mark.parametrize(
    ("saliencies", "budget"),
    [
        ({}, Keep(0.5)),
        ({"w": np.ones((2, 2))}, Keep(0.5)),
        ({"w": -np.ones((3, 4))}, Keep(0.5)),
        ({"w": np.full((3, 4), np.nan)}, Keep(0.5)),
        ({"w": np.ones((3, 4))}, Error(0.1)),
    ],
)
def test_mistakes_raise(saliencies, budget):
    with pytest.raises(InputError):
        SaliencyPruning(saliencies).plan([WeightView("w", np.ones((3, 4)))], budget, rng=rng(0))
