"""The zoo: architectures that people have, each through everything; see `tests.zoo.trial`."""

import pytest
import torch
from tests.zoo.architectures import QUICK, ZOO
from tests.zoo.building import SEED, built, example_of, outputs_of

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
