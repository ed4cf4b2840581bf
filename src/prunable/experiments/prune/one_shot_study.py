"""The one-shot study: ways to prune once, with a little unlabelled data, on trained networks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from prunable.experiments.prune.trained import TRAINED, trained_here
from prunable.experiments.reproduce import checks, document
from prunable.experiments.reproduce.frame import Found
from prunable.experiments.reproduce.items import Gather, Item
from prunable.experiments.reproduce.plans import Plan
from prunable.experiments.reproduce.tables import series
from prunable.experiments.train.networks import as_tensors
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import MODEL
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.calibration.stages import InOrder
from prunable.nets.models import network_of, read_weights
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

ACCURACY, USUAL, IN_ORDER = "accuracy", "calibrated", "obs in order"
AT_ONCE = 250  # pictures
# Each way to prune, and what it means; all but the first estimate BatchNorm statistics again.
METHODS: Mapping[str, str] = {
    "magnitude, statistics as they were": "largest weights",
    "magnitude": "largest weights",
    "wanda": "largest weights times inputs",
    "obs": "brain surgery, each layer by itself",
    "refit": "largest weights refitted, each layer by itself",
    IN_ORDER: "brain surgery, each layer on what the pruned ones before it send",
    USUAL: "the usual way: in order, towards the network, what does best in each layer",
}


# Seconds of one core for one share of a network of the folder, roughly.
SECONDS = {"obs": 12.0, "refit": 12.0, IN_ORDER: 25.0, USUAL: 45.0}


class OneShotSpec(Spec):
    """Prunes one trained network in one way to several shares of all its weights."""

    stage: ClassVar[str] = "prunable.experiments.prune.one_shot_study:one_shot_stage"

    network: str  # a trained network by its name; "" for the one trained here
    digest: str  # of its file; "" where there is none
    code: str  # digest of the user's file that builds it; "" where there is none
    train: TrainSpec | None = None
    dataset: DataSpec
    method: str
    allocation: ShareRule
    kappas: tuple[float, ...]
    n_inputs: int = Field(ge=1)  # unlabelled training inputs
    n_test: int = Field(ge=1)
    seed: int = 0

    def estimated_seconds(self) -> float:
        """Rough time on one core: the pruning, the search for shares, and the test images."""
        if not self.network:
            return 1.0
        search = 60.0 if self.allocation == "optimum" else 0.0
        each = SECONDS.get(self.method, 4.0) + search + 3e-3 * self.n_test
        return len(self.kappas) * each


@dataclass(frozen=True)
class Size:
    """How much is computed at a scale."""

    networks: tuple[str, ...]
    data: str
    ways: Mapping[ShareRule, tuple[str, ...]]  # methods by the rule of their shares
    kappas: tuple[float, ...]
    n_inputs: int
    n_test: int


NETWORKS = ("resnet20-1", "vgg-1", "mobilenet-1", "vit-1")
SHARES = (0.5, 0.3, 0.2, 0.1)
ALL, MASKS = tuple(METHODS), ("magnitude", "wanda")  # shares of masks alone are soon found
RULES: tuple[ShareRule, ...] = ("lamp", "threshold", "erk", "atp", "alpha", "owl", "dlp", "optimum")
SIZES: Mapping[document.Scale, Size] = {
    "smoke": Size(("",), "digits", {"lamp": ALL}, (0.3, 0.1), 128, 300),
    "laptop": Size(NETWORKS, "cifar10", {"lamp": ALL, "optimum": MASKS}, SHARES, 256, 2000),
    "paper": Size(
        (*NETWORKS, "published resnet20", "published resnet32"),
        "cifar10",
        dict.fromkeys(RULES, ALL),
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
    in_order = spec.method in (IN_ORDER, USUAL)
    given = inputs if in_order else calibrate(model, inputs)  # once for all shares
    found = [{"kappa": 1.0, ACCURACY: _accuracy(model, x_test, y_test)}]
    for kappa in spec.kappas:
        pruned = copy.deepcopy(model)
        result = _prune(pruned, spec, kappa, given)
        found.append({"kappa": result, ACCURACY: _accuracy(pruned, x_test, y_test)})
    return {"metrics": {}, "shares": found}


def _prune(model: nn.Module, spec: OneShotSpec, kappa: float, given: Any) -> float:
    """Prune in place by inputs, or by what is known from them; the share that is left."""
    strategies: dict[str, Strategy] = {
        "wanda": InputWeightedPruning(allocation=spec.allocation),
        "obs": BrainSurgery(allocation=spec.allocation),
        IN_ORDER: BrainSurgery(allocation=spec.allocation),
        "refit": Refitted(MagnitudePruning(allocation=spec.allocation)),
        USUAL: CalibratedPruning(allocation=spec.allocation),
    }
    strategy = strategies.get(spec.method, MagnitudePruning(allocation=spec.allocation))
    again = has_statistics(model) and spec.method != "magnitude, statistics as they were"
    given = InOrder(given) if spec.method == IN_ORDER else given
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
    trained = TRAINED[spec.network]
    model = trained.load(spec.digest, spec.code)
    x, _, x_test, y_test = as_tensors(spec.dataset.load(flatten=False), run.device)
    scale = 255.0 if float(x.max()) > 1 else 1.0
    mean, deviation = (torch.tensor(v, device=run.device).view(3, 1, 1) for v in trained.moments)
    seen, unseen = ((part / scale - mean) / deviation for part in (x, x_test))
    return model.to(run.device), seen, unseen, y_test


@torch.inference_mode()
def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    parts = zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
    right = sum(int((model.eval()(some).argmax(1) == labels).sum()) for some, labels in parts)
    return right / len(x)


def _digests(name: str) -> dict[str, str]:
    """What a network's weights and code are known by."""
    trained = TRAINED.get(name)
    found = ("", "") if trained is None else (trained.digest(), trained.code())
    return dict(zip(("digest", "code"), found, strict=True))


