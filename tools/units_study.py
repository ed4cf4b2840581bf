"""Accuracy of coupled units cut from trained networks, beside Torch-Pruning at equal multiply-adds.

Usage: python tools/units_study.py NETWORKS --data DATA --out docs/units [--work WORK] [--images N]
    [--retrain]

NETWORKS is a folder of trained networks, each beside the `nets.py` that builds it, which is run;
DATA holds CIFAR-10 for the registry's reader. Every network and level is a file in WORK (default:
OUT/work), so that an interrupted study goes on. Writes units.json, units.md and units.svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from units_networks import LEVELS, Network, with_pictures
from units_page import write_page
from units_peer import Peer, variants
from units_retraining import retrained_cell

from prunable.errors import InputError
from prunable.files import read_json, write_json
from prunable.nets.networks.timing import interleaved_seconds
from prunable.nets.prune.activations import activation_saliency
from prunable.nets.prune.cutting import cut_groups
from prunable.nets.prune.grouped import GroupPlan
from prunable.nets.prune.groups import groups_of
from prunable.nets.prune.sensitivity import divergences, sensitivity_plans
from prunable.nets.prune.strategies import SaliencyPruning, UnitPruning
from prunable.nets.shrink.footprint import macs_of

SELECTING = 500  # test pictures by which the peer's best variants are found
COMMAND = "python tools/units_study.py NETWORKS --data DATA --out docs/units"
ALL = 10_000  # test pictures
FINALISTS = 2  # of the peer, measured on all pictures


def our_cell(network: Network, level: float, n_images: int, path: Path) -> dict[str, Any]:
    """The one method of ours: shares by sensitivity, units by activations, nothing tuned.

    What is measured of the groups serves all levels and is kept beside the cells.
    """
    if path.exists() and read_json(path)["images"] == n_images:
        return read_json(path)
    small, plans, share = our_network(network, level, path.with_name("sensitivity.json"))
    model, small, one = network.model, network.recalibrated(small), network.test[:1]
    with torch.inference_mode():
        times = interleaved_seconds({"dense": lambda: model(one), "cut": lambda: small(one)})
    row = {
        "macs": share,
        "images": n_images,
        "accuracy": network.accuracy(small, n_images),
        "kept": {p.name: [p.n_kept, p.n_total] for p in plans},
        "milliseconds": {name: 1e3 * float(np.median(x)) for name, x in times.items()},
    }
    write_json(path, row)
    return row


def our_network(
    network: Network, level: float, kept: Path
) -> tuple[nn.Module, Sequence[GroupPlan], float]:
    """The network as we cut it, what stays of each group, and its share of multiply-adds."""
    model, example = network.model, network.example
    groups = groups_of(model, example).groups
    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    strategy = UnitPruning(SaliencyPruning(activation_saliency(model, network.unlabelled)))
    scores = strategy.scores(groups, weights, rng=np.random.default_rng(0))
    if not kept.exists():
        measured = divergences(model, groups, scores, network.unlabelled)
        write_json(kept, {"divergences": measured.tolist()})
    measured = np.array(read_json(kept)["divergences"])
    whole = macs_of(model, example)[""]

    def cost(plans: Sequence[GroupPlan]) -> float:
        return macs_of(cut_groups(model, plans, example)[0], example)[""] / whole

    plans = sensitivity_plans(groups, scores, measured, cost, level)
    if plans is None:
        raise InputError(f"{network.name} cannot be cut to {level} of its multiply-adds.")
    return cut_groups(model, plans, example)[0], plans, cost(plans)


def dense_cell(network: Network, n_images: int, path: Path) -> dict[str, Any]:
    """The whole network, as it is."""
    if not path.exists() or read_json(path)["images"] != n_images:
        accuracy = network.accuracy(network.model, n_images)
        write_json(path, {"images": n_images, "accuracy": accuracy})
    return read_json(path)


def peer_cell(network: Network, level: float, n_images: int, path: Path) -> dict[str, Any]:
    """All variants of the peer on some test pictures, and the best ones on all."""
    rows = read_json(path)["rows"] if path.exists() else {}
    peer = Peer(network)
    for variant in variants(network.model):
        if variant.label in rows:
            continue
        small, macs = peer.at(variant, level)
        network.recalibrated(small)
        rows[variant.label] = {"macs": macs, "selecting": network.accuracy(small, SELECTING)}
        write_json(path, {"rows": rows})
    best = sorted(rows, key=lambda label: -rows[label]["selecting"])[:FINALISTS]
    for variant in variants(network.model):
        row = rows[variant.label]
        if variant.label in best and row.get("images") != n_images:
            small, _ = peer.at(variant, level)
            row |= {"accuracy": network.accuracy(network.recalibrated(small), n_images)}
            row["images"] = n_images
            write_json(path, {"rows": rows})
    return rows


def retrained_both(network: Network, level: float, n_images: int, folder: Path) -> None:
    """One epoch of retraining of ours and of the peer's best on all pictures without it."""
    rows = read_json(folder / f"peer-{level}.json")["rows"]
    best = max(rows, key=lambda label: rows[label].get("accuracy", 0.0))
    variant = next(v for v in variants(network.model) if v.label == best)
    makers = {
        "ours": lambda: our_network(network, level, folder / "sensitivity.json")[0],
        best: lambda: Peer(network).at(variant, level)[0],
    }
    retrained_cell(network, makers, n_images, folder / f"retrained-{level}.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is missing, then write what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--images", type=int, default=ALL)
    parser.add_argument("--retrain", action="store_true", help="one epoch more for each side")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    work = given.work or given.out / "work"
    for level in sorted(LEVELS):
        for name, load in with_pictures(given.networks, given.data):
            print(name, level, flush=True)
            network = load()
            dense_cell(network, given.images, work / name / "dense.json")
            our_cell(network, level, given.images, work / name / f"ours-{level}.json")
            peer_cell(network, level, given.images, work / name / f"peer-{level}.json")
            if given.retrain:
                retrained_both(network, level, ALL, work / name)
            command = COMMAND + (f" --images {given.images}" if given.images != ALL else "")
            command += " --retrain" if given.retrain else ""
            write_page(work, given.out, sorted(LEVELS), command)


if __name__ == "__main__":
    main()
