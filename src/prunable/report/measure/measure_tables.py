"""The tables of `prunable measure`, for the terminal and for Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunable.report.demo.tables import as_index, spread
from prunable.report.measure.measurement import (
    Comparison,
    Layer,
    MeasurementDocument,
    Number,
    TrajectoryDocument,
    at_eps,
    checked_eps,
)

MISSING = "–"
GRANULARITIES = {
    "weight": "weights",
    "node": "nodes",
    "unit": "units",
    "kernel": "kernels",
    "singular_value": "singular values",
}
# Columns whose cells are words; the others hold numbers and are set to the right.
WORDS = {"layer", "verdict", "model"}
# Below this width of the terminal, headings are broken and errors stand below their numbers.
NARROW = 110
BROKEN = {"weights": "wei-\nghts", "kernels": "ker-\nnels", "singular values": "sing.\nval."}


def as_share(value: Number) -> str:
    """A share in percent without the sign, to three digits: 44.7, 3.08, 0.0412."""
    return MISSING if value is None else f"{100 * value:#.3g}".rstrip(".")


def as_alpha(alpha: Number, stderr: Number) -> str:
    """A tail index with its standard error, such as 1.81 ± 0.02."""
    return MISSING if alpha is None else spread(as_index, alpha, stderr)


def as_number(value: Number) -> str:
    """Any other number, to three digits."""
    return MISSING if value is None else f"{value:.3g}"


def as_sum(value: Number) -> str:
    """A signed difference, such as -0.12."""
    return MISSING if value is None else f"{value:+.2f}"


def as_count(value: int) -> str:
    """A count in at most five characters, such as 640, 4.1k or 24.6M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return str(value)


def printable(text: str) -> str:
    """Spell out control characters, which could rewrite the reader's terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def layer_table(
    doc: MeasurementDocument, eps: float | None = None, *, short: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the layer table, shares kept in percent.

    Parameters
    ----------
    doc : MeasurementDocument
    eps : float, optional
        Error at which groups of weights are counted; the middle one if not given.
    short : bool
        Whether to write the numbers of weights as 24.6M.

    Returns
    -------
    tuple of (list of str, list of list of str)
        The titles, and one row a layer in the order of the document.

    Raises
    ------
    InputError
        If the document holds no numbers at this error.
    """
    middle = checked_eps(doc, eps, "layer_table")
    groups = [
        name
        for name in GRANULARITIES
        if name != "weight" and any(layer.kept(name, middle) is not None for layer in doc.layers)
    ]
    titles = ["layer", "n", "verdict", "alpha"]
    titles += [f"weights {value:g}" for value in doc.settings.eps]
    titles += [f"{GRANULARITIES[name]} {middle:g}" for name in groups]

    def cells(layer: Layer) -> list[str]:
        return [
            printable(layer.name),
            as_count(layer.n) if short else f"{layer.n:,}",
            layer.verdict,
            as_alpha(layer.alpha, layer.alpha_stderr),
            *(as_share(layer.kept("weight", value)) for value in doc.settings.eps),
            *(as_share(layer.kept(name, middle)) for name in groups),
        ]

    return titles, [cells(layer) for layer in doc.layers]


def overall_table(doc: MeasurementDocument) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the table of the whole network, one row an eps."""
    rows = []
    for eps in doc.settings.eps:
        kappa = doc.overall.kappa
        same = at_eps(doc.overall.allocation, eps)
        rows.append(
            [
                f"{eps:g}",
                as_share(at_eps(kappa.common_eps, eps)),
                as_share(at_eps(kappa.global_threshold, eps)),
                as_number(same and same.budget),
                as_share(same and same.best),
                as_share(same and same.common_eps),
                as_share(same and same.global_threshold),
            ]
        )
    titles = ["eps", "kept, common eps", "kept, one threshold", "summed sq. error"]
    return [*titles, "best allocation", "common eps", "one threshold"], rows


def overall_lines(doc: MeasurementDocument) -> list[str]:
    """What there is to say about the network as a whole, a sentence a line."""
    overall = doc.overall
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in overall.verdicts.items())
    lines = [
        f"{overall.n:,} weights in {overall.n_layers:,} layers"
        + (f": {verdicts}." if verdicts else ".")
    ]
    if overall.alpha_mean is not None or overall.alpha_median is not None:
        mean, median = as_alpha(overall.alpha_mean, None), as_alpha(overall.alpha_median, None)
        lines.append(f"alpha: mean {mean}, median {median}.")
    if overall.ordering is not None:
        found = overall.ordering
        lines.append(
            f"Layers ordered by alpha and by kappa (p = {as_number(found.p)}, "
            f"eps = {as_number(found.eps)}): Kendall's tau {as_number(found.kendall_tau)}, "
            f"p-value {as_number(found.p_value)}, {found.n_layers:,} layers."
        )
    return lines


def skipped_line(doc: MeasurementDocument) -> str:
    """How many tensors were left out, by reason; empty if none was."""
    if not doc.skipped:
        return ""
    reasons = Counter(printable(skipped.reason) for skipped in doc.skipped)
    listed = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    plural = "s" if len(doc.skipped) > 1 else ""
    return f"{len(doc.skipped):,} tensor{plural} skipped: {listed}."


def comparison_table(
    comparison: Comparison, eps: float | None
) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of the two networks side by side, one row a shared layer."""
    titles = ["layer", "alpha", "alpha against", "difference", "z", "verdict", "weights", "against"]
    rows = []
    for layer in comparison.layers:
        kept = at_eps(layer.kappa_weight, eps) if eps is not None else None
        difference = as_sum(layer.alpha_difference)
        if layer.alpha_difference is not None and layer.stderr is not None:
            difference += f" ± {layer.stderr:.2f}"
        rows.append(
            [
                printable(layer.name),
                as_alpha(layer.alpha[0], None),
                as_alpha(layer.alpha[1], None),
                difference,
                as_sum(layer.z),
                " / ".join(dict.fromkeys(layer.verdict)),
                as_share(kept and kept[0]),
                as_share(kept and kept[1]),
            ]
        )
    return titles, rows


