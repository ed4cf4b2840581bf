"""Accuracy against kept share of every strategy: table and figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from prunable.report.figures import PALETTE, STYLE

Entry = dict[str, Any]
MARKERS = "osv^Dx*P"


def comparison_figure(entries: Sequence[Entry], title: str) -> Figure:
    """Draw accuracy against kappa, a line a strategy with its range over networks.

    Parameters
    ----------
    entries : sequence of dict
        From `summarise`.
    title : str

    Returns
    -------
    Figure
        One panel as pruned, and one retrained if that was done.
    """
    retrained = any(entry["accuracy_retrained"] is not None for entry in entries)
    metrics = ["accuracy", *(["accuracy_retrained"] if retrained else [])]
    names = list(dict.fromkeys(e["strategy"] for e in entries if e["strategy"] != "dense"))
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(6.6 * len(metrics) + 1.6, 4.6), layout="constrained")
        axes = fig.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
        for ax, metric in zip(axes, metrics, strict=True):
            for index, name in enumerate(names):
                chosen = [e for e in entries if e["strategy"] == name and e[metric] is not None]
                chosen.sort(key=lambda e: e["kappa"])
                kappa = [e["kappa"] for e in chosen]
                color = PALETTE[index % len(PALETTE)]
                ax.plot(
                    kappa,
                    [e[metric] for e in chosen],
                    color=color,
                    label=name,
                    linewidth=1.3,
                    marker=MARKERS[index // len(PALETTE) % len(MARKERS)],
                    markersize=4,
                    linestyle="--" if index >= len(PALETTE) else "-",
                )
                low, high = ([e[f"{metric}_{end}"] for e in chosen] for end in ("min", "max"))
                ax.fill_between(kappa, low, high, color=color, alpha=0.12, linewidth=0)
            dense = [e["accuracy"] for e in entries if e["strategy"] == "dense"]
            ax.axhline(dense[0], color="#8a8a8a", linestyle=":", label="dense")
            ax.set(
                xscale="log",
                xlabel="kappa (kept share of the pruned layers' numbers)",
                title=title if metric == "accuracy" else "retrained under the masks",
            )
        axes[0].set_ylabel("test accuracy")
        axes[-1].legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return fig


def comparison_rows(entries: Sequence[Entry]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table: a strategy a row, an asked share a column."""
    shares = sorted({e["kappa_asked"] for e in entries if e["strategy"] != "dense"})
    names = list(dict.fromkeys(e["strategy"] for e in entries if e["strategy"] != "dense"))
    found = {(e["strategy"], e["kappa_asked"]): e for e in entries}
    rows = []
    for name in names:
        cells = [_cell(found.get((name, share))) for share in shares]
        rows.append([name, *cells])
    dense = found[("dense", 1.0)]
    rows.append(["dense", *[f"{100 * dense['accuracy']:.2f}"] * len(shares)])
    return ["strategy", *(f"kappa {share:g}" for share in shares)], rows


def comparison_markdown(entries: Sequence[Entry], title: str, command: str) -> str:
    """The table as a page, with the figure and the command that made both."""
    head, rows = comparison_rows(entries)
    n = max(entry["n"] for entry in entries)
    lines = [
        f"# {title}",
        "",
        f"Mean test accuracy in per cent over {n} trained networks, as pruned, and after `→` "
        "retrained under the masks where that was done. Shares are asked of weights, nodes or "
        "singular values; the figure's axis is the share of numbers that stay. Written by",
        f"`{command}`.",
        "",
        "![accuracy against kappa](compare.svg)",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return ""
    text = f"{100 * entry['accuracy']:.2f}"
    if entry["accuracy_retrained"] is not None:
        text += f" → {100 * entry['accuracy_retrained']:.2f}"
    return text
