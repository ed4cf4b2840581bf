"""The one-shot study: ways to prune once, with a little unlabelled data, on trained networks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from prunable.data.store import digest_of, folders
from prunable.errors import DataIntegrityError
from prunable.experiments.reproduce import checks
from prunable.experiments.reproduce.document import (
    Cell,
    Check,
    Column,
    Convention,
    Panel,
    Scale,
    Table,
)
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import series
from prunable.experiments.train.networks import as_tensors
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import MODEL
from prunable.nets.archive import load_tensors
from prunable.nets.calibration.stages import InOrder
from prunable.nets.models import network_of, read_weights
from prunable.nets.models.sources import network_by_reference
from prunable.nets.prune.choices import ShareRule
from prunable.nets.prune.finishing import has_statistics
from prunable.nets.prune.plan import Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.strategies import (
    BrainSurgery,
    CalibratedPruning,
    InputWeightedPruning,
    MagnitudePruning,
    Refitted,
    Strategy,
)
from prunable.numerics.randomness import rng
from prunable.runs.data import DataSpec
from prunable.runs.spec import Spec
from prunable.runs.store import Run

ACCURACY, USUAL = "accuracy", "calibrated"
# Of pictures as the networks of a folder were trained on them.
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
AT_ONCE = 250  # pictures
# Each way to prune, and what it means; all but the first estimate BatchNorm statistics again.
METHODS: Mapping[str, str] = {
    "magnitude, statistics as they were": "largest weights",
    "magnitude": "largest weights",
    "wanda": "largest weights times inputs",
    "obs": "brain surgery, each layer by itself",
    "refit": "largest weights refitted, each layer by itself",
    "obs in order": "brain surgery, each layer on what the pruned ones before it send",
    USUAL: "the usual way: in order, towards the network, what does best in each layer",
}


class OneShotSpec(Spec):
    """Prunes one trained network in one way to several shares of all its weights."""

    stage: ClassVar[str] = "prunable.experiments.prune.one_shot_study:one_shot_stage"

    network: str  # a file of the folder of networks, without its ending; "" for the trained one
    digest: str  # of that file's content, SHA-256; "" where there is none
    train: TrainSpec | None = None
    dataset: DataSpec
    method: str
    allocation: ShareRule
    kappas: tuple[float, ...]
    n_inputs: int = Field(ge=1)  # unlabelled training inputs
    n_test: int = Field(ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Size:
    """How much is computed at a scale."""

    networks: tuple[str, ...]
    data: str
    allocations: tuple[ShareRule, ...]
    kappas: tuple[float, ...]
    n_inputs: int
    n_test: int


NETWORKS = ("resnet20-1", "vgg-1", "mobilenet-1", "vit-1")
SHARES = (0.5, 0.3, 0.2, 0.1)
SIZES: Mapping[Scale, Size] = {
    "smoke": Size(("",), "digits", ("lamp",), (0.3, 0.1), 128, 300),
    "laptop": Size(NETWORKS, "cifar10", ("lamp", "optimum"), SHARES, 256, 2000),
    "paper": Size(
        NETWORKS,
        "cifar10",
        ("threshold", "lamp", "erk", "atp", "alpha", "owl", "dlp", "optimum"),
        SHARES,
        256,
        10_000,
    ),
}


def one_shot_stage(spec: OneShotSpec, run: Run) -> dict[str, Any]:
    """Prune the network to each share, and judge it on the test set."""
    model, x, x_test, y_test = _network(spec, run)
    order = rng(spec.seed, "one-shot").permutation(len(x))[: spec.n_inputs]
    inputs = x[torch.from_numpy(order)]
    x_test, y_test = x_test[: spec.n_test], y_test[: spec.n_test]
    found = [{"kappa": 1.0, ACCURACY: _accuracy(model, x_test, y_test)}]
    for kappa in spec.kappas:
        pruned = copy.deepcopy(model)
        result = _prune(pruned, spec, kappa, inputs)
        found.append({"kappa": result, ACCURACY: _accuracy(pruned, x_test, y_test)})
    return {"metrics": {}, "shares": found}


def _prune(model: nn.Module, spec: OneShotSpec, kappa: float, inputs: Tensor) -> float:
    """Prune in place; the share that is left."""
    strategies: dict[str, Strategy] = {
        "wanda": InputWeightedPruning(allocation=spec.allocation),
        "obs": BrainSurgery(allocation=spec.allocation),
        "obs in order": BrainSurgery(allocation=spec.allocation),
        "refit": Refitted(MagnitudePruning(allocation=spec.allocation)),
        USUAL: CalibratedPruning(allocation=spec.allocation),
    }
    strategy = strategies.get(spec.method, MagnitudePruning(allocation=spec.allocation))
    again = has_statistics(model) and spec.method != "magnitude, statistics as they were"
    given = InOrder(inputs) if spec.method == "obs in order" else inputs
    budget = Keep(kappa, "global")
    return prune(model, strategy, budget, calibration=given, recalibrate=again).plan.kappa


def _network(spec: OneShotSpec, run: Run) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """The network, training inputs, test inputs and labels, where the run is to be computed."""
    if spec.train is not None:
        tensors, metadata = read_weights(run.folder_of(spec.train) / MODEL)
        data = spec.dataset.load()
        model = network_of(tensors, metadata, None, shape=data.x_train.shape[1:])
        x, _, x_test, y_test = as_tensors(data, run.device)
        return model.eval().to(run.device), x, x_test, y_test
    model = _of_folder(spec.network, spec.digest)
    x, _, x_test, y_test = as_tensors(spec.dataset.load(flatten=False), run.device)
    scale = 255.0 if float(x.max()) > 1 else 1.0
    mean, deviation = (torch.tensor(v, device=run.device).view(3, 1, 1) for v in (MEAN, DEVIATION))
    seen, unseen = ((part / scale - mean) / deviation for part in (x, x_test))
    return model.eval().to(run.device), seen, unseen, y_test


def _file_of(name: str) -> Path | None:
    """Of a trained network: in the folder `zoo` beside the data."""
    return next((p for f in folders("zoo") if (p := f / f"{name}.safetensors").exists()), None)


def _digest(name: str) -> str:
    path = _file_of(name)
    return "" if path is None else digest_of(path, "sha256")


def _of_folder(name: str, digest: str) -> nn.Module:
    """A trained network of the folder, built by the user's own `nets.py`.

    Code comes from where the command is called, or from the path of Python, never from the data.
    """
    path = _file_of(name)
    if path is None:
        raise DataIntegrityError(f"there is no $PRUNABLE_DATA/zoo/{name}.safetensors.")
    if _digest(name) != digest:
        raise DataIntegrityError(f"{path} has changed since the study began; begin it again.")
    model = network_by_reference(f"nets:{name.removesuffix('-1')}", "reproduce study-one-shot")
    model.load_state_dict(load_tensors(path)[0])
    return model.float()


@torch.inference_mode()
def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    parts = zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
    right = sum(int((model.eval()(some).argmax(1) == labels).sum()) for some, labels in parts)
    return right / len(x)


def _plan(scale: Scale, convention: Convention) -> Plan:
    size = SIZES[scale]
    data = DataSpec.create(name=size.data)
    train = None
    if size.networks == ("",):
        steps = 15 * -(-data.n_train // 100)
        train = TrainSpec.create(
            dataset=data,
            net="two-layer",
            width=60,
            lr=0.01,
            optimizer="adam",
            batch_size=100,
            steps=steps,
        )
    digests = {network: _digest(network) for network in size.networks}
    runs = {
        f"{method}, {allocation}/{number}": OneShotSpec.create(
            network=network,
            digest=digests[network],
            train=train,
            dataset=data,
            method=method,
            allocation=allocation,
            kappas=size.kappas,
            n_inputs=size.n_inputs,
            n_test=size.n_test,
        )
        for method in METHODS
        for allocation in size.allocations
        for number, network in enumerate(size.networks)
    }
    settings: dict[str, str | int | float | bool] = {
        "data": size.data,
        "networks": ", ".join(size.networks) or "two layers of 60, trained here",
        "unlabelled inputs": size.n_inputs,
        "test inputs": size.n_test,
    }
    notes = ("Deviations are over networks. Nothing was chosen by these networks' test sets.",)
    return Plan(scale, convention, runs, settings, notes)


def measure(spec: Spec, result: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Accuracies against the shares that were asked for; 1 is the dense network."""
    assert isinstance(spec, OneShotSpec)
    for kappa, share in zip((1.0, *spec.kappas), result["shares"], strict=True):
        yield ACCURACY, share[ACCURACY], kappa


