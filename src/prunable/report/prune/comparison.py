"""Accuracy against kept share of every strategy: table, page and figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from prunable.report.figures import PALETTE, PAPER, SIZE, STYLE, space_ticks
from prunable.report.tables import Table, as_percent, table

Entry = dict[str, Any]
MARKERS = "osv^Dx*P"
CONTROL = "dense"
MOST_LINES = 7  # of strategies in a panel, beside the dense network's


def comparison_figure(entries: Sequence[Entry], title: str) -> Figure:
    """Draw accuracy against kappa, a line a strategy with its range over networks.

    A panel holds at most eight lines, the dense network's among them; panels as pruned, and
    retrained if that was done, stand below each other. Entries are those of `summarise`.
    """
    retrained = any(entry["accuracy_retrained"] is not None for entry in entries)
    metrics = ["accuracy", *(["accuracy_retrained"] if retrained else [])]
    names = _strategies(entries)
    several = -(-len(names) // MOST_LINES)
    size = -(-len(names) // several) if names else 1
    parts = [names[start : start + size] for start in range(0, len(names), size)]
    panels = [(part, metric) for metric in metrics for part in parts]
    titles = {"accuracy": title, "accuracy_retrained": "Retrained under the masks"}
    dense = next(entry for entry in entries if entry["strategy"] == CONTROL)
    with mpl.rc_context(STYLE):
        fig = Figure(figsize=(SIZE[0], 4.9 * len(panels)), layout="constrained")
        axes = fig.subplots(len(panels), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for ax, (part, metric) in zip(axes, panels, strict=True):
            for index, name in enumerate(part):
                chosen = [e for e in entries if e["strategy"] == name and e[metric] is not None]
                chosen.sort(key=lambda e: e["kappa"])
                kappa = [e["kappa"] for e in chosen]
                color = PALETTE[index % len(PALETTE)]
                look = {"color": color, "marker": MARKERS[index % len(MARKERS)], "label": name}
                ax.plot(kappa, [e[metric] for e in chosen], linewidth=1.3, markersize=4, **look)
                low, high = ([e[f"{metric}_{end}"] for e in chosen] for end in ("min", "max"))
                ax.fill_between(kappa, low, high, color=color, alpha=0.12, linewidth=0)
            ax.axhline(dense["accuracy"], color=PAPER, linestyle=":", label=CONTROL)
            ax.set(
                xscale="log",
                title=titles[metric] if part is parts[0] else "",
                ylabel="test accuracy",
                xlabel="kappa, share kept of the pruned layers' numbers",
            )
            ax.tick_params(labelbottom=True)
            space_ticks(ax.xaxis)
            ax.legend(fontsize=9, loc="upper left", bbox_to_anchor=(-0.1, -0.16), ncols=2)
    return fig


def comparison_table(entries: Sequence[Entry], title: str, guesses: float | None = None) -> Table:
    """A strategy a row, an asked share a column, mean test accuracies in percent.

    guesses : Accuracy up to which naming one class always is as good, which a note then says.
    """
    shares = sorted({e["kappa_asked"] for e in entries if e["strategy"] != CONTROL})
    found = {(e["strategy"], e["kappa_asked"]): e for e in entries}
    rows = [
        [name, *(_cell(found.get((name, share))) for share in shares)]
        for name in _strategies(entries)
    ]
    rows.append([CONTROL, *[_cell(found[CONTROL, 1.0])] * len(shares)])
    titles = ["strategy", *(f"kappa {share:g}" for share in shares)]
    notes = []
    if guesses is not None:
        shown = as_percent(guesses, 2)
        notes = [f"Up to {shown} % naming one class always is as good: the decisions are lost."]
    return table(titles, rows, title=f"{title}: test accuracy, %", notes=notes)


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