def _plan(scale: document.Scale, convention: document.Convention) -> Plan:
    size = SIZES[scale]
    data = DataSpec.create(name=size.data)
    train = trained_here(data) if size.networks == ("",) else None
    files = {name: _digests(name) for name in size.networks}
    runs = {
        f"{method}, {allocation}/{number}": OneShotSpec.create(
            network=network,
            **files[network],
            train=train,
            dataset=data,
            method=method,
            allocation=allocation,
            kappas=size.kappas,
            n_inputs=size.n_inputs,
            n_test=size.n_test,
        )
        for allocation, methods in size.ways.items()
        for method in methods
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


def _table(found: Found) -> document.Table | None:
    rows, kappas = [], SIZES[found.plan.scale].kappas
    for condition in _conditions(found):
        groups = found.of(condition, ACCURACY).group("x")
        if groups:
            cells = [
                document.Cell(groups[k].mean, groups[k].std, runs=groups[k].runs) for k in kappas
            ]
            rows.append((document.Cell(condition), *cells))
    if not rows:
        return None
    columns = (document.Column(f"kappa {k:g}", f"kappa {k:g}", "%", 1) for k in kappas)
    return document.Table(
        "Mean accuracy", (document.Column("way", "way, shares"), *columns), tuple(rows)
    )


def _panel(found: Found) -> document.Panel:
    shown = [c for c in _conditions(found) if c.endswith(", lamp")]
    lines = [
        series(
            condition.removesuffix(", lamp"),
            found.of(condition, ACCURACY).group("x").items(),
            style="line+points",
        )
        for condition in shown
    ]
    return document.Panel(
        "Pruned once, shares by LAMP",
        "kappa (kept share of weights)",
        "accuracy, mean over networks",
        tuple(lines),
        x_log=True,
    )


def _claims(found: Found) -> Iterator[document.Check]:
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


def _sharing(found: Found) -> Iterator[document.Check]:
    """The optimum of shares against each other rule that is beside it, over networks."""
    size = SIZES[found.plan.scale]
    for rule, methods in size.ways.items():
        for method in methods:
            ways = (f"{method}, {rule}", f"{method}, optimum")
            other, best = (_means_of(found, way) for way in ways)
            if rule == "optimum" or not other or set(other) != set(best):
                continue
            apart = {k: other[k] - best[k] for k in size.kappas}
            told = ", ".join(f"{-100 * apart[k]:+.1f} at kappa {k:g}" for k in size.kappas)
            yield checks.at_most(
                f"In the mean over networks {method} keeps more accuracy with the optimum of "
                f"shares than with those of {rule}",
                max(apart.values()),
                0.0,
                f"points: {told}",
            )


def _means_of(found: Found, way: str) -> dict[float, float]:
    """Accuracies over networks by kappa."""
    groups = found.of(way, ACCURACY).group("x")
    return {kappa: one.mean for kappa, one in groups.items() if one.mean is not None}


STUDY = Item(
    name="study-one-shot",
    paper=None,
    kind="study",
    label="One shot",
    title="Networks pruned once, with a few unlabelled inputs",
    claim="Layers that are fitted in order to the dense network's outputs keep more accuracy than "
    "layers that are pruned by themselves, in any of the known ways.",
    plan=_plan,
    gather=Gather(tables=(_table,), panels=(_panel,), claims=(_claims, _sharing), measure=measure),
)
