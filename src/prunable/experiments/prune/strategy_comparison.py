"""Accuracy against kept share, for every strategy on the same trained networks."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from prunable.arguments import checked
from prunable.data.loaders import Dataset
from prunable.errors import InputError, RunsFailedError, require
from prunable.experiments.prune.inputs import data_for
from prunable.experiments.prune.pruning import accuracy_of, train_pruned_
from prunable.experiments.prune.specs import ContenderSpec, Retraining
from prunable.experiments.train.networks import as_tensors
from prunable.files import read_json, write_json
from prunable.nets.models import network_of, read_weights
from prunable.nets.networks.module_roles import parts_of_module
from prunable.nets.networks.views import views_of
from prunable.nets.prune import strategies
from prunable.nets.prune.choices import Scope, ShareRule
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep, PruningPlan
from prunable.nets.prune.saliency import fisher_saliency, gradient_saliency
from prunable.nets.prune.strategies.allocations import NAMED
from prunable.nets.train.training import guesses
from prunable.numerics.randomness import child_seed, rng
from prunable.results import Result
from prunable.runs.backends import Backend, backend_of
from prunable.runs.runner import run_all
from prunable.runs.spec import Frozen
from prunable.runs.store import Run, Store

KAPPAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
SALIENCY_EXAMPLES = 1024
DENSE = "dense"  # the control
COMPARED = "compare.json"

Row = dict[str, Any]
# From a network and the examples that saliencies are computed from.
Make = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], strategies.Strategy]
Contender = tuple[Scope, Make]  # what a share is of, and the strategy


def _plain(scope: Scope, strategy: strategies.Strategy) -> Contender:
    return scope, lambda *_: strategy


CONTENDERS: Mapping[str, Contender] = {
    "magnitude": _plain("global", strategies.MagnitudePruning()),
    "magnitude, layer-wise": _plain("layer", strategies.MagnitudePruning()),
    **{
        f"magnitude, {rule}": _plain("global", strategies.MagnitudePruning(allocation=rule))
        for rule in get_args(ShareRule)
        if rule != "threshold" and rule not in NAMED
    },
    "hessian": (
        "global",
        lambda *given: strategies.SaliencyPruning(fisher_saliency(*given), "hessian"),
    ),
    "magnitude x gradient": (
        "global",
        lambda *given: strategies.SaliencyPruning(gradient_saliency(*given), "gradient"),
    ),
    "randomized": _plain("layer", strategies.RandomizedMagnitudePruning()),
    "unit": _plain("layer", strategies.NodePruning(axis="unit")),
    "input node": _plain("layer", strategies.NodePruning(axis="input")),
    "singular value": _plain("layer", strategies.SingularValuePruning()),
    "random": _plain("global", strategies.RandomPruning()),
}


class Question(Frozen):
    """What is compared: files of networks trained alike from different seeds, and how."""

    networks: tuple[str, ...]
    data: str
    net: str | None = None
    seed: int = 0  # of strategies that draw, and of retraining
    kappas: tuple[float, ...] = KAPPAS
    retraining: Retraining | None = None

    def specs(self, unpickle: bool = False) -> list[ContenderSpec]:
        """The runs that answer it: each network, dense and by each strategy.

        Raises InputError if there is no network, or one cannot be built.
        """
        require(self.networks, "networks", "compare_strategies", "one or more", "none")
        found = []
        for path in self.networks:
            _network(Path(path), self.data, self.net, unpickle)
            dense = ContenderSpec.create(
                checkpoint=path,
                digest=_digest(Path(path)),
                unpickle=unpickle,
                dataset=self.data,
                net=self.net,
                strategy=DENSE,
                kappas=(1.0,),
                seed=self.seed,
            )
            asked = {"kappas": self.kappas, "retraining": self.retraining}
            others = [dense.model_copy(update={"strategy": n, **asked}) for n in CONTENDERS]
            found += [dense, *others]
        return found


@dataclass(frozen=True)
class StrategyComparison(Result):
    """A row a network, strategy and share, and their `summarise`."""

    question: Question
    rows: list[Row] = field(repr=False)
    summary: list[Row] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As compare.json holds it."""
        return vars(self) | {"question": self.question.to_dict()}

    def _rows(self) -> list[Row]:
        return self.summary


