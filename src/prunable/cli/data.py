"""`prunable data`: what data sets there are, where they lie, and fetching them."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from prunable.errors import InputError

app = typer.Typer(help="Data sets: list them, fetch one, say where it lies.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name, see `prunable data list`.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the registered data sets.

    Example: prunable data list --json
    """
    from prunable.data.registry import REGISTRY
    from prunable.data.store import locate

    rows = []
    for dataset in REGISTRY.values():
        located = locate(dataset.name)
        rows.append(
            {
                "name": dataset.name,
                "label": dataset.label,
                "n_train": dataset.n_train,
                "n_test": dataset.n_test,
                "n_classes": len(dataset.class_names),
                "default_split": dataset.default_split,
                "path": str(located.folder) if located else None,
                "sources": [f"{s.client} {s.package}" for s in dataset.sources],
                "licence": dataset.licence,
                "provenance": dataset.provenance,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("name", "train", "test", "classes", "here", "licence")
    for row in rows:
        place = "in scikit-learn" if row["name"] == "digits" else row["path"] or "no"
        cells = (row["name"], row["n_train"], row["n_test"], row["n_classes"], place)
        table.add_row(*map(str, cells), str(row["licence"]))
    Console().print(table)


@app.command("fetch")
def fetch_(name: Name, as_json: Json = False) -> None:
    """Fetch a data set, or check the one that is there against its checksums.

    Example: prunable data fetch ecg5000
    """
    from prunable.data.store import fetch

    talk = Console(stderr=True)
    with talk.status(f"fetching and checking {name}"):
        located = fetch(name)
    paths = {key: str(path) for key, path in located.paths.items()}
    if as_json:
        typer.echo(json.dumps({"name": name, "path": str(located.folder), "files": paths}))
    else:
        talk.print(f"{name} is whole: {located.folder if paths else 'part of scikit-learn'}")


@app.command("path")
def path_(name: Name, as_json: Json = False) -> None:
    """Print the folder that holds a data set.

    Example: prunable data path mnist
    """
    from prunable.data.registry import registered
    from prunable.data.store import locate, missing

    dataset, located = registered(name), locate(name)
    if name == "digits":
        raise InputError("digits is read out of the installed scikit-learn; it has no folder.")
    if located is None:
        raise missing(dataset)
    typer.echo(json.dumps({"path": str(located.folder)}) if as_json else str(located.folder))
