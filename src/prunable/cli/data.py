"""`prunable data`: what data sets there are, where they lie, and fetching them."""

from typing import Annotated, Any

import typer

from prunable.errors import InputError
from prunable.report import terminal
from prunable.report.tables import Column, table
from prunable.report.terminal import AsJson

app = typer.Typer(help="Data sets: list them, fetch one, say where it lies.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name, see `prunable data list`.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the registered data sets, and those of plugins.

    Example: prunable data list --json
    """
    from prunable import plugins
    from prunable.data.registry import REGISTRY
    from prunable.data.store import locate

    rows: list[dict[str, Any]] = []
    for dataset in REGISTRY.values():
        located = locate(dataset.name)
        rows.append(
            {
                "name": dataset.name,
                "label": dataset.label,
                "n_train": dataset.n_train,
                "n_test": dataset.n_test,
                "n_classes": len(dataset.class_names),
                "shape": dataset.shape,
                "default_split": dataset.default_split,
                "path": str(located.folder) if located else None,
                "sources": [f"{s.client} {s.package}" for s in dataset.sources],
                "licence": dataset.licence,
                "provenance": dataset.provenance,
            }
        )
    for name, plugin in plugins.added(plugins.DATA, REGISTRY).items():
        rows.append({"name": name, "plugin": plugin.points[0].value})
    cells = []
    for row in rows:
        if "plugin" in row:
            cells.append([row["name"], "", "", "", f"plugin {row['plugin']}", ""])
            continue
        here = "in scikit-learn" if row["name"] == "digits" else row["path"] or "no"
        shown = (row["name"], row["n_train"], row["n_test"], row["n_classes"], here, row["licence"])
        cells.append([str(cell) for cell in shown])
    words = (Column("here", words=True), Column("licence", words=True))
    terminal.emit(rows, as_json, table(("name", "train", "test", "classes", *words), cells).print)


@app.command("fetch")
def fetch_(name: Name, as_json: AsJson = False) -> None:
    """Fetch a data set, or check the one that is there against its checksums.

    Example: prunable data fetch ecg5000
    """
    from prunable.data.store import fetch

    talk = terminal.talk()
    with talk.status(f"fetching and checking {name}"):
        located = fetch(name)
    paths = {key: str(path) for key, path in located.paths.items()}
    if not as_json:
        talk.print(f"{name} is whole: {located.folder if paths else 'part of scikit-learn'}")
    terminal.emit({"name": name, "path": str(located.folder), "files": paths}, as_json)


@app.command("path")
def path_(name: Name, as_json: AsJson = False) -> None:
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
    folder = str(located.folder)
    terminal.emit({"path": folder}, as_json, lambda _: typer.echo(folder, terminal.results()))