@checked("compare")
def compare_strategies(
    networks: Sequence[Path | str],
    data: str,
    out: Path | str,
    *,
    net: str | None = None,
    kappas: Sequence[float] = KAPPAS,
    retraining: Retraining | None = None,
    seed: int = 0,
    unpickle: bool = False,
    backend: Backend | None = None,
    on_done: Callable[..., None] | None = None,
) -> StrategyComparison:
    """Prune each network by each strategy to each share; what is stored is not computed again.

    Networks are checkpoints of networks trained alike from different seeds, and `net` the
    architecture if the files do not say; see `network_of`. The folder `out` holds the runs and the
    document, compare.json. The seed is that of strategies that draw, and of retraining.

    The output layer is pruned by strategies that remove weights, and left whole by those that
    remove units, which would be classes. A strategy that does not apply, such as kernels of
    linear layers, is not listed.

    Raises InputError if the folder holds the answer to another question, or a network cannot be
    built; RunsFailedError if a run failed.

    >>> import tempfile, prunable
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run, out = folder + "/run", folder + "/compared"
    ...     trained = prunable.train(run, dataset="digits", net="two-layer", width=8, epochs=1)
    ...     found = prunable.compare([trained.model], "digits", out, kappas=[0.5])
    >>> found.summary[1]["strategy"], found.summary[1]["kappa"]
    ('magnitude', 0.5)
    """
    question = Question.create(
        networks=tuple(map(str, networks)),
        data=data,
        net=net,
        seed=seed,
        kappas=tuple(kappas),
        retraining=retraining,
    )
    store = Store(Path(out))
    path = store.root / COMPARED
    if path.exists():
        stored = read_json(path)
        if not isinstance(stored, dict) or stored.get("question") != question.to_dict():
            raise InputError(f"{path} answers another question; choose another folder for --out.")
    specs = question.specs(unpickle)
    write_json(path, {"question": question.to_dict()})
    results = run_all(specs, store, backend=backend or backend_of(1), on_done=on_done)
    failed = [result for result in results if result["status"] != "done"]
    if failed:
        raise RunsFailedError(
            f"{len(failed)} of {len(results)} runs failed; the first: {failed[0]['reason']}"
        )
    rows = [row for result in results for row in result["rows"]]
    found = StrategyComparison(question, rows, summarise(rows))
    write_json(path, found.to_dict())
    return found


def contender_stage(spec: ContenderSpec, run: Run) -> dict[str, Any]:
    """Prune one network by one strategy to each share."""
    model, data = _network(Path(spec.checkpoint), spec.dataset.name, spec.net, spec.unpickle)
    model.to(run.device)
    if spec.strategy == DENSE:
        return {"rows": [_row(spec, 1.0, 1.0, model, data)]}
    scope, make = CONTENDERS[spec.strategy]
    x, y, *_ = as_tensors(data, run.device)
    strategy = make(model, x[:SALIENCY_EXAMPLES], y[:SALIENCY_EXAMPLES])
    parts = parts_of_module(model)
    weights = {
        name
        for name, x in parts.items()
        if x.reason is None and x.doubt is None and x.kind != "embedding"
    }
    views = views_of([(n, p) for n, p in model.named_parameters() if n in weights], parts)
    if strategy.axis == "unit":
        views = tuple(view for view in views if view.role != "output")
    rows = []
    for kappa in spec.kappas:
        generator = rng(spec.seed, "compare", spec.strategy)
        plan = strategy.plan(views, Keep(kappa, scope), rng=generator)
        pruned = copy.deepcopy(model)
        apply_plan_(pruned.named_parameters(), plan)
        row = _row(spec, kappa, plan.kappa, pruned, data)
        row["accuracy_retrained"] = _retrained(spec, pruned, plan, data)
        rows.append(row)
    return {"rows": rows}


def _network(
    path: Path, dataset: str, net: str | None, unpickle: bool
) -> tuple[torch.nn.Module, Dataset]:
    tensors, metadata = read_weights(path, unpickle=unpickle)
    data = data_for(dataset, net, metadata)
    return network_of(tensors, metadata, net, shape=data.x_train.shape[1:]).eval(), data


def _digest(path: Path) -> str:
    """Of the content of a file, or of a folder's files."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _row(
    spec: ContenderSpec, asked: float, kappa: float, model: torch.nn.Module, data: Dataset
) -> Row:
    """One network pruned once, judged on the test set.

    `kappa` is the share of numbers kept of those in the pruned layers, of singular values those
    of both factors, and `guesses` the accuracy up to which one class always named is as good.
    """
    return {
        "network": spec.checkpoint,
        "strategy": spec.strategy,
        "kappa_asked": asked,
        "kappa": kappa,
        "accuracy": accuracy_of(model, data),
        "accuracy_retrained": None,
        "guesses": guesses(torch.tensor(data.y_test))[1],
    }


def _retrained(
    spec: ContenderSpec, model: torch.nn.Module, plan: PruningPlan, data: Dataset
) -> float | None:
    """Accuracy after retraining; None of singular values, which have no masks, and if it fails."""
    if spec.retraining is None or plan.layers[0].axis == "singular_value":
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(child_seed(spec.seed, "retrain"))
        outcome = train_pruned_(model, plan, data, spec.retraining, spec.seed)
    return accuracy_of(model, data) if outcome.status == "done" else None


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Mean and range over the networks, one entry a strategy and share.

    Entries have strategy, kappa_asked, n, and of kappa, accuracy and accuracy_retrained the mean,
    and of the accuracies `_min` and `_max`; None where not all were retrained.
    """
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["strategy"], row["kappa_asked"]), []).append(row)
    table = []
    for (strategy, kappa_asked), members in groups.items():
        entry: Row = {
            "strategy": strategy,
            "kappa_asked": kappa_asked,
            "n": len(members),
            "kappa": float(np.mean([row["kappa"] for row in members])),
        }
        for name in ("accuracy", "accuracy_retrained"):
            values = [row[name] for row in members if row[name] is not None]
            whole = len(values) == len(members)
            entry[name] = float(np.mean(values)) if whole else None
            entry[f"{name}_min"] = min(values) if whole else None
            entry[f"{name}_max"] = max(values) if whole else None
        table.append(entry)
    return table
