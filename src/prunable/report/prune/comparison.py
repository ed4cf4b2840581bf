"""Accuracy against kept share of every strategy: table, page and figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from prunable.report.figures import PALETTE, STYLE
from prunable.report.tables import Table, as_percent, table

Entry = dict[str, Any]
MARKERS = "osv^Dx*P"
CONTROL = "dense"


def comparison_figure(entries: Sequence[Entry], title: str) -> Figure:
    """Draw accuracy against kappa, a line a strategy with its range over networks.

    One panel as pruned, and one retrained if that was done; entries are those of `summarise`.
    """
    retrained = any(entry["accuracy_retrained"] is not None for entry in entries)
    metrics = ["accuracy", *(["accuracy_retrained"] if retrained else [])]
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(6.6 * len(metrics) + 1.6, 4.6), layout="constrained")
        axes = fig.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
        for ax, metric in zip(axes, metrics, strict=True):
            for index, name in enumerate(_strategies(entries)):
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
            dense = next(e for e in entries if e["strategy"] == CONTROL)
            ax.axhline(dense["accuracy"], color="#8a8a8a", linestyle=":", label=CONTROL)
            ax.set(
                xscale="log",
                xlabel="kappa (kept share of the pruned layers' numbers)",
                title=title if metric == "accuracy" else "retrained under the masks",
            )
        axes[0].set_ylabel("test accuracy")
        axes[-1].legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return fig


def comparison_table(entries: Sequence[Entry], title: str) -> Table:
    """A strategy a row, an asked share a column, mean test accuracies in percent."""
    shares = sorted({e["kappa_asked"] for e in entries if e["strategy"] != CONTROL})
    found = {(e["strategy"], e["kappa_asked"]): e for e in entries}
    rows = [
        [name, *(_cell(found.get((name, share))) for share in shares)]
        for name in _strategies(entries)
    ]
    rows.append([CONTROL, *[_cell(found[CONTROL, 1.0])] * len(shares)])
    titles = ["strategy", *(f"kappa {share:g}" for share in shares)]
    return table(titles, rows, title=f"{title}: test accuracy, %")


def comparison_markdown(entries: Sequence[Entry], title: str, command: str) -> str:
    """The table as a page, with the figure and the command that made both."""
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
    ]
    return "\n".join(lines) + "\n" + comparison_table(entries, title).markdown()


def _strategies(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(e["strategy"] for e in entries if e["strategy"] != CONTROL))


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return ""
    text = as_percent(entry["accuracy"], 2)
    if entry["accuracy_retrained"] is not None:
        text += f" → {as_percent(entry['accuracy_retrained'], 2)}"
    return text
