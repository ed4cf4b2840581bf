"""Accuracy of trained networks by every division of one share among layers, in two ways to prune.

Usage: python tools/shares_study.py NETWORKS --data DATA --out docs/strategies [--only NAME ...]
    [--method magnitude|obs] [--allocations RULE ...] [--kappas KAPPA ...] [--images N]

NETWORKS is a folder of trained networks, each beside the `nets.py` that builds it, which is run;
DATA holds CIFAR-10 for the registry's reader. Accuracies, on the first N test pictures, are kept in
OUT/shares.json, so that an interrupted study goes on; OUT/shares-measured.md shows them, and
OUT/shares.svg their means over networks.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from units_networks import Network, with_pictures

from prunable.budgets import Keep
from prunable.files import read_json, write_bytes, write_json, write_text
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.prune.finishing import has_statistics
from prunable.nets.prune.pruning import prune
from prunable.report.figures import PALETTE, SIZE, STYLE, as_svg
from prunable.strategies import BrainSurgery, MagnitudePruning

RULES = ("threshold", "relative", "lamp", "erk", "owl", "alpha", "dlp", "atp", "optimum")
LEFT_OUT = ("alpha",)  # of the figure, where lines are too many to be told apart
KAPPAS = (0.5, 0.3, 0.2, 0.1)
CALIBRATING = 256  # training pictures, without labels
# Each way to prune, and what is measured of it, as rows name it, with what that is.
METHODS: Mapping[str, Callable[..., Any]] = {"magnitude": MagnitudePruning, "obs": BrainSurgery}
MEASURED: Mapping[str, Mapping[str, str]] = {
    "magnitude": {
        "accuracy": "largest weights, as pruned",
        "recalibrated": "largest weights, statistics again",
    },
    "obs": {"recalibrated": "brain surgery, statistics again"},
}
HEADS = {
    "magnitude": "Largest weights: as pruned / with BatchNorm statistics estimated again",
    "obs": "Brain surgery, each layer by itself, and BatchNorm statistics estimated again",
}

Row = dict[str, Any]
KEY = ("network", "method", "kappa", "allocation")


def rows_of(
    network: Network,
    method: str,
    rules: Sequence[str],
    kappas: Sequence[float],
    n_images: int,
    known: Sequence[Row],
) -> Iterator[Row]:
    """Accuracies of one network in one way that are not known, kappa by kappa."""
    done = {tuple(row[part] for part in KEY) for row in known}
    asked = [(kappa, rule) for kappa in kappas for rule in rules]
    asked = [(k, rule) for k, rule in asked if (network.name, method, k, rule) not in done]
    if not asked:
        return
    calibration = calibrate(network.model, network.train[:CALIBRATING])
    surgery = method == "obs"
    for kappa, rule in asked:
        model, budget = copy.deepcopy(network.model), Keep(kappa, scope="global")
        # one threshold may leave nothing of a layer
        prune(
            model,
            METHODS[method](allocation=rule),
            budget,
            calibration=calibration,
            force=True,
            recalibrate=surgery and has_statistics(model),
        )
        row: Row = dict(zip(KEY, (network.name, method, kappa, rule), strict=True))
        row["images"] = n_images
        if not surgery:
            row["accuracy"] = network.accuracy(model, n_images)
            network.recalibrated(model)
        row["recalibrated"] = network.accuracy(model, n_images)
        yield row


def page_of(rows: Sequence[Row]) -> str:
    """Tables of means over networks and of each network, in per cent."""
    images = {row["images"] for row in rows}
    lines = [
        "# Shares per layer, measured",
        "",
        f"Accuracy in per cent on the first {max(images):,} test pictures of CIFAR-10; all weights "
        f"of convolutions and linear layers counted; {CALIBRATING} training pictures without "
        "labels. An empty place was not measured, on one of the networks at least. Written by "
        "`tools/shares_study.py`; [what the rules are](shares.md).",
        "",
        "![Accuracy against the share that is kept, by rule](shares.svg)",
    ]
    for method in METHODS:
        of = [row for row in rows if row["method"] == method]
        networks = list(dict.fromkeys(row["network"] for row in of))
        if networks:
            lines += ["", f"## {HEADS[method]}"]
            lines += _table(of, f"mean of {', '.join(networks)}", method, networks)
        for name in networks:
            lines += _table(of, name, method, [name])
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row], title: str, method: str, networks: Sequence[str]) -> list[str]:
    rules = _rules(rows)
    lines = ["", f"### {title}", "", f"| kappa | {' | '.join(rules)} |", "|---" * (len(rules) + 1)]
    lines[-1] += "|"
    for kappa in _kappas(rows):
        found = [_means(rows, networks, kappa, rule, list(MEASURED[method])) for rule in rules]
        cells = [" / ".join(f"{100 * mean:.1f}" for mean in one) for one in found]
        lines.append(f"| {kappa:g} | {' | '.join(cells)} |")
    return lines


def _rules(rows: Sequence[Row]) -> list[str]:
    return [rule for rule in RULES if any(row["allocation"] == rule for row in rows)]


def _kappas(rows: Sequence[Row]) -> list[float]:
    return sorted({row["kappa"] for row in rows}, reverse=True)


def _means(
    rows: Sequence[Row], networks: Sequence[str], kappa: float, rule: str, keys: Sequence[str]
) -> list[float]:
    """Means over networks; none unless all are known."""
    one = {r["network"]: r for r in rows if r["kappa"] == kappa and r["allocation"] == rule}
    if not set(networks) <= set(one):
        return []
    return [float(np.mean([one[n][key] for n in networks])) for key in keys]


def figure_of(rows: Sequence[Row]) -> Figure:
    """Means over networks against kappa, a panel for each thing measured, a line a rule."""
    panels = [
        (method, key, title)
        for method, measured in MEASURED.items()
        for key, title in measured.items()
        if any(row["method"] == method for row in rows)
    ]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(0.66 * SIZE[0] * len(panels), SIZE[1]), layout="constrained")
        axes = np.atleast_1d(drawn.subplots(1, len(panels), sharey=True))
        for ax, (method, key, title) in zip(axes, panels, strict=True):
            _draw(ax, [row for row in rows if row["method"] == method], key)
            ax.set(title=title, xlabel="kappa (kept share of weights)", xscale="log")
            ax.set_xticks(KAPPAS, [f"{kappa:g}" for kappa in KAPPAS])
            ax.minorticks_off()
        axes[0].set_ylabel("accuracy, mean over networks, %")
        axes[0].legend(fontsize="small")
    return drawn


def _draw(ax: Any, rows: Sequence[Row], key: str) -> None:
    networks = sorted({row["network"] for row in rows})
    for i, rule in enumerate(rule for rule in RULES if rule not in LEFT_OUT):
        found = [(kappa, _means(rows, networks, kappa, rule, [key])) for kappa in _kappas(rows)]
        points = [(kappa, 100 * mean[0]) for kappa, mean in found if mean]
        if not points:
            continue
        best = rule == "optimum"
        ax.plot(
            [kappa for kappa, _ in points],
            [mean for _, mean in points],
            color=PALETTE[0] if best else PALETTE[1 + i % (len(PALETTE) - 1)],
            linestyle="--" if i >= len(PALETTE) - 1 and not best else "-",
            linewidth=2.2 if best else 1.3,
            marker="o",
            markersize=4,
            label=rule,
        )


def main() -> None:
    """Measure what is asked for and not known, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/strategies"))
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--method", choices=METHODS, default="magnitude")
    parser.add_argument("--allocations", nargs="*", default=RULES)
    parser.add_argument("--kappas", nargs="*", type=float, default=KAPPAS)
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    place = given.out / "shares.json"
    rows: list[Row] = read_json(place)["rows"] if place.exists() else []
    for name, load in with_pictures(given.networks, given.data):
        if given.only is None or name in given.only:
            what = (given.method, given.allocations, given.kappas, given.images)
            for row in rows_of(load(), *what, tuple(rows)):
                rows.append(row)
                write_json(place, {"rows": rows})
    write_text(given.out / "shares-measured.md", page_of(rows))
    write_bytes(given.out / "shares.svg", as_svg(figure_of(rows)))


if __name__ == "__main__":
    main()
