"""The page and the figure of `units_study.py`, from the cells that it stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from prunable.files import read_json, write_bytes, write_json, write_text
from prunable.report.figures import PALETTE, SIZE, STYLE, as_svg
from prunable.report.tables import MISSING, Column, Table, as_percent, table

Rows = Sequence[Mapping[str, Any]]


def gathered(work: Path, levels: Sequence[float]) -> list[dict[str, Any]]:
    """A row a network and level; of the peer only where all its variants were tried."""
    rows = []
    for folder in sorted(path for path in work.iterdir() if (path / "dense.json").exists()):
        dense = read_json(folder / "dense.json")
        for level in levels:
            ours = folder / f"ours-{level}.json"
            if not ours.exists():
                continue
            row = {"network": folder.name, "level": level, "dense": dense["accuracy"]}
            row |= {"ours": read_json(ours), "peer": _best(folder / f"peer-{level}.json")}
            rows.append(row | {"retrained": _retrained(folder / f"retrained-{level}.json")})
    return rows


def _retrained(path: Path) -> dict[str, float] | None:
    """Accuracies after retraining, where both sides have one."""
    found = read_json(path) if path.exists() else {}
    if len(found) < 2:
        return None
    ours = found.pop("ours")["accuracy"]
    return {"ours": ours, "peer": max(row["accuracy"] for row in found.values())}


def _best(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    found = read_json(path)["rows"]
    finished = {label: row for label, row in found.items() if "accuracy" in row}
    if not finished:
        return None
    label = max(finished, key=lambda name: finished[name]["accuracy"])
    all_of = {name: row["selecting"] for name, row in found.items()}
    return {"variant": label, **finished[label], "selecting": all_of}


def means(rows: Rows, level: float) -> dict[str, Any]:
    """Mean accuracies over the networks that both sides have at a level."""
    both = [row for row in rows if row["level"] == level and row["peer"] is not None]
    if not both:
        return {"level": level, "networks": 0}
    tried = [set(row["peer"]["selecting"]) for row in both]
    single = {
        label: float(np.mean([row["peer"]["selecting"][label] for row in both]))
        for label in set.intersection(*tried)
    }
    best = max(single, key=lambda label: single[label]) if single else None
    return {
        "level": level,
        "networks": len(both),
        "dense": float(np.mean([row["dense"] for row in both])),
        "ours": float(np.mean([row["ours"]["accuracy"] for row in both])),
        "peer": float(np.mean([row["peer"]["accuracy"] for row in both])),
        "retrained": _mean_retrained(both),
        "single": best,
        "single_selecting": None if best is None else single[best],
    }


def _mean_retrained(rows: Rows) -> dict[str, float] | None:
    found = [row["retrained"] for row in rows]
    if any(pair is None for pair in found):
        return None
    return {side: float(np.mean([pair[side] for pair in found])) for side in ("ours", "peer")}


def write_page(work: Path, out: Path, levels: Sequence[float], command: str) -> None:
    """Write units.json, units.md and units.svg from what is stored."""
    rows = gathered(work, levels)
    summary = [means(rows, level) for level in levels]
    write_json(out / "units.json", {"command": command, "rows": rows, "means": summary})
    images = sorted({row["ours"]["images"] for row in rows})
    text = (
        "# Coupled units of trained networks, beside Torch-Pruning\n\n"
        f"Written by `{command}`. CIFAR-10 from its JPEG-coded copy; accuracy on the first "
        f"{' or '.join(f'{n:,}' for n in images)} test images, without retraining, BatchNorm "
        "statistics estimated again from the same 256 unlabelled training images on both sides. "
        "Beside it, accuracy on all test images after one epoch of retraining, the same for both: "
        "batches of 128 cropped and mirrored images, one cycle of SGD up to .05 (AdamW up to 5e-4 "
        "for the transformer), bfloat16; of the peer, the network that is best without "
        "retraining.\n\n"
        "Ours is one method: units by `activation_saliency`, shares by "
        '`Target("macs", ..., scope="sensitivity")`, from 128 unlabelled training images. The '
        "three shares at which it measures were .25, .5 and .75 at first, leaving what happens "
        "near the last unit to extrapolation; they were changed to .3, .6 and 1 after first trials "
        "of published-resnet20 and resnet20-1 at .6, whose accuracy on 500 test images (55.0 and "
        "76.8 %) had been seen, so that these two are not wholly untouched; with them "
        "went, for time, one of three rounds of prices and half of 256 images, and what is left of "
        "the budget is spent since. Milliseconds are of one image on one thread of a busy machine. "
        "Torch-Pruning 1.6.1 is given its best variant for each network and level, found on the "
        "first 500 test images among its importances (magnitude, LAMP, BatchNorm scale, Taylor, "
        "Hessian; the last two from labelled training images), uniform and global, and the better "
        "of the best two on all; its ratio is found by halving. Both stay below the multiply-adds "
        "asked for. A dash is what has not been run.\n\n"
    )
    parts = [_by_network(rows).markdown(), _over_networks(summary).markdown()]
    write_text(out / "units.md", text + "\n".join(parts))
    write_bytes(out / "units.svg", as_svg(_figure(rows)))


def _by_network(rows: Rows) -> Table:
    cells = []
    for row in rows:
        ours, peer = row["ours"], row["peer"]
        times = ours["milliseconds"]
        cells.append(
            (
                row["network"],
                f"{row['level']:g}",
                as_percent(row["dense"]),
                as_percent(ours["accuracy"]),
                MISSING if peer is None else as_percent(peer["accuracy"]),
                *_pair(row["retrained"]),
                f"{ours['macs']:.3f}",
                MISSING if peer is None else f"{peer['macs']:.3f}",
                MISSING if peer is None else peer["variant"],
                f"{times['dense']:.1f}",
                f"{times['cut']:.1f}",
            )
        )
    titles = (
        Column("network", code=True),
        "at most",
        "dense, %",
        "ours, %",
        "peer, %",
        "ours retrained, %",
        "peer retrained, %",
        "our MACs",
        "its MACs",
        Column("its best", words=True),
        "dense, ms",
        "ours, ms",
    )
    return table(titles, cells, title="Accuracy by network")


def _pair(found: Mapping[str, float] | None) -> tuple[str, str]:
    if found is None:
        return MISSING, MISSING
    return as_percent(found["ours"]), as_percent(found["peer"])


def _over_networks(summary: Rows) -> Table:
    cells = [
        (
            f"{row['level']:g}",
            str(row["networks"]),
            as_percent(row["dense"]),
            as_percent(row["ours"]),
            as_percent(row["peer"]),
            *_pair(row["retrained"]),
            f"{row['single']} ({as_percent(row['single_selecting'])} of 500)",
        )
        for row in summary
        if row["networks"]
    ]
    single = Column("its best single variant", words=True)
    after = ("ours retrained, %", "peer retrained, %")
    titles = ("at most", "networks", "dense, %", "ours, %", "peer, %", *after, single)
    return table(titles, cells, title="Means over the networks that both sides have")


def _figure(rows: Rows) -> Figure:
    names = sorted({row["network"] for row in rows})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2 * SIZE[0], 2 * SIZE[1]), layout="constrained")
        for axes, name in zip(figure.subplots(2, 4, sharex=True).flat, names, strict=False):
            own = [row for row in rows if row["network"] == name]
            axes.axhline(100 * own[0]["dense"], color=PALETTE[2], linewidth=0.8, label="dense")
            for i, side in enumerate(("ours", "peer")):
                seen = [row for row in own if row[side] is not None]
                axes.plot(
                    [row[side]["macs"] for row in seen],
                    [100 * row[side]["accuracy"] for row in seen],
                    "os"[i] + "-",
                    color=PALETTE[i],
                    ms=4,
                    label=("ours", "Torch-Pruning, its best")[i],
                )
                seen = [row for row in seen if row["retrained"] is not None]
                axes.plot(
                    [row[side]["macs"] for row in seen],
                    [100 * row["retrained"][side] for row in seen],
                    "os"[i] + ":",
                    color=PALETTE[i],
                    ms=4,
                    mfc="none",
                    label=("ours", "Torch-Pruning")[i] + ", retrained",
                )
            axes.set(title=name, xlabel="share of multiply-adds", ylabel="accuracy, %")
        figure.axes[0].legend(fontsize=6)
        for spare in figure.axes[len(names) :]:
            spare.set_axis_off()
    return figure
