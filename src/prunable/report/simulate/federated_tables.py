"""Federated runs as tables, from stored results."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from prunable.report.simulate.federated_figures import title_of

COLUMNS = ("clients send", "accuracy, %", "points below", "bytes a round", "fewer bytes", "holds")


def cells(run: dict[str, Any]) -> tuple[str, ...]:
    """One run as the texts of `COLUMNS`."""
    summary = run["summary"]
    return (
        run["method"]["label"],
        f"{100 * summary['accuracy']:.2f}",
        f"{summary['points_below']:+.2f}",
        f"{summary['bytes_up_round']:,.0f}",
        f"{summary['fewer_bytes']:.2f}",
        "yes" if summary["holds"] else "no",
    )


def federated_table(document: dict[str, Any]) -> Table:
    """A table for the terminal.

    Parameters
    ----------
    document : dict
        Of `prunable simulate federated`.
    """
    required = document["required"]
    table = Table(
        title=f"{title_of(document)}, {document['rounds']} rounds",
        caption=f"holds: at least {required['fewer_bytes']:g} times fewer bytes uploaded, "
        f"at most {required['points']:g} point below dense FedAvg",
    )
    for i, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 0 < i < len(COLUMNS) - 1 else "left")
    for run in document["runs"]:
        table.add_row(*cells(run))
    return table


def federated_markdown(document: dict[str, Any]) -> str:
    """The same table in Markdown, and how compressible updates and models were.

    Parameters
    ----------
    document : dict
        As in `federated_table`.
    """
    lines = [
        f"### {title_of(document)}, {document['rounds']} rounds",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "---:|" * (len(COLUMNS) - 2) + "---|",
        *("| " + " | ".join(cells(run)) + " |" for run in document["runs"]),
        "",
        "Relative l2 error of keeping a tenth, mean over rounds, of the first client:",
        "",
        "| clients send | weights of the update | units of the update | weights of the model "
        "| units of the model |",
        "|---|---:|---:|---:|---:|",
    ]
    for run in document["runs"]:
        found = [row["compressibility"] for row in run["rows"] if row["compressibility"]]
        means = []
        for name in ("update_weights", "update_units", "model_weights", "model_units"):
            values = [row[name] for row in found if row[name] is not None]
            means.append(f"{sum(values) / len(values):.3f}" if values else "")
        lines.append(f"| {run['method']['label']} | " + " | ".join(means) + " |")
    lines += ["", "Examples of each class (columns) at each client (rows):", "", "```"]
    width = max(len(str(count)) for row in document["clients"] for count in row) + 1
    lines += ["".join(f"{count:>{width}}" for count in row) for row in document["clients"]]
    return "\n".join([*lines, "```", ""])
