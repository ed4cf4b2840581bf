"""Accuracy against kept share, for every strategy on the same trained networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from prunable.data.loaders import Dataset
from prunable.errors import InputError
from prunable.experiments.train.networks import as_tensors
from prunable.nets.networks.views import views_of
from prunable.nets.prune.masks import apply_plan_, mask_of
from prunable.nets.prune.plan import Keep, PruningPlan, Scope
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.saliency import fisher_saliency, gradient_saliency
from prunable.nets.prune.strategies import (
    MagnitudePruning,
    NodePruning,
    RandomizedMagnitudePruning,
    RandomPruning,
    SaliencyPruning,
    ShareRule,
    SingularValuePruning,
    Strategy,
)
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import evaluate, train
from prunable.numerics.randomness import child_seed, rng

KAPPAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
SALIENCY_EXAMPLES = 1024


@dataclass(frozen=True)
class Contender:
    """A strategy in the comparison.

    Attributes
    ----------
    name : str
        For people.
    scope : {"layer", "global"}
        What the share is of.
    make : callable
        Strategy for a network and the examples that saliencies are computed from.
    """

    name: str
    scope: Scope
    make: Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], Strategy]


def _plain(strategy: Strategy) -> Callable[..., Strategy]:
    return lambda *_: strategy


CONTENDERS: tuple[Contender, ...] = (
    Contender("magnitude", "global", _plain(MagnitudePruning())),
    Contender("magnitude, layer-wise", "layer", _plain(MagnitudePruning())),
    *(
        Contender(f"magnitude, {a}", "global", _plain(MagnitudePruning(allocation=a)))
        for a in get_args(ShareRule)
        if a != "threshold"
    ),
    Contender(
        "hessian",
        "global",
        lambda model, x, y: SaliencyPruning(fisher_saliency(model, x, y), "hessian"),
    ),
    Contender(
        "magnitude x gradient",
        "global",
        lambda model, x, y: SaliencyPruning(gradient_saliency(model, x, y), "gradient"),
    ),
    Contender("randomized", "layer", _plain(RandomizedMagnitudePruning())),
    Contender("unit", "layer", _plain(NodePruning(axis="unit"))),
    Contender("input node", "layer", _plain(NodePruning(axis="input"))),
    Contender("singular value", "layer", _plain(SingularValuePruning())),
    Contender("random", "global", _plain(RandomPruning())),
)


@dataclass(frozen=True)
class Row:
    """One network pruned once.

    Attributes
    ----------
    network : str
        File it came from; "dense" rows are the control.
    strategy : str
        Name of the contender, or "dense".
    kappa_asked : float
    kappa : float
        Numbers kept of those in the pruned layers; of singular values, of both factors.
    accuracy : float
        On the test set, as pruned.
    accuracy_retrained : float, optional
        After retraining under the masks.
    """

    network: str
    strategy: str
    kappa_asked: float
    kappa: float
    accuracy: float
    accuracy_retrained: float | None = None


def compare_strategies(
    networks: Sequence[tuple[str, torch.nn.Module]],
    data: Dataset,
    *,
    kappas: Sequence[float] = KAPPAS,
    retrain: TrainingSettings | None = None,
    seed: int = 0,
    on_row: Callable[[Row], None] | None = None,
    done: Sequence[Row] = (),
) -> list[Row]:
    """Prune each network by each strategy to each share.

    Parameters
    ----------
    networks : sequence of (str, Module)
        Trained alike from different seeds, under the names of their files; left as they are.
    data : Dataset
        Test accuracy is measured on it, and saliencies and retraining use its training set.
    kappas : sequence of float
        Shares to ask for.
    retrain : TrainingSettings, optional
        How to train on under the masks; singular values have none.
    seed : int
        Of strategies that draw, and of retraining.
    on_row : callable, optional
        Told each new row.
    done : sequence of Row
        Rows of an earlier, interrupted call; not computed again.

    Returns
    -------
    list of Row
        For each network the dense control, then strategy by strategy.

    Raises
    ------
    InputError
        If no network is given, or a share is out of range.

    Notes
    -----
    The output layer is pruned by strategies that remove weights, and left whole by those that
    remove units, which would be classes. A strategy that does not apply, such as kernels of
    linear layers, is not listed.
    """
    if not networks:
        raise InputError.parameter("networks", "compare_strategies", "one or more", "none")
    found = {(row.network, row.strategy, row.kappa_asked): row for row in done}
    rows = []
    for name, model in networks:
        for row in _rows_of(name, model.eval(), data, kappas, retrain, seed, found):
            if (row.network, row.strategy, row.kappa_asked) not in found and on_row:
                on_row(row)
            rows.append(row)
    return rows


def _rows_of(
    name: str,
    model: torch.nn.Module,
    data: Dataset,
    kappas: Sequence[float],
    retrain: TrainingSettings | None,
    seed: int,
    found: dict[tuple[str, str, float], Row],
) -> Iterator[Row]:
    tensors = as_tensors(data)
    x, y, x_test, y_test = tensors
    dense = found.get((name, "dense", 1.0))
    yield dense or Row(name, "dense", 1.0, 1.0, evaluate(model, x_test, y_test)["accuracy"])
    for contender in CONTENDERS:
        keys = [(name, contender.name, kappa) for kappa in kappas]
        if all(key in found for key in keys):
            yield from (found[key] for key in keys)
            continue
        part = slice(0, SALIENCY_EXAMPLES)
        strategy = contender.make(model, x[part], y[part])
        views = views_of(model.named_parameters())
        if strategy.axis == "unit":
            views = tuple(view for view in views if view.role != "output")
        for key in keys:
            if key in found:
                yield found[key]
                continue
            generator = rng(seed, "compare", contender.name)
            plan = strategy.plan(views, Keep(key[2], contender.scope), rng=generator)
            yield _row(key, model, plan, tensors, retrain, seed)


def _row(
    key: tuple[str, str, float],
    model: torch.nn.Module,
    plan: PruningPlan,
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    retrain: TrainingSettings | None,
    seed: int,
) -> Row:
    x, y, x_test, y_test = tensors
    pruned = copy.deepcopy(model)
    apply_plan_(pruned.named_parameters(), plan)
    accuracy = evaluate(pruned, x_test, y_test)["accuracy"]
    retrained = None
    if retrain is not None and all(layer.axis != "singular_value" for layer in plan.layers):
        named = dict(pruned.named_parameters())
        masks = {layer.name: mask_of(layer, named[layer.name].shape) for layer in plan.layers}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(child_seed(seed, "retrain"))
            outcome = train(
                pruned,
                x,
                y,
                retrain,
                prepare=lambda optimizer: hold_masks(optimizer, named.items(), masks),
            )
        if outcome.status == "done":
            retrained = evaluate(pruned, x_test, y_test)["accuracy"]
    return Row(*key, plan.kappa, accuracy, retrained)


def summarise(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mean and range over the networks, one entry a strategy and share.

    Parameters
    ----------
    rows : sequence of Row

    Returns
    -------
    list of dict
        Keys strategy, kappa_asked, n, and of kappa, accuracy and accuracy_retrained the mean,
        and of the accuracies `_min` and `_max`; None where nothing was retrained.
    """
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.strategy, row.kappa_asked), []).append(row)
    table = []
    for (strategy, kappa_asked), members in groups.items():
        entry: dict[str, Any] = {
            "strategy": strategy,
            "kappa_asked": kappa_asked,
            "n": len(members),
            "kappa": float(np.mean([row.kappa for row in members])),
        }
        for name in ("accuracy", "accuracy_retrained"):
            values = [v for row in members if (v := getattr(row, name)) is not None]
            whole = len(values) == len(members)
            entry[name] = float(np.mean(values)) if whole else None
            entry[f"{name}_min"] = min(values) if whole else None
            entry[f"{name}_max"] = max(values) if whole else None
        table.append(entry)
    return table


def rows_to_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as plain JSON values."""
    return [asdict(row) for row in rows]


def rows_from_json(values: Any, path: Path) -> list[Row]:
    """Read what `rows_to_json` gave.

    Raises
    ------
    InputError
        If `path` holds something else.
    """
    try:
        return [Row(**value) for value in values]
    except TypeError as error:
        raise InputError(
            f"{path} does not hold rows of a comparison ({error}); choose another folder."
        ) from error
