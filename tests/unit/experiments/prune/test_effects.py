"""Options of `prunable prune` that do nothing are refused, each with what it needs."""

import pytest
from torch import nn

import prunable
from prunable.budgets import Keep
from prunable.errors import InputError
from prunable.experiments.prune.effects import check_effects, lost_of
from prunable.experiments.prune.specs import PruningJob
from prunable.strategies import MagnitudePruning

IDLE = [
    ({"keep": 0.5, "allocation": "lamp"}, "--allocation", "--scope global"),
    ({"keep": 0.5, "scope": "global", "allocation": "erk", "method": "random"}, "--allocation", ""),
    ({"allocation": "lamp", "method": "wanda", "n_m": "2:4"}, "--allocation", "--n-m"),
    ({"target": "macs=.5"}, "--target", "--method unit"),
    ({"keep": 0.5, "aggregate": "sum"}, "--aggregate", "--method unit"),
    ({"keep": 0.5, "round_to": 8}, "--round-to", "--method unit"),
    ({"keep": 0.5, "calibrate_size": 64}, "--calibrate-size", "--calibrate"),
    ({"keep": 0.5, "retraining": {"lr": 0.1}}, "--lr", "--retrain"),
    ({"keep": 0.5, "retraining": {"schedule": "constant"}}, "--schedule", "--retrain"),
    ({"keep": 0.5, "retraining": {"noise": "type1", "alpha": 1.9}}, "--noise", "--retrain"),
    ({"keep": 0.5, "retraining": {"rewind": "first.pt"}}, "--rewind", "--retrain"),
    ({"keep": 0.5, "retraining": {"epochs": 1, "alpha": 1.9}}, "--alpha", "--noise"),
    ({"keep": 0.5, "retraining": {"epochs": 1, "sigma": 0.1}}, "--sigma", "--noise"),
    (
        {"keep": 0.5, "retraining": {"epochs": 1, "optimizer": "adam", "momentum": 0.5}},
        "--momentum",
        "--optimizer sgd",
    ),
]


def job(**given):
    return PruningJob.create(checkpoint="m.safetensors", **given)


@pytest.mark.parametrize(("given", "option", "needs"), IDLE)
def test_options_without_effect_name_what_they_need(given, option, needs):
    with pytest.raises(InputError, match="has no effect without") as raised:
        check_effects(job(**given))
    assert f"`{option}` of `prune`" in str(raised.value)
    assert needs in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        {"keep": 0.5, "scope": "global", "allocation": "lamp"},
        {"keep": 0.5, "scope": "global", "allocation": "lamp", "method": "obs"},
        {"target": "macs=.5", "method": "unit", "aggregate": "sum", "round_to": 8},
        {"keep": 0.5, "method": "wanda", "calibrate": "gaussian", "calibrate_size": 64},
        {"keep": 0.5, "retraining": {"epochs": 2, "lr": 0.1, "momentum": 0.5}},
        {"keep": 0.5, "retraining": {"epochs": 1, "noise": "type1", "alpha": 1.9, "sigma": 0.1}},
    ],
)
def test_options_with_an_effect_pass(given):
    check_effects(job(**given))


def test_comparisons_look_at_few_options():
    compared = {"data": "mnist", "out": "folder", "seed": 3, "retraining": {"epochs": 1}}
    check_effects(job(**compared), comparing=True)
    for idle in ({"keep": 0.3}, {"method": "random"}, {"onnx": "a.onnx"}, {"shrink": True}):
        with pytest.raises(InputError, match="no effect with --compare"):
            check_effects(job(**compared, **idle), comparing=True)


def test_what_may_help_is_what_is_not_there_yet():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    plan = prunable.prune(model, MagnitudePruning(), Keep(0.5), dry_run=True).plan
    assert lost_of(job(keep=0.5, data="digits"), model, plan, None) is None
    found = lost_of(job(keep=0.5, data="my data.npz"), model, plan, 0.1)
    assert found["mends"] == ["--recalibrate 256", "--calibrate 'my data.npz'", "--retrain 5"]
    given = {"recalibrate": 9, "calibrate": "gaussian", "retraining": {"epochs": 1}}
    found = lost_of(job(n_m="2:4", data="digits", **given), model, plan, 0.1)
    assert found == {"constant": 0.1, "mends": [], "larger": "an --n-m that keeps more"}
    found = lost_of(job(plan="a.json", data="digits"), model[:1], plan, 0.1)
    assert found["mends"] == ["--retrain 5"]
    assert found["larger"] is None
