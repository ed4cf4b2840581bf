"""The main job on real data: train with and without heavy tails, measure, prune, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prunable.data.loaders import load
from prunable.errors import RunsFailedError
from prunable.experiments.prune.specs import PruneSpec
from prunable.experiments.reproduce.demo_results import results_document
from prunable.experiments.reproduce.demo_settings import DemoSettings
from prunable.runs.runner import run_all
from prunable.runs.spec import Spec
from prunable.runs.store import Store

Row = dict[str, Any]


def count_runs(settings: DemoSettings) -> int:
    """Number of stored results the demonstration needs, for a progress bar."""
    return (2 * len(settings.conditions) - 1) * settings.n_seeds


def run_demo(
    settings: DemoSettings,
    store: Store,
    *,
    workers: int,
    on_done: Callable[[Spec, Row], None] | None = None,
) -> Row:
    """Run or resume the demonstration and gather its results document.

    Parameters
    ----------
    settings : DemoSettings
    store : Store
        Finished runs found there are reused.
    workers : int
        Processes.
    on_done : callable, optional
        Told each finished run.

    Returns
    -------
    dict
        The document written as `results.json`; the same for interrupted and uninterrupted
        executions, since it holds neither times nor paths.

    Raises
    ------
    RunsFailedError
        If a run failed; finished ones are kept.
    """
    data = load(settings.dataset)
    specs = settings.evaluate_specs()
    evaluated = run_all(list(specs.values()), store, workers=workers, on_done=on_done)
    _refuse_failures(evaluated)
    results = dict(zip(specs, evaluated, strict=True))
    # The control of the paper's Tables 17-19: plain SGD, pruned as far as the noisy nets.
    controls = {
        (key, seed): PruneSpec.create(
            train=specs["none", seed].train, kappa=1 - result["metrics"]["pruning_ratio_squared"]
        )
        for (key, seed), result in results.items()
        if key != "none" and result["status"] == results["none", seed]["status"] == "done"
    }
    pruned = run_all(list(controls.values()), store, workers=workers, on_done=on_done)
    _refuse_failures(pruned)
    return results_document(settings, data, results, dict(zip(controls, pruned, strict=True)))


def _refuse_failures(results: Iterable[Row]) -> None:
    failed = [result for result in results if result["status"] == "failed"]
    if failed:
        raise RunsFailedError(
            f"{len(failed)} run(s) failed, the others are kept; the first, {failed[0]['id']}: "
            f"{failed[0]['reason']}"
        )
