"""`prunable demo`: the main job, end to end, on real data."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


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
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on stdout.")] = False,
) -> None:
    """Train with and without heavy-tailed noise, measure, prune and compare.

    Writes report.html, results.json, table.md and figures. Interrupt it at will: the same
    command goes on where it stopped, and ends in the same results.

    Example: prunable demo --out demo
    """
    # torch takes seconds to import; `--help` shall not wait for it
    from prunable.experiments.reproduce.demo import count_runs, run_demo
    from prunable.experiments.reproduce.demo_settings import DemoSettings
    from prunable.files import write_json, write_text
    from prunable.report.demo.html import write_report
    from prunable.report.demo.results import load_results
    from prunable.report.demo.tables import render_console, to_markdown
    from prunable.report.figures import save_figures
    from prunable.runs.store import Store

    talk = Console(stderr=True)
    settings = DemoSettings(data, width, steps, seeds, sigma=sigma)
    settings.evaluate_specs()  # refuses bad settings before anything is written
    store = Store(out)
    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with store.locked(), Progress(*columns, console=talk) as progress:
        task = progress.add_task("train, measure, prune", total=count_runs(settings))
        document = run_demo(
            settings, store, workers=workers, on_done=lambda *_: progress.advance(task)
        )
        write_json(out / "results.json", document)
        results = load_results(out / "results.json")
        save_figures(results, out / "figures")
        write_text(out / "table.md", to_markdown(results))
        write_report(results, out / "report.html")
    if as_json:
        typer.echo(json.dumps(document))
    else:
        render_console(results, Console())
    talk.print(f"{time.monotonic() - started:.0f} s; the report is {out / 'report.html'}")
