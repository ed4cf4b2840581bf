"""Predicted risks on features, for the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

MODELS = ("dense", "magnitude", "hessian", "oracle", "retrained", "retrained_same_data")
TITLES = ("dense", "magni-\ntude", "Hes-\nsian", "oracle", "fresh\ndata", "same\ndata")

# Above it, predictions on real data were far too low: docs/predict/features.md.
SPREAD = 0.5


def print_points(
    points: Sequence[dict[str, Any]], title: str, truth: str | None, console: Console
) -> None:
    """Print risks, one row a width and number kept; what was measured stands dim below.

    Parameters
    ----------
    points : sequence of dict
        As in the JSON of `prunable predict rf` and `prunable predict features`.
    title : str
    truth : str, optional
        Name of what was measured.
    console : Console
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("features", "kept", *TITLES):
        table.add_column(column, justify="right", no_wrap=True)

    def cells(row: dict[str, Any], key: str) -> list[str]:
        values = (row[key].get(model) for model in MODELS)
        return ["-" if value is None else f"{value:.3g}" for value in values]

    for row in points:
        table.add_row(str(row["width"]), str(row["s"]), *cells(row, "risk"))
        if truth is not None:
            table.add_row("", truth, *cells(row, "measured"), style="dim")
    console.print(table)
    console.print("[dim]fresh data, same data: magnitude pruned, then fitted again[/]")
    if any(row["n"] == row["width"] for row in points):
        console.print("At as many features as examples the risk has no finite mean: -.")


def print_validity(validity: dict[str, Any], console: Console) -> None:
    """Print how far predictions for random features were off in the nearest setting measured."""
    errors = ", ".join(
        f"{name.replace('_', ' ')} {value:+.0f} %"
        for name, value in validity["error_percent"].items()
    )
    advice = "" if validity["inside"] else " Your setting lies outside what was measured; add "
    console.print(
        f"Measured error of such predictions at d = {validity['d']}, n = {validity['n']}, "
        f"p/n = {validity['p_over_n']:g}, s/n = {validity['s_over_n']:g} (ReLU, quadratic "
        f"target): {errors}.{advice}{'--simulate 5.' if advice else ''}",
        highlight=False,
    )


def print_estimate(document: dict[str, Any], console: Console) -> None:
    """Print what was estimated, and how far predictions are from what was measured.

    Parameters
    ----------
    document : dict
        JSON of `prunable predict features`.
    console : Console
    """
    estimate = document["estimate"]
    console.print(
        f"{estimate['n_examples']:,} examples for the moments, {estimate['n_test']:,} held out; "
        f"covariance drawn to the identity by {estimate['shrinkage_share']:.2g}; noise "
        f"{sum(estimate['noise']):.4g} of {sum(estimate['null_risk']):.4g}.",
        highlight=False,
    )
    if estimate["n_zero_features"]:
        console.print(f"{estimate['n_zero_features']} features are 0 throughout, and left out.")
    if estimate["n_floored"]:
        console.print(
            f"{estimate['n_floored']} directions have variances too small to be told from "
            "rounding; if features have different units, give them equal scales."
        )
    for model, error in document["errors"].items():
        console.print(
            f"{model.replace('_', ' ')}: predictions are off by {error['median_absolute']:.1f} % "
            f"(median), at most {error['largest_absolute']:.1f} %.",
            highlight=False,
        )
    doubt = [
        100 * point["measured_stderr"][model] / value
        for point in document["points"]
        for model, value in point.get("measured", {}).items()
        if value and point["measured_stderr"][model] is not None
    ]
    if doubt:
        console.print(
            f"What was measured has itself a standard error of {statistics.median(doubt):.1f} % "
            "(median); more training sets, by --simulate, lower it.",
            highlight=False,
        )
    unequal = {p["width"]: p["spread"] for p in document["points"] if p["spread"] > SPREAD}
    if unequal:
        widths = ", ".join(f"{spread:.2f} at {width}" for width, spread in unequal.items())
        console.print(
            f"[bold]The examples are of very unequal size[/] (spread {widths} features; Gaussian "
            "ones have 0): expect risks above those predicted, and means over training sets that "
            "few of them decide.",
            highlight=False,
        )
