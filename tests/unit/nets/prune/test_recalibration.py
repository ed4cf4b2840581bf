"""Statistics of BatchNorm layers, found again in float64 by other means."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prunable
from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.models import resnet20
from prunable.nets.prune.recalibration import recalibrate, recalibrate_


def small_resnet(seed=0):
    model = resnet20(3, 10, width=4, generator=torch.Generator().manual_seed(seed))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return model.train()


def by_hooks(model, batches):
    """All values that flow into each layer in training mode, and their moments, in float64."""
    exact, seen = copy.deepcopy(model).double().train(), {}
    for name, module in exact.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            seen[name] = []
            module.register_forward_hook(
                lambda _, args, __, kept=seen[name]: kept.append(args[0].transpose(0, 1).flatten(1))
            )
    with torch.no_grad():
        for batch in batches:
            exact(batch.double())
    values = {name: torch.cat(parts, 1) for name, parts in seen.items()}
    return {name: (v.mean(1), v.var(1)) for name, v in values.items()}


def test_statistics_are_those_of_all_inputs():
    """Batches of unequal size count by their size, which torch's cumulative average ignores."""
    torch.manual_seed(0)
    model, x = small_resnet(), torch.randn(23, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    momenta = [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    result = recalibrate(model, x, batch_size=9)
    assert result.n_batches == 3
    assert result.largest_shift > 0.1
    expected = by_hooks(small_resnet_with(before), x.split(9))
    assert result.layers == tuple(expected)
    for name, (mean, variance) in expected.items():
        layer = model.get_submodule(name)
        torch.testing.assert_close(layer.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_var.double(), variance, rtol=1e-4, atol=1e-5)
    for name, value in model.state_dict().items():
        if not name.endswith(("running_mean", "running_var")):
            assert torch.equal(value, before[name]), name
    assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm2d)] == momenta
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def small_resnet_with(state):
    model = small_resnet()
    model.load_state_dict(state)
    return model


def test_modes_of_each_module_stay_and_nothing_is_dropped():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.9), nn.BatchNorm1d(6))
    model[2].eval()
    modes = [module.training for module in model.modules()]
    x = torch.randn(50, 4)
    recalibrate(model, x)
    assert [module.training for module in model.modules()] == modes
    torch.testing.assert_close(model[2].running_mean, model[0](x).mean(0).detach())


def test_removed_channels_stay_zero():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    with torch.no_grad():
        for part in (model[0].weight, model[0].bias, model[1].weight, model[1].bias):
            part[2:5] = 0
    recalibrate(model, torch.randn(16, 3, 6, 6))
    assert torch.equal(model.eval()(torch.randn(4, 3, 6, 6))[:, 2:5], torch.zeros(4, 3, 4, 4))


def test_batches_of_any_form_and_shared_layers():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.unused = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

        def forward(self, x, *, y):
            return self.norm(x) + self.norm(input=y)

    model = Twice()
    x, y = torch.randn(7, 3), 5 + torch.randn(7, 3)
    result = recalibrate_(model, [{"x": x, "y": y}])
    assert result.layers == ("norm",)
    torch.testing.assert_close(model.norm.running_mean, torch.cat([x, y]).mean(0))
    torch.testing.assert_close(model.norm.running_var, torch.cat([x, y]).var(0))
    assert torch.equal(model.unused.running_mean, torch.zeros(3))


def test_a_loader_without_its_labels():
    x, model = torch.randn(10, 3), nn.Sequential(nn.BatchNorm1d(3))
    loader = DataLoader(TensorDataset(x, torch.zeros(10)), batch_size=4)
    prunable.recalibrate(model, (inputs for inputs, _ in loader))
    torch.testing.assert_close(model[0].running_mean, x.mean(0))
    with pytest.raises(InputError, match="does not fit the model"):
        recalibrate(model, loader)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ([], "reach a BatchNorm layer"),
        ([torch.randn(4, 3), torch.randn(4, 5)], "does not fit"),
        ([torch.randn(1, 3)], "a variance needs two"),
        (torch.tensor(1.0), "must be a tensor of several inputs"),
        (3, "must be a Tensor or a list"),
        ({"x": torch.randn(4, 3)}, "got dict"),
        ("x", "got 'x'"),
        ([torch.full((4, 3), torch.nan)], "NaN or infinity"),
    ],
)
def test_refusals_change_nothing(inputs, why):
    model = nn.Sequential(nn.BatchNorm1d(3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=why):
        recalibrate(model, inputs)
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())
    assert model[0].training
    assert not model[0]._forward_pre_hooks


def test_models_without_statistics_are_refused():
    for model in (nn.Linear(3, 3), nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))):
        with pytest.raises(UnsupportedModelError, match="has no BatchNorm layer"):
            recalibrate(model, torch.randn(4, 3))


def test_recalibrated_networks_lose_less():
    """Filters go and their constants stay: statistics of before mislead, new ones do not."""
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
    model = nn.Sequential(conv, norm, nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16))
    x = torch.randn(256, 3, 8, 8)
    recalibrate(model, x)
    with torch.no_grad():
        norm.bias[:8] = 1.0
        conv.weight[:8] = 0
        model.eval()
        off = model(x).mean((0, 2, 3)).abs().max()
        recalibrate(model, x)
        assert model(x).mean((0, 2, 3)).abs().max() < 1e-3 < 0.1 < off
