"""The running mean of iterates."""

import pytest
import torch
from torch import nn

from prunable.errors import InputError
from prunable.nets.train.averaging import IterateAverage


def test_mean_of_iterates_in_float64():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    average = IterateAverage(layer.named_parameters())
    iterates = []
    for _ in range(50):
        with torch.no_grad():
            layer.weight.normal_()
        average.update()
        iterates.append(layer.weight.detach().double().clone())
    mean = average.tensors()["weight"]
    assert mean.dtype == torch.float64
    torch.testing.assert_close(mean, torch.stack(iterates).mean(0), rtol=1e-13, atol=1e-15)


def test_copy_to_keeps_dtype_and_checks_names():
    layer = nn.Linear(3, 2)
    average = IterateAverage(layer.named_parameters())
    average.update()
    other = nn.Linear(3, 2)
    average.copy_to(other)
    assert other.weight.dtype == torch.float32
    assert torch.equal(other.weight, layer.weight)
    with pytest.raises(InputError, match="bias"):
        average.copy_to(nn.Linear(3, 2, bias=False))


def test_nothing_averaged_yet_is_said():
    with pytest.raises(InputError, match="no iterate"):
        IterateAverage(nn.Linear(3, 2).named_parameters()).tensors()


def test_state_round_trip_goes_on_exactly():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    whole, first = (IterateAverage(layer.named_parameters()) for _ in range(2))
    second = IterateAverage(layer.named_parameters())
    for step in range(6):
        with torch.no_grad():
            layer.weight.normal_()
        whole.update()
        if step < 3:
            first.update()
        if step == 2:
            second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
        elif step > 2:
            second.update()
    assert second.count == 6
    assert torch.equal(whole.tensors()["weight"], second.tensors()["weight"])
    with pytest.raises(InputError, match="weight"):
        second.load_state_dict({"count": torch.tensor(1), "weight": torch.zeros(9)})
