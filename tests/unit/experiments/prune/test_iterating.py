"""Iterative pruning as a run: against the rounds by hand, resumed, with its controls."""

import math

import pytest
import torch

from prunable.data.loaders import load
from prunable.errors import InputError, PrunableError
from prunable.experiments.prune import iterating
from prunable.experiments.prune.specs import IterateSpec
from prunable.experiments.train.stages import train_into
from prunable.nets.archive import load_tensors
from prunable.nets.models import network_of, read_weights
from prunable.nets.prune.tickets import load_ticket
from prunable.numerics.randomness import child_seed, rng

STEPS = 20


def spec(**changes):
    fields = {
        "dataset": "digits",
        "net": "two-layer",
        "width": 30,
        "lr": 0.1,
        "batch_size": 100,
        "steps": STEPS,
        "momentum": 0.9,
        "schedule": "cosine",
        "keep": 0.2,
        "rounds": 3,
    }
    return IterateSpec.create(**(fields | changes))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("iterated")
    asked = spec(last_steps=150, controls=("dense", "re-initialised", "shuffled", "random"))
    return asked, folder, train_into(folder, asked)


def test_rounds_and_files_say_the_same(found):
    asked, folder, result = found
    ticket = load_ticket(folder / "ticket.safetensors")
    total = 64 * 30 + 30 * 10
    assert result["metrics"] == {
        "kappa": ticket.kappa,
        "n_kept": math.ceil(0.2 * total),
        "n_total": total,
    }
    kept = [round(row["kappa"] * total) for row in result["rounds"]]
    assert kept == [total, *(math.ceil(total * 0.2 ** (i / 3)) for i in (1, 2))]
    assert (ticket.seed, ticket.rewind_step, len(ticket.shares)) == (0, 0, 3)
    tensors, metadata = read_weights(folder / "model.safetensors")
    assert metadata["run_id"] == asked.run_id
    for name, mask in ticket.masks.items():
        assert not tensors[name][~mask].any()
    trainer = iterating._Trainer(asked, iterating.Run(None, folder))
    assert trainer.accuracy(network_of(tensors, metadata)) == result["test_accuracy"]["ticket"]
    assert result["lost"] is None


def test_a_ticket_too_small_to_decide_says_so(tmp_path):
    lost = train_into(tmp_path, spec(steps=80, keep=0.001, rounds=1, last_steps=1, force=True))
    assert lost["rounds"][0]["test_accuracy"] > 0.5
    classes = load("digits").y_test
    assert lost["lost"] == pytest.approx(max((classes == c).mean() for c in range(10)))


def test_a_ticket_beats_masks_at_random(found):
    *_, result = found
    accuracy = result["test_accuracy"]
    assert list(accuracy) == ["ticket", "dense", "re-initialised", "shuffled", "random"]
    assert accuracy["ticket"] > 0.85
    assert accuracy["ticket"] > accuracy["random"]


def test_controls_are_the_same_alone(found, tmp_path):
    asked, _, result = found
    alone = asked.model_copy(update={"controls": ("random",)})
    again = train_into(tmp_path, alone)
    for name in ("ticket", "random"):
        assert again["test_accuracy"][name] == result["test_accuracy"][name]


def test_a_killed_run_goes_on(found, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    asked, folder, result = found
    real, calls = iterating.train, []

    def killed(*arguments, **options):
        calls.append(None)
        if len(calls) == 3:
            raise Killed
        return real(*arguments, **options)

    monkeypatch.setattr(iterating, "train", killed)
    with pytest.raises(Killed):
        train_into(tmp_path, asked)
    again = train_into(tmp_path, asked)
    assert again == result
    for name in ("ticket.safetensors", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("rewind", "step", "lengths", "first_rates"),
    [
        ("init", 0, [20, 20, 20], [0.1, 0.1, 0.1]),
        ("step", 5, [20, 15, 15], [0.1, 0.085355, 0.085355]),
        ("learning-rate", 5, [20, 15, 15], [0.1, 0.085355, 0.085355]),
        ("none", 0, [20, 20, 20], [0.1, 0.1, 0.1]),
    ],
)
def test_rounds_go_on_where_the_schedule_was(
    tmp_path, monkeypatch, rewind, step, lengths, first_rates
):
    real, seen = iterating.train, []

    def watched(model, x, y, settings, **options):
        seen.append((settings.steps, settings.lr_at(0), settings.lr_at(settings.steps)))
        return real(model, x, y, settings, **options)

    monkeypatch.setattr(iterating, "train", watched)
    schedule = "constant" if rewind == "none" else "cosine"
    train_into(tmp_path, spec(rewind=rewind, rewind_step=step, schedule=schedule))
    assert [count for count, *_ in seen] == lengths
    assert [rate for _, rate, _ in seen] == pytest.approx(first_rates, abs=1e-6)
    last = 0.1 if rewind == "none" else 0.0
    assert [rate for *_, rate in seen] == pytest.approx([last] * 3, abs=1e-12)
    kept = load_ticket(tmp_path / "ticket.safetensors").rewind_step
    assert kept == {"init": 0, "step": 5}.get(rewind)


def test_without_a_last_training_the_model_is_the_rewound_ticket(tmp_path):
    asked = spec(seed=3, unit=0.5)
    result = train_into(tmp_path, asked)
    assert result["test_accuracy"] == {}
    ticket = load_ticket(tmp_path / "ticket.safetensors")
    trainer = iterating._Trainer(asked, iterating.Run(None, tmp_path))
    start = trainer.network(3).state_dict()
    tensors, _ = load_tensors(tmp_path / "model.safetensors")
    for name, mask in ticket.masks.items():
        assert torch.equal(tensors[name], torch.where(mask, start[name], 0.0))
    assert trainer.x.max() == 2 * torch.from_numpy(trainer.data.x_train.copy()).max()


def test_seeds_are_those_of_what_they_are_for(monkeypatch, tmp_path):
    seeds = []
    real = iterating.train
    monkeypatch.setattr(
        iterating, "train", lambda m, x, y, s, **o: (seeds.append(s.seed), real(m, x, y, s, **o))[1]
    )
    train_into(tmp_path, spec(seed=4, last_steps=5, controls=("shuffled",)))
    rounds = [child_seed(4, "round", number) for number in (1, 2, 3)]
    assert seeds == [*rounds, child_seed(4, "last"), child_seed(4, "last")]
    assert rng(4, "controls").random() == rng(4, "controls").random()


def test_divergence_is_named(tmp_path):
    with pytest.raises(PrunableError, match="round 1 of 3 diverged"):
        train_into(tmp_path, spec(lr=1e30))


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"keep": 0.0}, "keep"),
        ({"rounds": 0}, "rounds"),
        ({"rewind": "step"}, "rewind_step"),
        ({"rewind_step": 3}, "rewind_step"),
        ({"rewind": "step", "rewind_step": STEPS}, "below `steps`"),
        ({"rewind": "none"}, "schedule"),
        ({"controls": ("random",)}, "last_steps"),
        ({"controls": ("other",), "last_steps": 3}, "controls"),
        ({"average_last": 2}, "average_last"),
        ({"net": "no-such-net"}, "no-such-net"),
    ],
)
def test_bad_settings_are_named(changes, culprit):
    with pytest.raises(InputError, match=culprit):
        spec(**changes)
