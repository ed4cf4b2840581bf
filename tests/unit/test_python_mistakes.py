"""Mistakes in calls from Python: each ends in our own error, which names culprit and mend."""

import traceback

import numpy as np
import pytest
import torch
from torch import nn

import prunable
from prunable import callbacks
from prunable.budgets import Error, Keep
from prunable.errors import PrunableError
from prunable.strategies import MagnitudePruning, NMPruning, NodePruning, RandomPruning, UnitPruning

X = torch.linspace(-1, 1, 512).reshape(64, 8)
ROW = torch.zeros(1, 8)
HALF, MAGNITUDE = Keep(0.5), MagnitudePruning()


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


def normed():
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))


def pruned(**options):
    return prunable.prune(net(), MAGNITUDE, HALF, **options)


def calibrated(inputs):
    return prunable.prune(net(), HALF, calibration=inputs)


def shrunk(example):
    model = net()
    return prunable.shrink(model, prunable.prune(model, UnitPruning(), HALF, example=ROW), example)


def forecast(**options):
    return prunable.forecast(net(), X, **{"accuracy": 0.9, **options})


def iterated(train_round=lambda *_: 0.5, **options):
    options = {"rounds": 2, "kappa": 0.5, **options}
    return prunable.iterate(net(), train_round, strategy=MAGNITUDE, **options)


def labelled():
    data = torch.utils.data.TensorDataset(X, torch.arange(64) % 3)
    return torch.utils.data.DataLoader(data, 8)


def noised(named):
    model, noise = net(), prunable.HeavyTailedNoise("type1", 1.8, 0.1)
    return prunable.attach_noise(torch.optim.SGD(model.parameters()), named(model), noise, seed=0)


def held(*arguments):
    return prunable.hold_masks(*arguments)


