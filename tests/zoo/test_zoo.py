"""The zoo: architectures that people have, each through everything; see `tests.zoo.trial`."""

import pytest
import torch
from tests.zoo.architectures import QUICK, ZOO
from tests.zoo.building import SEED, built, example_of, outputs_of
from tests.zoo.trial import STAGES, trial

pytestmark = pytest.mark.usefixtures("one_thread")


def test_table_is_large():
    assert len(ZOO) >= 38
    assert set(QUICK) <= set(ZOO)


@pytest.mark.parametrize("name", QUICK)
def test_output_shows_an_error(name):
    """It depends on the input, and the layers that put out are where the table says."""
    model = built(name)
    one, other = (outputs_of(model, example_of(name, seed)) for seed in (SEED, SEED + 1))
    for x, y in zip(one, other, strict=True):
        assert (x - y).abs().max() > 1e-3 * x.std()
    assert set(ZOO[name].outputs) <= dict(model.named_parameters()).keys()


def test_networks_are_the_same_again():
    first, second = (built("two heads").state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", QUICK)
def test_a_few_of_the_zoo(name):
    check(name)


@pytest.mark.zoo
@pytest.mark.parametrize("name", [name for name in ZOO if name not in QUICK])
def test_the_rest_of_the_zoo(name):
    check(name)


def check(name):
    """Every stage is ok, or refused for the reason that the table states."""
    found = {key: value for key, value in trial(name).items() if key in STAGES}
    refused = ZOO[name].refused
    outcomes = {stage: record["outcome"] for stage, record in found.items()}
    wanted = dict.fromkeys(refused, "refused")
    bad = {
        stage: found[stage]["why"]
        for stage, outcome in outcomes.items()
        if outcome not in ("ok", "left out", wanted.get(stage))
    }
    assert bad == {}
    for stage, reason in refused.items():
        assert reason in found[stage]["why"]
