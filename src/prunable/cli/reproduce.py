"""`prunable reproduce`: tables and figures of the papers beside the papers' numbers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from prunable.report import terminal
from prunable.report.tables import Column, table

if TYPE_CHECKING:
    from rich.console import Console

    from prunable.experiments.reproduce.run import DryRun
    from prunable.runs.backends import Backend

Scale = Literal["smoke", "laptop", "paper"]
Where = Literal["serial", "process", "ray"]


def reproduce(
    context: typer.Context,
    item: Annotated[
        list[str],
        typer.Argument(
            help="Items, papers (`wan2023`), studies or `all` papers; or `list` to see them."
        ),
    ],
    scale: Annotated[
        Scale, typer.Option(help="Seconds; hours on two cores; the paper's own size.")
    ] = "laptop",
    convention: Annotated[
        Literal["paper", "authors-code"],
        typer.Option(help="Where a paper's text and its code differ."),
    ] = "paper",
    out: Annotated[Path, typer.Option(help="Folder of runs and report.")] = Path("reproduction"),
    backend: Annotated[Where, typer.Option(help="Where to compute.")] = "process",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Tasks at once; numbers do not depend on it.")
    ] = None,
    device: terminal.Device = "auto",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Most networks of equal shape computed as one.")
    ] = None,
    address: terminal.Address = None,
    gpus: Annotated[float, typer.Option(min=0, help="Share of a GPU per task, with ray.")] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List runs, rough cost and missing data only.")
    ] = False,
    as_json: terminal.AsJson = False,
) -> None:
    """Reproduce tables and figures of the papers, beside the papers' numbers.

    Writes index.html, and for each item a JSON document, a table and a figure. Interrupt it at
    will: the same command goes on where it stopped. Runs are shared between items.

    Example: prunable reproduce wan2023-table1 --scale smoke --out reproduction
    """
    # torch takes seconds to import; `--help` shall not wait for it
    from prunable import front
    from prunable.experiments.reproduce import run
    from prunable.experiments.reproduce.registry import items_named
    from prunable.report.reproduce.pages import render_console
    from prunable.runs.devices import devices_of
    from prunable.runs.store import Store

    terminal.refuse_idle(
        context,
        {
            "workers": (backend != "serial", "--backend process or ray"),
            "address": (backend == "ray", "--backend ray"),
            "gpus": (backend == "ray", "--backend ray"),
        },
    )
    console = terminal.Plain(highlight=False, file=terminal.results())
    if item == ["list"]:
        _list(console, as_json)
        return
    started = time.monotonic()
    planned = run.dry_run(items_named(item), scale, convention, Store(out))
    if dry_run:
        _show(planned, console, as_json)
        return
    where = _backend(backend, workers, address, gpus)
    devices_of(device)
    with Store(out).locked():  # refuses a place where nothing can be written
        terminal.announce(planned.seconds, f"{len(planned.missing)} runs")
    n_runs = len(planned.missing) + planned.done
    with terminal.counted("runs", n_runs, planned.costs()) as one_more:
        found = front.reproduce(
            *item,
            out=out,
            scale=scale,
            convention=convention,
            backend=where,
            device=device,
            batch=batch,
            on_done=one_more,
        )
    if as_json:
        typer.echo(json.dumps(found.to_dict()["items"]), terminal.results())
    else:
        for document in found.documents:
            render_console(document, console)
    terminal.talk().print(f"{time.monotonic() - started:.0f} s; the report is {out / 'index.html'}")
    run.refuse_failures(found.documents)


def _backend(where: Where, workers: int | None, address: str | None, gpus: float) -> Backend:
    from prunable.runs.backends import ProcessBackend, RayBackend, SerialBackend

    if where == "serial":
        return SerialBackend()
    if where == "process":
        return ProcessBackend() if workers is None else ProcessBackend(workers)
    return RayBackend(address, workers, gpus)


def _list(console: Console, as_json: bool) -> None:
    from prunable.experiments.reproduce.registry import all_items, studies

    items = (*all_items(), *studies().values())
    if as_json:
        rows = [
            {
                "item": item.name,
                "paper": item.paper,
                "kind": item.kind,
                "scales": list(get_args(Scale)),
                "claim": item.claim,
                "title": item.title,
                "conventions": list(item.conventions),
            }
            for item in items
        ]
        terminal.emit(rows, as_json)
        return
    columns = [Column(title, words=True) for title in ("item", "what it shows", "claim")]
    table(columns, [(item.name, item.title, item.claim) for item in items]).print(console)


def _show(planned: DryRun, console: Console, as_json: bool) -> None:
    if as_json:
        rows = [
            {"id": spec.run_id, "kind": spec.kind(), "seconds": round(spec.estimated_seconds(), 1)}
            for spec in planned.missing
        ]
        found = {
            "missing": rows,
            "done": planned.done,
            "seconds": round(planned.seconds, 1),
            "missing_data": list(planned.missing_data),
        }
        terminal.emit(found, as_json)
        return
    kinds: dict[str, list[float]] = {}
    for spec in planned.missing:
        kinds.setdefault(spec.kind(), []).append(spec.estimated_seconds())
    rows_shown = [(kind, str(len(times)), f"{sum(times):.0f}") for kind, times in kinds.items()]
    table(["runs", "number", "seconds on one core, roughly"], rows_shown).print(console)
    console.print(
        f"{len(planned.missing)} runs to compute, {planned.done} done; "
        f"roughly {planned.seconds / 60:.0f} minutes on one core."
    )
    for name in planned.missing_data:
        console.print(f"{name} is missing; `prunable data fetch {name}` brings it.")
