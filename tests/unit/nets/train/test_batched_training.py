"""Training many networks at once: beside `train`, resumption, independence, divergence, stage."""

import copy
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import train_batch_stage, train_stage, trained_network
from prunable.nets.models import NETS, Architecture, MeanFieldNetwork, build, mlp
from prunable.nets.train import batched
from prunable.nets.train.batched import Replica, StackedChain, chain_of, train_together
from prunable.nets.train.noise import HeavyTailedNoise
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train
from prunable.runs.data import DataSpec
from prunable.runs.store import Run, Store

WIDTH, FEATURES, CLASSES = 90, 7, 4
KINDS = (None, "type1", "type2", "type3")


def problem(count=130, dtype=torch.float64):
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, count)
    x = rng.normal(size=(count, FEATURES)) + np.eye(CLASSES, FEATURES)[y]
    return torch.tensor(x, dtype=dtype), torch.tensor(y)


def network(seed, kind="mean-field", dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    if kind == "mean-field":
        return MeanFieldNetwork(FEATURES, WIDTH, CLASSES, generator=generator).to(dtype)
    bias = kind == "biased"
    return mlp((FEATURES, 30, 40, CLASSES), generator=generator, bias=bias).to(dtype)


def settings(seed, noise=None, kind="mean-field", **changes):
    multiplier = WIDTH if kind == "mean-field" else 1
    if noise is not None:
        noise = HeavyTailedNoise(noise, 1.8, 0.03, lr_multiplier=multiplier)
    fields = {"lr": 0.02 * multiplier, "steps": 40, "batch_size": 1000, "seed": seed}
    return TrainingSettings(**(fields | {"noise": noise, "log_every": 10} | changes))


def replicas(kind="mean-field", dtype=torch.float64, folder=None, on_step=None, **changes):
    """One of each noise, of different seeds, step sizes and tail indices."""
    return [
        Replica(
            network(seed, kind, dtype),
            settings(seed, noise, kind, **changes),
            None if folder is None else folder / f"{seed}.safetensors",
            on_step,
        )
        for seed, noise in enumerate(KINDS)
    ]


def distance(a, b):
    """Largest relative Frobenius distance of two networks' parameters."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(((p - q).norm() / q.norm()).item() for p, q in pairs)


def equal(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture
def small_pieces(monkeypatch):
    """Several tiles of units and several chunks of examples even in a small network."""
    monkeypatch.setattr(batched, "EXAMPLES", 50)
    monkeypatch.setattr(batched, "TILE_BYTES", 1)
    monkeypatch.setattr(batched, "FEWEST_UNITS", 16)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("kind", ["mean-field", "chain", "biased"])
def test_gradients_are_those_of_automatic_differentiation(kind):
    x, y = problem()
    models = [network(seed, kind) for seed in range(3)]
    references = copy.deepcopy(models)
    stack = StackedChain(models)
    for _ in range(2):  # the second time nothing of the first may be left
        losses = stack.loss_and_gradients(x.expand(3, -1, -1), y.expand(3, -1))
    for model, reference, loss in zip(models, references, losses, strict=True):
        expected = nn.functional.cross_entropy(reference(x), y)
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-13)
        for p, q in zip(model.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-12, atol=1e-16)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("batch_size", [1000, 48])
@pytest.mark.parametrize("kind", ["mean-field", "chain", "biased"])
def test_ends_where_training_one_by_one_ends(kind, batch_size, together):
    x, y = problem()
    group = replicas(kind, batch_size=batch_size, average_last=7)
    alone = copy.deepcopy([replica.model for replica in group])
    outcomes = train_together(group, x, y, together=together)
    for replica, model, outcome in zip(group, alone, outcomes, strict=True):
        expected = train(model, x, y, replica.settings)
        assert distance(replica.model, model) < 1e-10
        assert (outcome.status, outcome.reason, outcome.steps, outcome.stopped) == (
            expected.status,
            expected.reason,
            expected.steps,
            expected.stopped,
        )
        assert [row["step"] for row in outcome.log] == [10, 20, 30, 40]
        for row, other in zip(outcome.log, expected.log, strict=True):
            assert row == pytest.approx(other, rel=1e-10)
        for name, mean in expected.average.items():
            torch.testing.assert_close(outcome.average[name], mean, rtol=1e-9, atol=1e-12)


def test_single_precision_differs_by_its_rounding():
    x, y = problem(dtype=torch.float32)
    group = replicas(dtype=torch.float32)
    alone = copy.deepcopy([replica.model for replica in group])
    train_together(group, x, y)
    for replica, model in zip(group, alone, strict=True):
        train(model, x, y, replica.settings)
        assert replica.model.hidden.weight.dtype == torch.float32
        # 1e-7, but 4e-4 of one in 32, where rounding opened or closed a unit
        assert distance(replica.model, model) < 2e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"momentum": 0.9, "weight_decay": 1e-3, "schedule": "cosine"},
        {"optimizer": "adam", "lr": 1e-2, "noise": None},
        {
            "until_accuracy": 0.8,
            "until_loss": 1.0,
            "extra_steps": 15,
            "average_last": 5,
            "steps": 200,
            "log_every": 3,
        },
        {"until_accuracy": 0.5, "log_every": 3},
        {"until_loss": 1e-9},
    ],
)
@pytest.mark.parametrize("together", [1, 4])
def test_every_optimizer_and_stop_rule(changes, together):
    x, y = problem()
    group = (
        replicas(**changes)
        if "noise" not in changes
        else [Replica(network(seed), settings(seed, **changes)) for seed in range(4)]
    )
    alone = copy.deepcopy([replica.model for replica in group])
    outcomes = train_together(group, x, y, together=together)
    for replica, model, outcome in zip(group, alone, outcomes, strict=True):
        expected = train(model, x, y, replica.settings)
        assert distance(replica.model, model) < 1e-9
        assert (outcome.reason, outcome.steps, outcome.stopped) == (
            expected.reason,
            expected.steps,
            expected.stopped,
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["mean-field", "chain", "biased"])
def test_numbers_depend_on_neither_companions_nor_threads(kind, dtype):
    x, y = problem(dtype=dtype)
    group = replicas(kind, dtype, batch_size=48)
    trained = []
    for choose, together, threads in (
        ([2], 1, 1),
        ([2], 4, 1),
        ([0, 2], 4, 1),
        ([3, 2, 1, 0], 4, 1),
        ([0, 1, 2, 3], 1, 2),
        ([0, 1, 2, 3], 2, 2),
    ):
        chosen = copy.deepcopy([group[index] for index in choose])
        train_together(chosen, x, y, together=together, threads=threads)
        trained.append(chosen[choose.index(2)].model)
    assert all(equal(trained[0], other) for other in trained[1:])


def test_frozen_readout_stays():
    x, y = problem()
    model = network(0)
    model.output.weight.requires_grad_(False)
    before, alone = model.output.weight.clone(), copy.deepcopy(model)
    train_together([Replica(model, settings(0))], x, y)
    train(alone, x, y, settings(0))
    assert torch.equal(model.output.weight, before)
    assert distance(model, alone) < 1e-10


def test_one_that_diverges_leaves_the_others():
    x, y = problem(dtype=torch.float32)
    for together in (1, 3):
        group = [
            Replica(network(seed, dtype=torch.float32), settings(seed, lr=lr))
            for seed, lr in enumerate((1.8, 1e30, 1.8))
        ]
        others = copy.deepcopy([group[0], group[2]])
        outcomes = train_together(group, x, y, together=together)
        assert [outcome.status for outcome in outcomes] == ["done", "diverged", "done"]
        assert outcomes[1].steps < 40
        assert f"at step {outcomes[1].steps}" in outcomes[1].reason
        train_together(others, x, y, together=together)
        assert equal(others[0].model, group[0].model)
        assert equal(others[1].model, group[2].model)


@pytest.mark.parametrize("batch_size", [1000, 48])
@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_killed_batch_resumes_bit_for_bit(tmp_path, together, batch_size, threads, killed):
    x, y = problem()
    chosen = {"checkpoint_every": 10, "average_last": 25, "batch_size": batch_size}
    whole = replicas(**chosen)
    expected = train_together(whole, x, y, together=together)
    told = []

    def kill(step):
        told.append(step)
        if len(told) == 90:
            raise killed

    group = replicas(folder=tmp_path, on_step=kill, **chosen)
    with pytest.raises(killed):
        train_together(group, x, y, together=together, threads=threads)
    assert any(tmp_path.iterdir())
    # one is found at another step than the rest, another from the start
    train(network(3), x, y, settings(3, "type3", **chosen), checkpoint=tmp_path / "alone")
    (tmp_path / "1.safetensors").unlink(missing_ok=True)
    resumed = replicas(folder=tmp_path, **chosen)
    outcomes = train_together(resumed, x, y, together=together, threads=threads)
    for a, b, found, wanted in zip(whole, resumed, outcomes, expected, strict=True):
        assert equal(a.model, b.model)
        assert found.log == wanted.log
        for name, mean in wanted.average.items():
            assert torch.equal(found.average[name], mean)


def test_checkpoints_are_those_of_train(tmp_path):
    x, y = problem()
    group = replicas(folder=tmp_path)
    outcomes = train_together(group, x, y)
    for replica, outcome in zip(group, outcomes, strict=True):
        model = network(9)
        steps = []
        found = train(
            model, x, y, replica.settings, checkpoint=replica.checkpoint, on_step=steps.append
        )
        assert steps == []
        assert equal(model, replica.model)
        assert (found.reason, found.log) == (outcome.reason, outcome.log)
    with pytest.raises(DataIntegrityError, match="type3"):
        train_together([Replica(network(0), group[3].settings, group[2].checkpoint)], x, y)


def test_wrong_arguments_are_named():
    x, y = problem()
    one = Replica(network(0), settings(0))
    with pytest.raises(InputError, match="`y` of `train_together`"):
        train_together([one], x, y[1:])
    with pytest.raises(InputError, match="NaN"):
        train_together([one], x.log(), y)
    with pytest.raises(InputError, match="`together`"):
        train_together([one], x, y, together=0)
    with pytest.raises(InputError, match="augment"):
        train_together([Replica(network(0), settings(0, augment=True))], x, y)
    with pytest.raises(InputError, match="type"):
        train_together([Replica(network(0, dtype=torch.float32), settings(0))], x, y)
    with pytest.raises(InputError, match="differ"):
        StackedChain([network(0), network(0, "chain")])
    for model in (
        nn.Linear(3, 2),
        nn.Sequential(nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)),
        nn.Sequential(nn.Linear(3, 3), nn.ReLU()),
    ):
        with pytest.raises(UnsupportedModelError, match="chain"):
            chain_of(model)
    assert train_together([], x, y) == []


def test_keys_tell_what_can_be_trained_together():
    for name in NETS:
        architecture = Architecture(name, (1, 32, 32), 3, 8)
        model = build(architecture, generator=torch.Generator())
        try:
            chain_of(model)
        except UnsupportedModelError:
            assert NETS[name].pictures
        else:
            assert not NETS[name].pictures
    spec = TrainSpec.create(dataset="digits")
    key = spec.batch_key()
    for same in ({"seed": 3}, {"lr": 0.1}, {"noise": "type2", "alpha": 1.8}, {"steps": 5}):
        assert spec.model_copy(update=same).batch_key() == key
    for other in (
        {"width": 7},
        {"dataset": DataSpec(name="mnist")},
        {"batch_size": 9},
        {"net": "fcn4"},
        {"dataset": DataSpec(name="digits", train_size=9)},
        {"dataset": DataSpec(name="digits", split_seed=1)},
        {"train_output": False},
    ):
        assert spec.model_copy(update=other).batch_key() not in (key, None)
    for alone in ({"net": "vgg"}, {"augment": True}):
        assert spec.model_copy(update=alone).batch_key() is None

    class OtherSpec(TrainSpec):
        stage = "somewhere:else"

    assert OtherSpec.create(dataset="digits").batch_key() is None


def test_the_stage_leaves_what_the_stage_of_one_run_leaves(tmp_path):
    common = {"dataset": "digits", "width": 40, "steps": 60, "lr": 1e-2}
    specs = [
        TrainSpec.create(**common, seed=0, average_last=5),
        TrainSpec.create(**common, seed=1, noise="type2", alpha=1.8, sigma=0.1),
        TrainSpec.create(**common | {"lr": 1e12}, seed=2),
    ]
    assert len({spec.batch_key() for spec in specs}) == 1

    def runs(name):
        store = Store(tmp_path / name)
        for spec in specs:
            store.folder(spec).mkdir(parents=True)
        return [Run(store, store.folder(spec)) for spec in specs]

    alone, batch = runs("alone"), runs("batch")
    expected = [train_stage(spec, run) for spec, run in zip(specs, alone, strict=True)]
    found = train_batch_stage(specs, batch)
    json.dumps(found)
    assert [row["status"] for row in found] == ["done", "done", "diverged"]
    for spec, one, many, a, b in zip(specs, expected, found, alone, batch, strict=True):
        assert many.pop("metrics") == pytest.approx(one.pop("metrics"), abs=2e-3)
        assert many == one
        assert {path.name for path in b.folder.iterdir()} == {p.name for p in a.folder.iterdir()}
        table, other = (pq.read_table(run.folder / "metrics.parquet") for run in (a, b))
        assert table.schema == other.schema
        if one["status"] == "done":
            assert distance(trained_network(b.folder, spec), trained_network(a.folder, spec)) < 1e-4
