"""The generalization bound of noisy SGD through the 2021 paper, worked out directly."""

import math

import numpy as np
import pytest

from prunable.certify.bounds.noisy_sgd import noisy_sgd_bound
from prunable.errors import InputError

RNG = np.random.default_rng(3)
UNITS, INPUTS, CLASSES = 40, 6, 3
HIDDEN = RNG.standard_normal((UNITS, INPUTS)) * RNG.pareto(1.5, (UNITS, 1))
OUTPUT = RNG.uniform(-1, 1, (CLASSES, UNITS)) / UNITS
MARGINS = RNG.normal(2, 1, 900)


def bound(**changes):
    given = {
        "kappa": 0.33,
        "epsilon": 0.3,
        "alpha": 1.75,
        "lr": 1e-4,
        "input_norm": 1.5,
        "tau": 0.4,
    }
    return noisy_sgd_bound(MARGINS, HIDDEN, OUTPUT, **(given | changes))


def test_it_is_theorem_5_of_two_layers():
    """floor(.33 * 40) = 13 units and all of the output layer are kept; H1 fails with epsilon."""
    result, n = bound(), len(MARGINS)
    d = HIDDEN.size + OUTPUT.size
    kappa = (13 * INPUTS + OUTPUT.size) / d
    radius = math.sqrt((HIDDEN**2).sum() + (OUTPUT**2).sum())
    entropy = -kappa * math.log(kappa) - (1 - kappa) * math.log(1 - kappa)
    share = kappa + (2 * entropy - kappa * math.log(kappa)) / math.log(n)
    lipschitz = math.sqrt(2) * 1.5 * 2 * (2 * radius / math.sqrt(2)) / 0.4
    gamma = 0.4 + math.sqrt(2) * 1.5 * (radius / math.sqrt(2)) ** 2 * (1.3**2 - 1)
    complexity = (12 * lipschitz * radius + math.sqrt(d)) * math.sqrt(share * math.log(n) / n)
    assert result.value == pytest.approx(np.mean(gamma >= MARGINS) + complexity, rel=1e-10)
    assert result.delta == pytest.approx(0.05 + 0.3 + 2 * math.exp(-kappa * d / 2))


def test_its_conditions_are_theorem_3_1_s():
    found = {a.name: a for a in bound().assumptions}
    step = found["eta <= n^(-alpha/2 - 1)"]
    # 40^-1.875 = 9.9e-4
    assert step.status == "holds"
    broken = {a.name: a for a in bound(lr=0.01).violated}
    excess = broken["eta <= n^(-alpha/2 - 1)"].excess
    assert math.exp(excess) == pytest.approx(0.01 * 40**1.875)
    assert found["n is at least N(kappa, epsilon, t)"].status == "unchecked"
    # the theorem's own activations are not those of theorem 5
    assert any("ReLU" in name and "bounded" in name for name in broken)
    norms = np.sort(np.linalg.norm(HIDDEN, axis=1))
    error = np.linalg.norm(norms[:-13]) / np.linalg.norm(norms)
    small = {a.name: a for a in bound(epsilon=error / 2).violated}
    (missed,) = (a for name, a in small.items() if name.startswith("H1"))
    assert math.exp(missed.excess) == pytest.approx(2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kappa": 0.01}, "`kappa`.*one of 40 units"),
        ({"epsilon": 0.97}, "`epsilon`"),
        ({"lr": 0.0}, "`lr`"),
        ({"alpha": 2.5}, "`alpha`"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(InputError, match=message):
        bound(**change)


def test_the_layers_must_meet():
    with pytest.raises(InputError, match=r"`output`.*40 columns"):
        noisy_sgd_bound(
            MARGINS,
            HIDDEN,
            OUTPUT[:, 1:],
            kappa=0.5,
            epsilon=0.1,
            alpha=1.5,
            lr=1e-4,
            input_norm=1.0,
        )
