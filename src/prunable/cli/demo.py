"""`prunable demo`: the main job, end to end, on real data."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from prunable.report.terminal import AsJson, Device, announce, command_typed, counted, emit, talk


def demo(
    out: Annotated[Path, typer.Option(help="Folder for results and report.")] = Path("demo"),
    data: Annotated[str, typer.Option(help="Data set; digits needs no network.")] = "ecg5000",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; the numbers do not depend on it.")
    ] = os.cpu_count() or 1,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each condition.")] = 5,
    width: Annotated[int, typer.Option(min=1, help="Hidden units n.")] = 2000,
    steps: Annotated[int, typer.Option(min=1, help="Full-batch training steps.")] = 600,
    sigma: Annotated[float, typer.Option(help="Level of the noise.")] = 0.15,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train with and without heavy-tailed noise, measure, prune and compare.

    Writes report.html, results.json, table.md and figures. Interrupt it at will: the same
    command goes on where it stopped, and ends in the same results.

    Example: prunable demo --out demo
    """
    # torch takes seconds to import; `--help` shall not wait for it
    from prunable.experiments.reproduce import run
    from prunable.papers.wan2023 import demo as items
    from prunable.report.reproduce.pages import render_console
    from prunable.report.reproduce.writing import write_demonstration
    from prunable.runs.backends import ProcessBackend
    from prunable.runs.devices import devices_of
    from prunable.runs.store import Store

    settings = items.DemoSettings(data, width, steps, seeds, sigma=sigma)
    item, store, started = items.demonstration(settings), Store(out), time.monotonic()
    where = ProcessBackend(workers)
    devices_of(device)
    planned = run.dry_run([item], "laptop", "paper", store)  # refuses bad settings
    n_runs = len(planned.missing) + planned.done
    with store.locked(), counted("runs", n_runs, planned.costs()) as one_more:
        announce(planned.seconds, "the demonstration")
        (document,) = run.reproduce(
            [item], scale="laptop", store=store, backend=where, device=device, on_done=one_more
        )
        run.refuse_failures([document])
        results = items.results_of(settings, store)
        write_demonstration(document, results, items.FIGURES, out, made_by=command_typed())
    emit(results, as_json, lambda console: render_console(document, console))
    talk().print(f"{time.monotonic() - started:.0f} s; the report is {out / 'report.html'}")