def trajectory_table(doc: TrajectoryDocument) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a trajectory, one row a checkpoint."""
    titles = ["step", "model", "layers", "alpha mean", "alpha median"]
    titles += [f"kept {eps}" for eps in doc.eps]
    rows = [
        [
            f"{point.step:g}" if point.step % 1 else f"{point.step:,.0f}",
            printable(point.model),
            f"{len(point.layers):,}",
            as_alpha(point.alpha_mean, None),
            as_alpha(point.alpha_median, None),
            *(as_share(at_eps(point.kappa, float(eps))) for eps in doc.eps),
        ]
        for point in doc.trajectory
    ]
    return titles, rows


def render_console(doc: MeasurementDocument, console: Console, *, eps: float | None = None) -> None:
    """Print the layers, then the network as a whole, what was skipped, and the comparison.

    Parameters
    ----------
    doc : MeasurementDocument
    console : Console
    eps : float, optional
        Error at which groups of weights are counted; the middle one if not given.

    Raises
    ------
    InputError
        If the document holds no numbers at this error.
    """
    shown = checked_eps(doc, eps, "render_console")
    _print(
        console,
        f"{doc.model}: share kept in %, at each eps",
        *layer_table(doc, shown, short=console.width < NARROW),
    )
    for line in overall_lines(doc):
        console.print(Text(line))
    _print(console, "The whole network, kept weights in %", *overall_table(doc))
    skipped = skipped_line(doc)
    if skipped:
        console.print(Text(skipped, style="dim"))
    if doc.comparison is not None:
        against = doc.comparison
        _print(
            console, f"Against {against.against}, eps {shown:g}", *comparison_table(against, shown)
        )
        for where, names in (
            ("this network", against.only_in_model),
            ("the other", against.only_in_against),
        ):
            if names:
                listed = ", ".join(map(printable, names))
                console.print(Text(f"Only in {where}: {listed}.", style="dim"))


def render_trajectory_console(doc: TrajectoryDocument, console: Console) -> None:
    """Print one row a checkpoint."""
    _print(console, "Along the training; kept weights in %, at each eps", *trajectory_table(doc))


def to_markdown(doc: MeasurementDocument, eps: float | None = None) -> str:
    """The layer table in Markdown; see `layer_table`."""
    titles, rows = layer_table(doc, eps)
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    lines += ["| " + " | ".join((_as_code(name), *rest)) + " |" for name, *rest in rows]
    return "\n".join(lines) + "\n"


def _as_code(text: str) -> str:
    """Markdown code that shows any text as it is, in a table cell too."""
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}".replace("|", "\\|")


def _print(
    console: Console, title: str, titles: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    narrow = console.width < NARROW
    table = Table(
        title=Text(printable(title)),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for heading in titles:
        words = heading in WORDS
        table.add_column(
            Text(_broken(heading) if narrow else heading.replace(" ", "\n")),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
            min_width=8 if words else None,
        )
    for row in rows:
        cells = [cell.replace(" ± ", "\n±") for cell in row] if narrow else row
        # Text, not str: names may look like console markup
        table.add_row(*map(Text, cells))
    console.print(table)


def _broken(heading: str) -> str:
    for words, parts in BROKEN.items():
        heading = heading.replace(words, parts)
    return heading.replace(" ", "\n")