def _conditions(found: Found) -> list[str]:
    return list(dict.fromkeys(key.rpartition("/")[0] for key in found.plan.runs))


def _table(found: Found) -> Table | None:
    rows, kappas = [], SIZES[found.plan.scale].kappas
    for condition in _conditions(found):
        groups = found.of(condition, ACCURACY).group("x")
        if groups:
            cells = [Cell(groups[k].mean, groups[k].std, runs=groups[k].runs) for k in kappas]
            rows.append((Cell(condition), *cells))
    if not rows:
        return None
    columns = (Column(f"kappa {k:g}", f"kappa {k:g}", "%", 1) for k in kappas)
    return Table("Mean accuracy", (Column("way", "way, shares"), *columns), tuple(rows))


def _panel(found: Found) -> Panel:
    shown = [c for c in _conditions(found) if c.endswith(", lamp")]
    lines = [
        series(
            condition.removesuffix(", lamp"),
            found.of(condition, ACCURACY).group("x").items(),
            style="line+points",
        )
        for condition in shown
    ]
    return Panel(
        "Pruned once, shares by LAMP",
        "kappa (kept share of weights)",
        "accuracy, mean over networks",
        tuple(lines),
        x_log=True,
    )


def _claims(found: Found) -> Iterator[Check]:
    """The usual way against each of its ingredients, on each network and share, same shares."""
    usual = found.of(f"{USUAL}, lamp", ACCURACY).group("x")
    for method in METHODS:
        other = found.of(f"{method}, lamp", ACCURACY).group("x")
        if method == USUAL or not usual or not other:
            continue
        apart = [
            other[k].by_seed[network] - usual[k].by_seed[network]
            for k in SIZES[found.plan.scale].kappas
            for network in usual[k].by_seed
            if network in other[k].by_seed
        ]
        yield checks.at_most(
            f"The usual way loses at most a point to {method} on any network",
            max(apart),
            0.01,
            f"{100 * max(apart):.1f} points at most",
        )


STUDY = Item(
    name="study-one-shot",
    paper=None,
    kind="study",
    label="One shot",
    title="Networks pruned once, with a few unlabelled inputs",
    claim="Layers that are fitted in order to the dense network's outputs keep more accuracy than "
    "layers that are pruned by themselves, in any of the known ways.",
    plan=_plan,
    gather=Gather(tables=(_table,), panels=(_panel,), claims=(_claims,), measure=measure),
)
