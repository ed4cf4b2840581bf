"""Training: exact resumption, divergence, stopping, averaging, metrics."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.models import MeanFieldNetwork
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import augmented, evaluate, train


def problem():
    """Two Gaussian classes that a line separates almost always."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = rng.normal(size=(60, 5)) + 3 * y[:, None]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def network(seed=0, **options):
    return MeanFieldNetwork(5, 40, 2, generator=torch.Generator().manual_seed(seed), **options)


def settings(**changes):
    noise = HeavyTailedNoise("type2", 1.7, 0.05, lr_multiplier=40)
    fields = {"lr": 0.4, "steps": 30, "batch_size": 16, "seed": 5, "noise": noise}
    return TrainingSettings(**(fields | {"checkpoint_every": 10, "log_every": 10} | changes))


@pytest.mark.parametrize("killed_at", [7, 10, 23])
@pytest.mark.parametrize("batch_size", [16, 100])
def test_killed_run_resumes_bit_for_bit(tmp_path, killed_at, batch_size, kill_at, killed):
    x, y = problem()
    chosen = settings(batch_size=batch_size, average_last=15)
    whole_model = network()
    whole = train(whole_model, x, y, chosen)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(killed):
        train(network(), x, y, chosen, checkpoint=checkpoint, on_step=kill_at(killed_at))
    steps = []
    model = network()
    resumed = train(model, x, y, chosen, checkpoint=checkpoint, on_step=steps.append)
    assert steps[0] == (killed_at - 1) // 10 * 10 + 1
    for a, b in zip(whole_model.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.log == resumed.log
    assert whole.average.keys() == resumed.average.keys()
    for name, mean in whole.average.items():
        assert torch.equal(mean, resumed.average[name])


def test_damaged_or_foreign_checkpoints_are_refused(tmp_path):
    x, y = problem()
    path = tmp_path / "checkpoint.safetensors"
    train(network(), x, y, settings(), checkpoint=path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataIntegrityError, match=r"checkpoint\.safetensors"):
        train(network(), x, y, settings(), checkpoint=path)
    path.write_bytes(whole)
    other_noise = settings(noise=HeavyTailedNoise("type2", 1.2, 0.05, lr_multiplier=40))
    with pytest.raises(DataIntegrityError, match="alpha"):
        train(network(), x, y, other_noise, checkpoint=path)


def test_divergence_is_an_outcome():
    x, y = problem()
    outcome = train(network(), 1e30 * x, y, settings(lr=1e30, noise=None))
    assert outcome.status == "diverged"
    assert "step" in outcome.reason


def test_stops_at_the_accuracy_asked_for():
    x, y = problem()
    outcome = train(network(), x, y, settings(steps=5000, lr=2.0, noise=None, until_accuracy=0.9))
    assert outcome.status == "done"
    assert outcome.steps < 5000
    assert outcome.log[-1]["accuracy"] >= 0.9
    assert all(row["accuracy"] < 0.9 for row in outcome.log[:-1])


def rule(**changes):
    """Settings whose rule the problem meets well before the last step."""
    fields = {"steps": 400, "lr": 2.0, "noise": None, "until_loss": 0.2, "extra_steps": 25}
    return settings(**(fields | {"average_last": 15} | changes))


def test_the_rule_asks_for_accuracy_and_loss_and_is_followed_by_extra_steps():
    x, y = problem()
    outcome = train(network(), x, y, rule(until_accuracy=0.9))
    met = [row["step"] for row in outcome.log if row["accuracy"] >= 0.9 and row["loss"] < 0.2]
    accurate = [row["step"] for row in outcome.log if row["accuracy"] >= 0.9]
    assert outcome.stopped
    assert outcome.status == "done"
    assert accurate[0] < met[0]  # so the loss was asked for too
    assert outcome.steps == met[0] + 25
    assert f"loss below 0.2 reached at step {met[0]}" in outcome.reason
    alone = train(network(), x, y, rule(extra_steps=0, average_last=0))
    assert alone.steps == met[0]
    assert alone.average is None


def test_average_with_a_rule_is_of_the_last_iterates():
    x, y = problem()
    model, iterates = network(), []
    outcome = train(
        model,
        x,
        y,
        rule(),
        on_step=lambda _: iterates.append(model.hidden.weight.detach().double().clone()),
    )
    assert len(iterates) == outcome.steps < 400
    expected = torch.stack(iterates[-15:]).mean(0)
    torch.testing.assert_close(outcome.average["hidden.weight"], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("until_loss", [1e-9, 0.2])
def test_a_rule_not_met_in_time_is_not_met(until_loss):
    """The second would be met at step 40 at the earliest, too late for 25 more steps of 60."""
    x, y = problem()
    met = train(network(), x, y, rule()).steps - 25
    chosen = rule(until_loss=until_loss, steps=met + 24)
    model, iterates = network(), []
    outcome = train(
        model,
        x,
        y,
        chosen,
        on_step=lambda _: iterates.append(model.hidden.weight.detach().double().clone()),
    )
    assert not outcome.stopped
    assert outcome.status == "done"
    assert outcome.steps == chosen.steps
    assert outcome.reason.endswith("not reached")
    expected = torch.stack(iterates[-15:]).mean(0)
    torch.testing.assert_close(outcome.average["hidden.weight"], expected, rtol=1e-12, atol=1e-14)


def test_runs_with_a_rule_resume_bit_for_bit_wherever_killed(tmp_path, kill_at, killed):
    x, y = problem()
    whole_model = network()
    whole = train(whole_model, x, y, rule())
    met = whole.steps - 25
    # before the rule is met, between that and the averaged steps, and among these
    for killed_at in (met - 3, met, met + 5, met + 17, whole.steps - 1):
        checkpoint = tmp_path / f"{killed_at}.safetensors"
        with pytest.raises(killed):
            train(network(), x, y, rule(), checkpoint=checkpoint, on_step=kill_at(killed_at))
        model = network()
        resumed = train(model, x, y, rule(), checkpoint=checkpoint)
        assert resumed.log == whole.log
        assert (resumed.steps, resumed.reason, resumed.stopped) == (whole.steps, whole.reason, True)
        for a, b in zip(whole_model.parameters(), model.parameters(), strict=True):
            assert torch.equal(a, b)
        for name, mean in whole.average.items():
            assert torch.equal(mean, resumed.average[name])


def test_slow_runs_write_checkpoints_by_the_clock(tmp_path, monkeypatch, kill_at, killed):
    x, y = problem()
    checkpoint = tmp_path / "checkpoint.safetensors"
    monkeypatch.setattr("prunable.nets.train.training.CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(killed):
        train(network(), x, y, settings(), checkpoint=checkpoint, on_step=kill_at(7))
    steps = []
    train(network(), x, y, settings(), checkpoint=checkpoint, on_step=steps.append)
    assert steps[0] == 7


def test_augmented_pictures_are_shifted_and_mirrored_copies():
    x = torch.rand(200, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    found = augmented(x, seed=3, step=8, padding=2)
    assert torch.equal(found, augmented(x, seed=3, step=8, padding=2))
    assert not torch.equal(found, augmented(x, seed=3, step=9, padding=2))
    seen = set()
    for picture, result in zip(x, found, strict=True):
        padded = torch.zeros(2, 9, 10)
        padded[:, 2:7, 2:8] = picture
        crops = {
            (top, left): padded[:, top : top + 5, left : left + 6]
            for top in range(5)
            for left in range(5)
        }
        ways = [
            (place, mirrored)
            for place, crop in crops.items()
            for mirrored in (False, True)
            if torch.equal(result, crop.flip(2) if mirrored else crop)
        ]
        assert len(ways) == 1
        seen.add(ways[0])
    # 200 draws of 50 equally likely ways leave fewer than 40 seen with probability < 1e-6
    assert len(seen) >= 40
    with pytest.raises(InputError, match="pictures"):
        augmented(x[:, 0, 0], seed=0, step=0)


def test_augmentation_reaches_the_network():
    x, y = torch.rand(8, 1, 5, 5), torch.zeros(8, dtype=torch.int64)
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(25, 2))

        def forward(self, inputs):
            if self.training:
                seen.append(inputs.clone())
            return inputs.flatten(1) @ self.weight

    train(Spy(), x, y, settings(noise=None, steps=2, augment=True))
    assert torch.equal(seen[0], augmented(x, seed=5, step=0))
    assert torch.equal(seen[1], augmented(x, seed=5, step=1))


def test_average_is_of_the_last_iterates():
    x, y = problem()
    model, iterates = network(), []

    def keep(step):
        if step > 26:
            iterates.append(model.hidden.weight.detach().double().clone())

    outcome = train(model, x, y, settings(average_last=4), on_step=keep)
    assert len(iterates) == 4
    torch.testing.assert_close(outcome.average["hidden.weight"], torch.stack(iterates).mean(0))


def test_every_example_is_seen_once_an_epoch():
    _, y = problem()
    marks = torch.arange(60.0)[:, None].expand(60, 5).clone()
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(5, 2))

        def forward(self, inputs):
            if len(inputs) < 60:
                seen.append(inputs[:, 0].tolist())
            return inputs @ self.weight

    train(Spy(), marks, y, settings(noise=None, steps=8))
    epochs = [[i for batch in part for i in batch] for part in (seen[:4], seen[4:])]
    assert [len(batch) for batch in seen] == [16, 16, 16, 12] * 2
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_evaluate_counts_by_hand():
    class Fixed(nn.Module):
        def forward(self, inputs):
            return inputs

    logits = torch.tensor([[2.0, 0, 0], [2.0, 0, 0], [0, 2.0, 0], [2.0, 0, 0]])
    y = torch.tensor([0, 0, 1, 1])  # class 2 is absent
    found = evaluate(Fixed(), logits, y)
    z = math.log(math.exp(2) + 2)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert found["loss"] == pytest.approx((3 * (z - 2) + z) / 4, rel=1e-12)


def test_mean_field_network_is_the_formula():
    model = network()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    theta, c = model.hidden.weight, model.output.weight
    by_hand = torch.stack(
        [sum(c[:, i] * torch.relu(theta[i] @ row) for i in range(40)) / 40 for row in x]
    )
    torch.testing.assert_close(model(x), by_hand)
    assert theta.abs().max() <= 1 / math.sqrt(5)
    assert c.abs().max() <= math.sqrt(40)


def test_fixed_second_layer_does_not_move():
    x, y = problem()
    model = network(train_output=False)
    before = model.output.weight.clone()
    train(model, x, y, settings())
    assert torch.equal(before, model.output.weight)


def test_initialisation_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    network()
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"lr": 0.0}, "lr"),
        ({"lr": math.nan}, "lr"),
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"average_last": 31}, "average_last"),
        ({"until_accuracy": 1.1}, "until_accuracy"),
        ({"until_accuracy": 0.5, "average_last": 1}, "average_last"),
        ({"until_loss": 0.5, "extra_steps": 3, "average_last": 4}, "average_last"),
        ({"until_loss": 0.0}, "until_loss"),
        ({"until_loss": math.nan}, "until_loss"),
        ({"until_loss": 0.5, "extra_steps": 30}, "extra_steps"),
        ({"extra_steps": 3}, "extra_steps"),
    ],
)
def test_bad_settings_are_named(change, culprit):
    with pytest.raises(InputError, match=culprit):
        settings(**change)


