"""Tables of predicted risks, for the terminal."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from prunable.predict.linear.figures import NAMES

ROWS = 15
SHORT = {
    "dense": "dense",
    "magnitude": "magni-\ntude",
    "hessian": "Hes-\nsian",
    "oracle": "oracle",
    "retrained": "fresh,\nmagn.",
    "retrained_hessian": "fresh,\nHess.",
    "retrained_oracle": "fresh,\norac.",
    "retrained_same_data": "same,\nmagn.",
    "retrained_same_data_hessian": "same,\nHess.",
    "retrained_same_data_oracle": "same,\norac.",
}
INFINITE = "infinite"
MISSING = "–"


def render_risks(document: dict[str, Any], console: Console) -> None:
    """Print the risks at one setting, beside simulated ones if there are any.

    Parameters
    ----------
    document : dict
        As `predict lgp --json` gives it.
    console : Console
    """
    settings, simulation = document["settings"], document.get("simulation")
    table = Table(title=_caption(document), box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    table.add_column("risk", justify="right")
    if simulation:
        table.add_column(f"{simulation['replicas']} simulations", justify="right")
        table.add_column("difference, %", justify="right")
    errors = document["standard_error"]
    rows = {**document["risk"], "retrained_same_data": document["retrained_same_data"]}
    for name, value in rows.items():
        label = NAMES[name].replace("magnitude)", f"{settings['method']})")
        cells = [label, _risk(value, errors.get(name), _unbounded(document, name))]
        if simulation:
            mean = simulation["mean"].get(name)
            cells.append(_risk(mean, simulation["standard_error"].get(name), unbounded=False))
            known = value is not None and mean is not None and mean > 1e-12
            cells.append(f"{100 * (value / mean - 1):+.1f}" if known else MISSING)
        table.add_row(*cells)
    console.print(table)
    point = document["fixed_point"]
    if point["xi"] is not None:
        console.print(
            f"[dim]fixed point: xi = {point['xi']:.6g}, gamma = {point['gamma']:.6g}, residual "
            f"{point['residual']:.1e}[/]"
        )
    _render_end(document, console)


def render_curve(document: dict[str, Any], console: Console) -> None:
    """Print some points of a sweep, at most 15 evenly spread.

    Parameters
    ----------
    document : dict
        As `predict lgp --sweep ... --json` gives it.
    console : Console
    """
    curve, simulation = document["curve"], document.get("simulation")
    table = Table(
        title=_caption(document), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    table.add_column(curve["variable"], justify="right", no_wrap=True)
    for name in curve["risk"]:
        table.add_column(SHORT[name], justify="right", no_wrap=True)
    count = len(curve["points"])
    for place in sorted({round(i * (count - 1) / (ROWS - 1)) for i in range(ROWS)}):
        peak = curve["regime"][place] == "at interpolation"
        cells = [_short(values[place], unbounded=peak) for values in curve["risk"].values()]
        table.add_row(f"{curve['points'][place]:.6g}", *cells)
        for part, label in (("mean", "simulated"), ("standard_error", "±")):
            if simulation:
                found = [simulation[part].get(name) for name in curve["risk"]]
                cells = [MISSING if at is None else _short(at[place]) for at in found]
                table.add_row(label, *cells, style="dim")
    console.print(table)
    _render_end(document, console)


def _render_end(document: dict[str, Any], console: Console) -> None:
    found = document.get("recommendation")
    if found:
        console.print(_advice(found, document["settings"]["s"]), highlight=False)
    for note in document["notes"] if "curve" not in document else []:
        console.print(f"- {note}", highlight=False)


def _advice(found: dict[str, Any], s: int) -> str:
    if found["model"] == "dense":
        return f"Train the {s} features directly: risk {found['risk']:.4g}; pruning gains nothing."
    text = (
        f"Train {found['width']:,} features and prune to {s:,} ({NAMES[found['model']]}): risk "
        f"{found['risk']:.4g}, {100 * found['gain']:.1f} % below training the first {s:,} directly."
    )
    known = f"the best small model with known salient features has {found['informed_risk']:.4g}"
    return (
        f"{text} It {'beats' if found['beats_informed'] else 'does not beat'} even that: {known}."
    )


def _caption(document: dict[str, Any]) -> str:
    settings = document["settings"]
    return (
        f"n = {settings['n']:,}, p = {settings['p']:,}, s = {settings['s']:,}, sigma = "
        f"{settings['sigma']:g}, {settings['covariance']} covariance, {document['regime']}; "
        "risks with sigma²"
    )


def _unbounded(document: dict[str, Any], name: str) -> bool:
    """Whether a risk that is null is infinite, not missing."""
    if document["regime"] == "at interpolation" and name != "retrained_same_data":
        return True
    return name == "retrained" and document["settings"]["covariance"] != "spectral"


def _short(value: float | None, *, unbounded: bool = False) -> str:
    if value is None:
        return INFINITE if unbounded else MISSING
    return f"{value:.4g}" if value else "0"


def _risk(value: float | None, error: float | None, unbounded: bool = False) -> str:
    if value is None:
        return INFINITE if unbounded else MISSING
    return f"{value:.4f}" if not error else f"{value:.4f} ± {error:.4f}"
