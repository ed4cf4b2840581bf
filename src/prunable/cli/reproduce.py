"""`prunable reproduce`: tables and figures of the papers beside the papers' numbers."""

from __future__ import annotations

import enum
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from prunable.experiments.reproduce.run import DryRun
    from prunable.runs.backends import Backend


class Scale(enum.StrEnum):
    """How large."""

    SMOKE = "smoke"
    LAPTOP = "laptop"
    PAPER = "paper"


class Convention(enum.StrEnum):
    """Whose definitions, where text and released code of a paper differ."""

    PAPER = "paper"
    AUTHORS_CODE = "authors-code"


class Where(enum.StrEnum):
    """Backend."""

    SERIAL = "serial"
    PROCESS = "process"
    RAY = "ray"


def reproduce(
    item: Annotated[
        list[str], typer.Argument(help="Items, papers (`wan2023`) or `all`; or `list` to see them.")
    ],
    scale: Annotated[
        Scale, typer.Option(help="Seconds; hours on two cores; the paper's own size.")
    ] = Scale.LAPTOP,
    convention: Annotated[
        Convention, typer.Option(help="Where a paper's text and its code differ.")
    ] = Convention.PAPER,
    out: Annotated[Path, typer.Option(help="Folder of runs and report.")] = Path("reproduction"),
    backend: Annotated[Where, typer.Option(help="Where to compute.")] = Where.PROCESS,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Tasks at once; numbers do not depend on it.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Most networks of equal shape computed as one.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; a local one is started without.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="Share of a GPU per task, with ray.")] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List runs, rough cost and missing data only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Reproduce tables and figures of the papers, beside the papers' numbers.

    Writes index.html, and for each item a JSON document, a table and a figure. Interrupt it at
    will: the same command goes on where it stopped. Runs are shared between items.

    Example: prunable reproduce wan2023-table1 --scale smoke --out reproduction
    """
    # torch takes seconds to import; `--help` shall not wait for it
    from prunable.errors import RunsFailedError
    from prunable.experiments.reproduce import run
    from prunable.experiments.reproduce.registry import items_named
    from prunable.report.reproduce.reproduction import load_documents, render_console, write_item
    from prunable.report.reproduce.reproduction_html import write_index
    from prunable.runs.store import Store

    if item == ["list"]:
        _list(as_json)
        return
    items, store = items_named(item), Store(out)
    if dry_run:
        _show(run.dry_run(items, scale.value, convention.value, store), as_json)
        return
    talk = Console(stderr=True)
    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=talk) as progress:
        planned = run.dry_run(items, scale.value, convention.value, store)
        task = progress.add_task("runs", total=len(planned.missing) + planned.done)
        documents = run.reproduce(
            items,
            scale=scale.value,
            convention=convention.value,
            store=store,
            backend=_backend(backend, workers, address, gpus),
            batch=batch,
            on_done=lambda *_: progress.advance(task),
            on_item=lambda document: write_item(document, out / "items"),
        )
    write_index(load_documents(out), out / "index.html")
    if as_json:
        typer.echo(json.dumps([document.to_dict() for document in documents]))
    else:
        console = Console()
        for document in documents:
            render_console(document, console)
    talk.print(f"{time.monotonic() - started:.0f} s; the report is {out / 'index.html'}")
    lost = [r for document in documents for r in document.runs if r.status == "failed"]
    if lost:
        raise RunsFailedError(
            f"{len(lost)} run(s) failed, the others are kept; the first, {lost[0].id}: "
            f"{lost[0].reason}"
        )


def _backend(where: Where, workers: int | None, address: str | None, gpus: float) -> Backend:
    from prunable.errors import InputError
    from prunable.runs.backends import ProcessBackend, RayBackend, SerialBackend

    if where is not Where.RAY and (address is not None or gpus):
        raise InputError("`--address` and `--gpus` belong to `--backend ray`; leave them out.")
    if where is Where.SERIAL:
        return SerialBackend()
    if where is Where.PROCESS:
        return ProcessBackend() if workers is None else ProcessBackend(workers)
    return RayBackend(address, workers, gpus)


def _list(as_json: bool) -> None:
    from prunable.experiments.reproduce.registry import all_items, studies

    items = (*all_items(), *studies().values())
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "item": item.name,
                "paper": item.paper,
                "kind": item.kind,
                "scales": [scale.value for scale in Scale],
                "claim": item.claim,
                "title": item.title,
                "conventions": list(item.conventions),
            }
            for item in items
        ]
        typer.echo(json.dumps(rows))
        return
    table = Table("item", "what it shows", "claim")
    for item in items:
        table.add_row(item.name, item.title, item.claim)
    Console().print(table)


def _show(planned: DryRun, as_json: bool) -> None:
    rows = [
        {"id": spec.run_id, "kind": spec.kind(), "seconds": round(spec.estimated_seconds(), 1)}
        for spec in planned.missing
    ]
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "missing": rows,
                    "done": planned.done,
                    "seconds": round(planned.seconds, 1),
                    "missing_data": list(planned.missing_data),
                }
            )
        )
        return
    kinds: dict[str, list[float]] = {}
    for spec in planned.missing:
        kinds.setdefault(spec.kind(), []).append(spec.estimated_seconds())
    table = Table("runs", "number", "seconds on one core, roughly")
    for kind, seconds in kinds.items():
        table.add_row(kind, str(len(seconds)), f"{sum(seconds):.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"{len(rows)} runs to compute, {planned.done} done; "
        f"roughly {planned.seconds / 60:.0f} minutes on one core."
    )
    for name in planned.missing_data:
        console.print(f"{name} is missing; `prunable data fetch {name}` brings it.")
