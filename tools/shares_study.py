"""Accuracy of trained networks by every division of one share among layers, masks by magnitude.

Usage: python tools/shares_study.py NETWORKS --data DATA --out docs/strategies [--only NAME ...]
    [--allocations RULE ...] [--images N]

NETWORKS is a folder of trained networks, each beside the `nets.py` that builds it, which is run;
DATA holds CIFAR-10 for the registry's reader. Accuracies, on the first N test pictures, are kept in
OUT/shares.json, so that an interrupted study goes on; OUT/shares-measured.md shows them.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from units_networks import Network, with_pictures

from prunable.budgets import Keep
from prunable.files import read_json, write_json, write_text
from prunable.nets.calibration.calibrating import calibrate
from prunable.nets.prune.pruning import prune
from prunable.strategies import MagnitudePruning

RULES = ("threshold", "relative", "lamp", "erk", "owl", "alpha", "dlp", "atp", "optimum")
KAPPAS = (0.5, 0.3, 0.2, 0.1)
CALIBRATING = 256  # training pictures, without labels

Row = dict[str, Any]


def rows_of(
    network: Network, rules: Sequence[str], n_images: int, known: Sequence[Row]
) -> Iterator[Row]:
    """Accuracies of one network, as pruned and with recalibrated BatchNorm, that are not known."""
    done = {(row["kappa"], row["allocation"]) for row in known if row["network"] == network.name}
    asked = [(kappa, rule) for kappa in KAPPAS for rule in rules if (kappa, rule) not in done]
    if not asked:
        return
    calibration = calibrate(network.model, network.train[:CALIBRATING])
    for kappa, rule in asked:
        model, budget = copy.deepcopy(network.model), Keep(kappa, scope="global")
        strategy = MagnitudePruning(allocation=rule)  # type: ignore[arg-type]
        # one threshold may leave nothing of a layer
        prune(model, strategy, budget, calibration=calibration, force=True)
        row = {"network": network.name, "kappa": kappa, "allocation": rule, "images": n_images}
        row["accuracy"] = network.accuracy(model, n_images)
        row["recalibrated"] = network.accuracy(network.recalibrated(model), n_images)
        yield row


def page_of(rows: Sequence[Row]) -> str:
    """Tables of means over networks and of each network, in per cent."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    kappas = sorted({row["kappa"] for row in rows}, reverse=True)
    rules = [rule for rule in RULES if any(row["allocation"] == rule for row in rows)]
    images = {row["images"] for row in rows}
    lines = [
        "# Shares per layer, measured",
        "",
        f"Accuracy in per cent on the first {max(images):,} test pictures of CIFAR-10, masks by "
        f"magnitude, all weights of convolutions and linear layers counted; {CALIBRATING} training "
        "pictures without labels. As pruned / with BatchNorm statistics estimated again on these. "
        "Written by `python tools/shares_study.py`.",
    ]
    for name in ("mean", *networks):
        of = networks if name == "mean" else [name]
        lines += [
            "",
            f"## {name}",
            "",
            f"| kappa | {' | '.join(rules)} |",
            "|---" * (len(rules) + 1) + "|",
        ]
        for kappa in kappas:
            cells = [_cell(rows, of, kappa, rule) for rule in rules]
            lines.append(f"| {kappa:g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(rows: Sequence[Row], networks: Sequence[str], kappa: float, rule: str) -> str:
    one = {r["network"]: r for r in rows if r["kappa"] == kappa and r["allocation"] == rule}
    if not set(networks) <= set(one):
        return ""
    means = (np.mean([one[n][key] for n in networks]) for key in ("accuracy", "recalibrated"))
    return " / ".join(f"{100 * mean:.1f}" for mean in means)


def main() -> None:
    """Measure what is asked for and not known, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/strategies"))
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--allocations", nargs="*", default=RULES)
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    place = given.out / "shares.json"
    rows: list[Row] = read_json(place)["rows"] if place.exists() else []
    for name, load in with_pictures(given.networks, given.data):
        if given.only is None or name in given.only:
            for row in rows_of(load(), given.allocations, given.images, tuple(rows)):
                rows.append(row)
                write_json(place, {"rows": rows})
                write_text(given.out / "shares-measured.md", page_of(rows))


if __name__ == "__main__":
    main()
