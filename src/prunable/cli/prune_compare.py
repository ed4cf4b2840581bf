"""`prunable prune --compare`: every strategy on the same trained networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from prunable.errors import InputError

if TYPE_CHECKING:
    from prunable.experiments.prune.pruning import Retraining


def compare(
    models: Sequence[Path],
    *,
    data: str | None,
    net: str | None,
    out: Path | None,
    retraining: Retraining | None,
    seed: int,
    unpickle: bool,
    as_json: bool,
) -> None:
    """Prune each network by each strategy; write compare.json, compare.md and compare.svg.

    Rows that compare.json already holds are not computed again.
    """
    from prunable.experiments.prune.pruning import load_data
    from prunable.experiments.prune.strategy_comparison import (
        CONTENDERS,
        KAPPAS,
        Row,
        compare_strategies,
        rows_from_json,
        rows_to_json,
        summarise,
    )
    from prunable.files import read_json, write_bytes, write_json, write_text
    from prunable.nets.models import network_of, read_weights
    from prunable.report.figures import as_svg
    from prunable.report.prune.strategy_comparison import (
        comparison_figure,
        comparison_markdown,
        comparison_rows,
    )
    from prunable.runs.store import Store

    if data is None or out is None:
        raise InputError("`prune --compare` needs --data NAME and --out FOLDER.")
    files = [read_weights(path, unpickle=unpickle) for path in models]
    dataset = load_data(data, net, files[0][1])
    shape = dataset.x_train.shape[1:]
    networks = [
        (str(path), network_of(tensors, metadata, net, shape=shape))
        for path, (tensors, metadata) in zip(models, files, strict=True)
    ]
    settings = retraining.settings(len(dataset.x_train), seed) if retraining else None
    # what the rows depend on: other answers must not be mistaken for these
    question = {
        "data": data,
        "net": net,
        "seed": seed,
        "retraining": repr(settings),
        "networks": [name for name, _ in networks],
    }
    found = out / "compare.json"
    with Store(out).locked(), Progress(console=Console(stderr=True)) as progress:
        rows: list[Row] = []
        if found.exists():
            stored = read_json(found)
            if not isinstance(stored, dict) or stored.get("question") != question:
                raise InputError(
                    f"{found} answers another question; choose another folder for --out."
                )
            rows = rows_from_json(stored["rows"], found)
        total = len(networks) * (1 + len(CONTENDERS) * len(KAPPAS))
        task = progress.add_task("pruning", total=total, completed=len(rows))

        def save(new: Row) -> None:
            rows.append(new)
            write_json(found, {"question": question, "rows": rows_to_json(rows)})
            progress.advance(task)

        ordered = compare_strategies(
            networks, dataset, retrain=settings, seed=seed, on_row=save, done=tuple(rows)
        )
    entries = summarise(ordered)
    document = {"question": question, "rows": rows_to_json(ordered), "summary": entries}
    write_json(found, document)
    title = f"Strategies on {dataset.label}"
    command = f"prunable prune {' '.join(map(str, models))} --compare --data {data} --out {out}"
    write_text(out / "compare.md", comparison_markdown(entries, title, command))
    write_bytes(out / "compare.svg", as_svg(comparison_figure(entries, title)))
    if as_json:
        typer.echo(json.dumps(document))
        return
    head, table_rows = comparison_rows(entries)
    table = Table(*head, title=f"{title}: test accuracy, %")
    for row in table_rows:
        table.add_row(*row)
    Console().print(table)
    Console().print(f"{out}: compare.json, compare.md, compare.svg", soft_wrap=True)