MISTAKES = {
    # kinds
    "numpy weights": (
        lambda: prunable.measure({"w": np.ones((9, 9))}),
        "ndarray at 'w'. Give torch",
    ),
    "several files": (lambda: prunable.measure(["a.pt", "b.pt"]), "or a path; got list"),
    "one eps": (lambda: prunable.measure(net(), eps=0.1), "Did you mean [0.1]?"),
    "eps as text": (lambda: prunable.measure(net(), eps="0.1"), "must be a list of numbers"),
    "p as text": (lambda: prunable.measure(net(), p="2"), "must be a number; got '2' (str)"),
    "half a seed": (
        lambda: prunable.measure(net(), seed=1.5),
        "`seed` of `measure` must be a whole",
    ),
    "no workers": (lambda: prunable.measure(net(), workers=-1), "must be at least 1; got -1"),
    "checkpoint": (
        lambda: prunable.measure({"model": net().state_dict()}),
        "at 'model'. Give the part that holds the weights",
    ),
    "a class": (lambda: prunable.measure(nn.Linear), "Did you mean Linear()?"),
    "lazy": (lambda: prunable.measure(nn.LazyLinear(4)), "Run the network once first"),
    "no strategy made": (
        lambda: prunable.prune(net(), MagnitudePruning, HALF),
        "Did you mean MagnitudePruning()?",
    ),
    "method by name": (lambda: prunable.prune(net(), "unit", HALF), "must be a Strategy, a Keep"),
    "share alone": (lambda: prunable.prune(net(), 0.5), "an Energy or a Target; got 0.5 (float)"),
    "path to prune": (lambda: prunable.prune("net.pt", MAGNITUDE, HALF), "`prunable.load` first"),
    "nothing to prune": (lambda: prunable.prune(None, MAGNITUDE, HALF), "got None"),
    "one name": (lambda: pruned(only="0.weight"), "Did you mean ['0.weight']?"),
    "named seed": (
        lambda: prunable.prune(net(), RandomPruning(), HALF, seed="a"),
        "must be a whole number; got 'a' (str)",
    ),
    "misspelt argument": (lambda: pruned(dryrun=True), "Did you mean dry_run?"),
    "missing argument": (lambda: prunable.advise(net(), X), "called wrongly: missing a required"),
    "keep as text": (lambda: Keep("0.5"), "`kappa` of `Keep` must be a number; got '0.5' (str)"),
    "keep as tensor": (lambda: Keep(torch.tensor(0.5)), "must be a number; got Tensor"),
    "no keep": (lambda: Keep(None), "must be a number; got None"),
    "eps of Error": (lambda: Error("small"), "`eps` of `Error` must be a number"),
    "pattern as text": (lambda: NMPruning("2:4"), "must be a number; got '2:4' (str)"),
    "axis": (lambda: NodePruning("units"), "Did you mean unit?"),
    "weights to shrink": (
        lambda: prunable.shrink(net().state_dict(), pruned().plan, ROW),
        "`model` of `shrink` must be a Module; got OrderedDict",
    ),
    "load nothing": (lambda: prunable.load(None), "`path` of `load` must be a path"),
    "load by a function": (lambda: prunable.load("net.pt", net=net), "must be a str; got function"),
    "save swapped": (lambda: prunable.save(net(), "a.safetensors"), "Give the file that holds it"),
    "save weights": (
        lambda: prunable.save("a.safetensors", net().state_dict()),
        "must be a Module",
    ),
    "numbers in metadata": (
        lambda: prunable.save("a.safetensors", net(), metadata={"epoch": 3}),
        "got 3 (int) at 'epoch'",
    ),
    "save as torch": (lambda: prunable.save("a.pt", net()), "a file ending in .safetensors"),
    "write swapped": (lambda: prunable.write("a.json", pruned()), "`result` of `write`"),
    "half an epoch": (lambda: prunable.train("x", dataset="digits", epochs=1.5), "a whole number"),
    "no epoch": (lambda: prunable.train("x", dataset="digits", epochs=0), "`epochs` of `train`"),
    "misspelt setting": (
        lambda: prunable.train("x", dataset="digits", epochs=1, batch=9),
        "`batch` is no setting of `TrainSpec`. Did you mean batch_size?",
    ),
    "no data set": (
        lambda: prunable.train("x", epochs=1),
        "`dataset` of `TrainSpec` must be given",
    ),
    "certify in memory": (lambda: prunable.certify(net(), "digits"), "Give the file that holds it"),
    "certify on arrays": (lambda: prunable.certify("n", (X, X)), "must be a str; got tuple"),
    "compare one": (lambda: prunable.compare("n.pt", "digits", "x"), "Did you mean ['n.pt']?"),
    "alphas": (lambda: prunable.simulate("chaos", "x", alphas=1.8), "Did you mean [1.8]?"),
    "experiment": (lambda: prunable.simulate("caos", "x"), "Did you mean chaos?"),
    "masks of a network": (lambda: prunable.save_masks("m", net()), "names to Tensors or a Mask"),
    "plan of a network": (lambda: prunable.masks_of(net(), []), "must be a PruningPlan"),
    "numpy features": (
        lambda: prunable.extract_features(net(), X.numpy()),
        "Give torch.from_numpy of it",
    ),
    # forecasts
    "accuracy as text": (lambda: forecast(accuracy="high"), "must be a number; got 'high'"),
    "one share": (lambda: forecast(keeps=0.5), "Did you mean [0.5]?"),
    "one method": (lambda: forecast(strategies="unit"), "Did you mean ['unit']?"),
    "methods as objects": (lambda: forecast(strategies=[MAGNITUDE]), "got MagnitudePruning"),
    "kind of outputs": (lambda: forecast(kind="langauge"), "Did you mean language?"),
    "a file to forecast": (lambda: prunable.forecast("net.pt", X), "`prunable.load` first"),
    # what a network is run on
    "numpy example": (lambda: shrunk(np.zeros((1, 8))), "got ndarray. Give torch.from_numpy"),
    "no example": (lambda: shrunk(None), "`example` must be a tensor, or several; got None"),
    "a file of inputs": (lambda: calibrated("inputs.npz"), "got 'inputs.npz' (str)"),
    "inputs with classes": (lambda: calibrated(labelled()), "leave out classes"),
    "NaN": (lambda: calibrated(X * float("nan")), "`inputs` of `calibrate` bring NaN"),
    "nothing to run on": (lambda: prunable.recalibrate(normed(), X[:0]), "it is empty"),
    # training
    "no masks": (lambda: held(net()), "`hold_masks` is called wrongly: missing a required arg"),
    "masks swapped": (
        lambda: held(torch.optim.SGD(net().parameters()), net(), pruned()),
        "model.named_parameters(); got Linear",
    ),
    "unnamed": (lambda: noised(nn.Module.parameters), "model.named_parameters(); got Parameter"),
    "round without loss": (lambda: iterated(lambda *_: None), "returns its loss; got None"),
    "no round": (lambda: iterated(3), "`train_round` of `iterate` must be a function; got 3"),
    "rounds": (lambda: iterated(rounds=0), "`rounds` of `iterate` must be at least 1"),
    "watch as csv": (lambda: callbacks.TailWatch("t.csv"), "a file ending in .parquet"),
    "watch misspelt": (lambda: callbacks.watch_lightning("t.parquet", evry=3), "mean every?"),
    "factor of zeros": (
        lambda: prunable.factor(net(), pruned().plan, ROW),
        "one that prunes singular values",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_our_error_and_names_the_mend(mistake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, mend = MISTAKES[mistake]
    with pytest.raises(PrunableError) as caught:
        call()
    said = str(caught.value)
    assert mend in said
    assert said.endswith((".", "?"))
    assert said.count("\n") == 0
    assert not [*tmp_path.iterdir()]
    where = traceback.extract_tb(caught.tb)[-1].filename
    assert "prunable" in where


def test_python_itself_offers_the_nearest_name():
    with pytest.raises(AttributeError) as caught:
        prunable.mesure  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("mesure", prunable)
    assert "measure" in dir(caught.value.obj)