def test_bad_data_are_named():
    x, y = problem()
    x[3, 2] = math.nan
    with pytest.raises(InputError, match="1 NaN"):
        train(network(), x, y, settings())
    with pytest.raises(InputError, match="60"):
        train(network(), problem()[0], y[:5], settings())
    with pytest.raises(InputError, match="width"):
        MeanFieldNetwork(5, 0, 2, generator=torch.Generator())


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        (
            {"momentum": 0.9, "weight_decay": 1e-2, "lr": 0.05},
            lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2),
        ),
        ({"optimizer": "adam", "lr": 0.01}, lambda p: torch.optim.Adam(p, 0.01)),
    ],
)
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_optimizers_and_schedules_are_those_of_torch(fields, reference, schedule):
    x, y = problem()
    chosen = settings(noise=None, batch_size=100, schedule=schedule, **fields)
    model, expected = network(), network()
    train(model, x, y, chosen)
    optimizer = reference(expected.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, chosen.steps)
    for _ in range(chosen.steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(expected(x), y).backward()
        optimizer.step()
        if schedule == "cosine":
            scheduler.step()
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_killed_runs_with_momenta_and_schedules_resume_bit_for_bit(
    tmp_path, optimizer, kill_at, killed
):
    x, y = problem()
    momentum = 0.9 if optimizer == "sgd" else 0.0
    chosen = settings(
        optimizer=optimizer, momentum=momentum, lr=0.01, schedule="cosine", noise=None
    )
    whole, resumed = network(), network()
    train(whole, x, y, chosen)
    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(killed):
        train(network(), x, y, chosen, checkpoint=checkpoint, on_step=kill_at(17))
    train(resumed, x, y, chosen, checkpoint=checkpoint)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_prepared_optimizers_hold_masks_through_noise():
    x, y = problem()
    model = network()
    mask = torch.rand(model.hidden.weight.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    masks = {"hidden.weight": mask}
    train(
        model,
        x,
        y,
        settings(),
        prepare=lambda optimizer: hold_masks(optimizer, model.named_parameters(), masks),
    )
    assert torch.equal(model.hidden.weight != 0, mask)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "rmsprop"}, "`optimizer` of"),
        ({"schedule": "linear"}, "`schedule` of"),
        ({"momentum": 1.0}, "`momentum` of"),
        ({"momentum": 0.5, "optimizer": "adam"}, "belongs to sgd"),
        ({"weight_decay": -1.0}, "`weight_decay` of"),
    ],
)
def test_wrong_optimizers_are_named(fields, message):
    with pytest.raises(InputError, match=message):
        settings(**fields)


def test_evaluation_in_parts_leaves_the_mode_alone(monkeypatch):
    """Batch normalisation would otherwise use the batch's own statistics."""
    monkeypatch.setattr("prunable.nets.train.training.EVALUATED_AT_ONCE", 7)
    x, y = problem()
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).train()
    found = evaluate(model, x, y)
    assert model.training
    model.eval()
    right = (model(x).argmax(1) == y).double().mean().item()
    assert found["accuracy"] == pytest.approx(right)
