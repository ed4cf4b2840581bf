"""Tables and sentences of predicted risks, for the terminal."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from prunable.report.tables import MISSING, Column, Row, Table, as_number, spread, table

NAMES = {
    "dense": "dense",
    "magnitude": "magnitude pruned",
    "hessian": "Hessian pruned",
    "oracle": "oracle pruned",
    "retrained": "retrained (magnitude)",
    "retrained_hessian": "retrained (Hessian)",
    "retrained_oracle": "retrained (oracle)",
    "retrained_same_data": "same data (magnitude)",
    "retrained_same_data_hessian": "same data (Hessian)",
    "retrained_same_data_oracle": "same data (oracle)",
}
# Of risks that are retrained after magnitude pruning only.
LABELS = {name: NAMES[name] for name in ("dense", "magnitude", "hessian", "oracle")} | {
    "retrained": "retrained, fresh data",
    "retrained_same_data": "retrained, same data",
}
# Points of a curve that are shown.
ROWS = 15
SHORT = {
    "dense": "dense",
    "magnitude": "magni- tude",
    "hessian": "Hes- sian",
    "oracle": "oracle",
    "retrained": "fresh, magn.",
    "retrained_hessian": "fresh, Hess.",
    "retrained_oracle": "fresh, orac.",
    "retrained_same_data": "same, magn.",
    "retrained_same_data_hessian": "same, Hess.",
    "retrained_same_data_oracle": "same, orac.",
}
INFINITE = "infinite"
# Above it, predictions on real data were far too low: docs/predict/features.md.
SPREAD = 0.5


def print_lgp(document: dict[str, Any], console: Console) -> None:
    """Print what `predict lgp --json` holds: the risks at one setting, or points of a curve."""
    if "curve" in document:
        _curve_table(document).print(console)
    else:
        _risk_table(document).print(console)
        _say(console, *_point(document["fixed_point"]))
    found, law = document.get("recommendation"), document.get("law")
    if found:
        _say(console, _advice(found, document["settings"]["s"]))
    if law:
        _say(console, *_law(law, document["settings"]))
    if "curve" not in document:
        _say(console, *(f"- {note}" for note in document["notes"]))


def print_points(
    points: Sequence[dict[str, Any]], title: str, truth: str | None, console: Console
) -> None:
    """Print the points of `predict rf --json` or `predict features --json`.

    One row a width and number kept; what was measured, called `truth`, stands dim below.
    """
    columns = [SHORT[name] for name in ("dense", "magnitude", "hessian", "oracle")]
    notes = ["fresh, same data: magnitude pruned, then fitted again"]
    if any(row["n"] == row["width"] for row in points):
        notes.append(f"At as many features as examples the risk has no finite mean: {MISSING}.")
    rows = []
    for row in points:
        rows.append(Row((str(row["width"]), str(row["s"]), *_cells(row["risk"]))))
        if truth is not None:
            rows.append(Row(("", truth, *_cells(row["measured"])), dim=True))
    titles: list[str | Column] = [Column("features"), "kept", *columns, "fresh data", "same data"]
    table(titles, rows, title=title, notes=notes).print(console)


def print_validity(validity: dict[str, Any], console: Console) -> None:
    """Print how far predictions for random features were off in the nearest setting measured."""
    errors = ", ".join(
        f"{_words(name)} {value:+.0f} %" for name, value in validity["error_percent"].items()
    )
    advice = "" if validity["inside"] else " Your setting lies outside what was measured; add "
    _say(
        console,
        f"Measured error of such predictions at d = {validity['d']}, n = {validity['n']}, "
        f"p/n = {validity['p_over_n']:g}, s/n = {validity['s_over_n']:g} (ReLU, quadratic "
        f"target): {errors}.{advice}{'--simulate 5.' if advice else ''}",
    )


def print_estimate(document: dict[str, Any], console: Console) -> None:
    """Print what `predict features --json` estimated, and how far off its predictions are."""
    estimate = document["estimate"]
    _say(
        console,
        f"{estimate['n_examples']:,} examples for the moments, {estimate['n_test']:,} held out; "
        f"covariance drawn to the identity by {estimate['shrinkage_share']:.2g}; noise "
        f"{sum(estimate['noise']):.4g} of {sum(estimate['null_risk']):.4g}.",
    )
    if estimate["n_zero_features"]:
        _say(console, f"{estimate['n_zero_features']} features are 0 throughout, and left out.")
    if estimate["n_floored"]:
        _say(
            console,
            f"{estimate['n_floored']} directions have variances too small to be told from "
            "rounding; if features have different units, give them equal scales.",
        )
    for model, error in document["errors"].items():
        _say(
            console,
            f"{_words(model)}: predictions are off by {error['median_absolute']:.1f} % "
            f"(median), at most {error['largest_absolute']:.1f} %.",
        )
    doubt = [
        100 * point["measured_stderr"][model] / value
        for point in document["points"]
        for model, value in point.get("measured", {}).items()
        if value and point["measured_stderr"][model] is not None
    ]
    if doubt:
        _say(
            console,
            f"What was measured has itself a standard error of {statistics.median(doubt):.1f} % "
            "(median); more training sets, by --simulate, lower it.",
        )
    unequal = {p["width"]: p["spread"] for p in document["points"] if p["spread"] > SPREAD}
    if unequal:
        widths = ", ".join(f"{size:.2f} at {width}" for width, size in unequal.items())
        _say(
            console,
            f"[bold]The examples are of very unequal size[/] (spread {widths} features; Gaussian "
            "ones have 0): expect risks above those predicted, and means over training sets that "
            "few of them decide.",
        )


def _risk_table(document: dict[str, Any]) -> Table:
    """One row a model, beside simulated risks if there are any."""
    settings, simulation = document["settings"], document.get("simulation")
    errors = document["standard_error"]
    rows = []
    for name, value in (
        document["risk"] | {"retrained_same_data": document["retrained_same_data"]}
    ).items():
        label = NAMES[name].replace("magnitude)", f"{settings['method']})")
        cells = [label, _risk(value, errors.get(name), _unbounded(document, name))]
        if simulation:
            mean = simulation["mean"].get(name)
            cells.append(_risk(mean, simulation["standard_error"].get(name)))
            known = value is not None and mean is not None and mean > 1e-12
            cells.append(f"{100 * (value / mean - 1):+.1f}" if known else MISSING)
        rows.append(cells)
    beside = [f"{simulation['replicas']} simulations", "difference, %"] if simulation else []
    return table(["model", "risk", *beside], rows, title=_caption(document))


def _curve_table(document: dict[str, Any]) -> Table:
    """Some points of a sweep, evenly spread."""
    curve, simulation = document["curve"], document.get("simulation")
    count, rows = len(curve["points"]), []
    for place in sorted({round(i * (count - 1) / (ROWS - 1)) for i in range(ROWS)}):
        peak = curve["regime"][place] == "at interpolation"
        cells = [_short(values[place], peak) for values in curve["risk"].values()]
        rows.append(Row((f"{curve['points'][place]:.6g}", *cells)))
        for part, label in (("mean", "simulated"), ("standard_error", "±")):
            if simulation:
                found = [simulation[part].get(name) for name in curve["risk"]]
                cells = [MISSING if at is None else _short(at[place]) for at in found]
                rows.append(Row((label, *cells), dim=True))
    titles: list[str | Column] = [
        Column(curve["variable"]),
        *(SHORT[name] for name in curve["risk"]),
    ]
    return table(titles, rows, title=_caption(document))


def _point(point: dict[str, Any]) -> list[str]:
    if point["xi"] is None:
        return []
    return [
        f"[dim]fixed point: xi = {point['xi']:.6g}, gamma = {point['gamma']:.6g}, residual "
        f"{point['residual']:.1e}[/]"
    ]


def _law(law: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    quantiles = ", ".join(f"{float(q):.0%} {as_number(x)}" for q, x in law["quantiles"].items())
    kept = ", ".join(f"{share:.0%} by {name}" for name, share in law["recovery"].items())
    return [
        f"Quantiles of the learned coefficients: {quantiles}.",
        f"Of the {settings['s']:,} most salient features pruning keeps {kept}; chance "
        f"{settings['s'] / settings['p']:.0%}.",
    ]


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


def _cells(risks: dict[str, float | None]) -> list[str]:
    return [as_number(risks.get(model)) for model in LABELS]


def _short(value: float | None, unbounded: bool = False) -> str:
    return INFINITE if value is None and unbounded else as_number(value, 4)


def _risk(value: float | None, error: float | None, unbounded: bool = False) -> str:
    if value is None and unbounded:
        return INFINITE
    return spread(lambda x: f"{x:.4f}", value, error or None)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _say(console: Console, *sentences: str) -> None:
    for sentence in sentences:
        console.print(sentence, highlight=False)
