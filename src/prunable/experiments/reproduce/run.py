"""Reproduces items: plans, runs, documents; what is stored is not computed again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from prunable.data.registry import registered
from prunable.data.store import locate
from prunable.errors import RunsFailedError
from prunable.experiments.reproduce.document import Convention, ItemDocument, Scale
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.items import Item, item_document
from prunable.experiments.reproduce.registry import info_of
from prunable.files import write_json
from prunable.runs.backends import Backend
from prunable.runs.runner import missing_runs, run_all
from prunable.runs.spec import Spec
from prunable.runs.store import Store

OnDone = Callable[[Spec, Result], None]
OnItem = Callable[[ItemDocument], None]


@dataclass(frozen=True)
class DryRun:
    """What a command would do.

    missing : Runs to compute, inputs first.
    done : Runs of the items that are stored already.
    seconds : Rough time of the missing runs on one core.
    missing_data : Registered data sets that the missing runs read and this machine does not have.
    """

    missing: tuple[Spec, ...]
    done: int
    seconds: float
    missing_data: tuple[str, ...]

    def costs(self) -> dict[str, float]:
        """Rough time of each missing run on one core."""
        return {spec.run_id: spec.estimated_seconds() for spec in self.missing}


def dry_run(items: Sequence[Item], scale: Scale, convention: Convention, store: Store) -> DryRun:
    """List what reproducing items would compute; computes and writes nothing."""
    wanted = {
        spec.run_id: spec for item in items for spec in item.plan(scale, convention).runs.values()
    }
    missing = missing_runs(wanted.values(), store)
    names = sorted({name for spec in missing for name in spec.datasets()})
    return DryRun(
        missing=tuple(missing),
        done=len(wanted) - len(wanted.keys() & {spec.run_id for spec in missing}),
        seconds=sum(spec.estimated_seconds() for spec in missing),
        missing_data=tuple(name for name in names if not _is_here(name)),
    )


def reproduce(
    items: Sequence[Item],
    *,
    scale: Scale,
    convention: Convention = "paper",
    store: Store,
    backend: Backend,
    device: str = "auto",
    batch: int | None = None,
    on_done: OnDone | None = None,
    on_item: OnItem | None = None,
) -> list[ItemDocument]:
    """Bring items to their documents, each as soon as its last run is done.

    scale : Part of every document, so that a smoke run is never taken for the paper's size.
    store : Documents go to `items/NAME--SCALE--CONVENTION.json` there.
    batch : Most runs of equal shape computed as one.
    on_done : Told each run and its result as it finishes.
    on_item : Told each document as it is written.
    """
    plans = {item.name: item.plan(scale, convention) for item in items}
    waiting = {
        item.name: {spec.run_id for spec in plans[item.name].runs.values()} for item in items
    }
    by_name = {item.name: item for item in items}
    results: dict[str, Result] = {}
    documents: dict[str, ItemDocument] = {}

    def finish(name: str) -> None:
        plan, item = plans[name], by_name[name]
        found = {key: results[spec.run_id] for key, spec in plan.runs.items()}
        document = documents[name] = item_document(item, info_of(item), plan, found)
        write_json(store.root / "items" / f"{document.stem}.json", document.to_dict())
        if on_item is not None:
            on_item(document)

    def take(spec: Spec, result: Result) -> None:
        results[spec.run_id] = result
        if on_done is not None:
            on_done(spec, result)
        for name, run_ids in waiting.items():
            if spec.run_id in run_ids:
                run_ids.discard(spec.run_id)
                if not run_ids:
                    finish(name)

    for name in [name for name, run_ids in waiting.items() if not run_ids]:
        finish(name)  # an item that needs no run
    wanted = {spec.run_id: spec for plan in plans.values() for spec in plan.runs.values()}
    run_all(list(wanted.values()), store, backend=backend, device=device, batch=batch, on_done=take)
    return [documents[item.name] for item in items]


def refuse_failures(documents: Iterable[ItemDocument]) -> None:
    """Raise if runs of documents failed.

    Raises RunsFailedError, which names how many, and the first with its reason.
    """
    lost = [run for document in documents for run in document.runs if run.status == "failed"]
    if lost:
        raise RunsFailedError(
            f"{len(lost)} run(s) failed, the others are kept; the first, {lost[0].id}: "
            f"{lost[0].reason}"
        )


def _is_here(name: str) -> bool:
    # A data set without files of its own is embedded in a package.
    return not any(form.files for form in registered(name).forms) or locate(name) is not None
