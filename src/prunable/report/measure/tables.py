"""The tables of `prunable measure`, for the terminal, for Markdown and for its page."""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from prunable.numerics.measure.layer import MeasuredLayer
from prunable.numerics.measure.network import Comparison, Measurement, Trajectory
from prunable.numerics.measure.options import eps_key
from prunable.report.measure.advice import advice, course_advice
from prunable.report.shaping import Shape
from prunable.report.tables import (
    NARROW,
    Column,
    Table,
    as_count,
    as_number,
    as_share,
    printable,
    spread,
    table,
)

GRANULARITIES = {
    "weight": "weights",
    "node": "nodes",
    "unit": "units",
    "kernel": "kernels",
    "singular_value": "singular values",
}
BROKEN = {"weights": "wei-\nghts", "kernels": "ker-\nnels", "singular values": "sing.\nval."}
EXPERT = re.compile(r"(?<=experts[./])\d+(?=[./])|(?<=\[)\d+(?=\]$)")  # numbers in names of layers
LAYER = Column("layer", words=True, code=True)
MODEL = Column("model", words=True, code=True)
VERDICT = Column("verdict", words=True)


def as_alpha(alpha: float | None, stderr: float | None = None) -> str:
    """A tail index with its standard error, such as 1.81 ± 0.02."""
    return spread(lambda value: f"{value:.2f}", alpha, stderr)


def as_sum(value: float, error: float | None = None) -> str:
    """A signed difference, such as -0.12 or -0.12 ± 0.05."""
    signed = spread(lambda found: f"{found:+.2f}", value, None)
    return signed if error is None or math.isnan(value) else f"{signed} ± {error:.2f}"


def layer_table(doc: Measurement, *, short: bool = False, each: bool = False) -> Table:
    """One row a layer, shares kept in percent; groups of weights at the middle eps.

    `short` writes the numbers of weights as 24.6M. Experts of a mixture are one row, with
    medians and ranges, unless `each` has a row.
    """
    middle = doc.settings.middle_eps
    groups = [
        name
        for name in GRANULARITIES
        if name != "weight" and any(layer.kept(name, middle) is not None for layer in doc.layers)
    ]
    pieces = [("weight", eps) for eps in doc.settings.eps] + [(name, middle) for name in groups]
    return table(
        [LAYER, _number("n", 3), VERDICT, _number("alpha", 1)]
        + [
            _number(f"{GRANULARITIES[name]} {eps_key(eps)}", 2 if eps == middle else 5)
            if name == "weight"
            else _number(f"{GRANULARITIES[name]} {eps_key(eps)}", 4)
            for name, eps in pieces
        ],
        [
            _row(name, layers, pieces, short)
            for name, layers in (
                ((x.name, [x]) for x in doc.layers) if each else _by_mixture(doc.layers).items()
            )
        ],
        title=f"{doc.model}: share kept in %, at each eps",
    )


def _by_mixture(layers: Sequence[MeasuredLayer]) -> dict[str, list[MeasuredLayer]]:
    """Layers by name, the experts of a mixture together."""
    found: dict[str, list[MeasuredLayer]] = {}
    for layer in layers:
        found.setdefault(EXPERT.sub("*", layer.name), []).append(layer)
    return {name if len(x) > 1 else x[0].name: x for name, x in found.items()}


def _row(
    name: str, layers: Sequence[MeasuredLayer], pieces: Sequence[tuple[str, float]], short: bool
) -> list[str]:
    n, one = sum(layer.n for layer in layers), layers[0]
    verdict, most = Counter(layer.verdict for layer in layers).most_common(1)[0]
    alphas, said = [layer.alpha for layer in layers], str(verdict)
    if len(layers) > 1:
        name, alpha = f"{name} x {len(layers)}", _range(as_alpha, alphas)
        said = said if most == len(layers) else f"{most} {said}"
    else:
        alpha = as_alpha(one.alpha, one.alpha_stderr)
    kept = ([layer.kept(granularity, eps) for layer in layers] for granularity, eps in pieces)
    shares = (_range(as_share, found, short) for found in kept)
    return [name, as_count(n) if short else f"{n:,}", said, alpha, *shares]


def _range(
    write: Callable[[float | None], str], found: Sequence[float | None], short: bool = False
) -> str:
    """The median of what there is, and its range in brackets."""
    known = [x for x in found if x is not None and not math.isnan(x)]
    if not known or len(found) == 1:
        return write(found[0])
    middle = write(float(np.median(known)))
    return middle if short else f"{middle} ({write(min(known))}-{write(max(known))})"


def overall_table(doc: Measurement) -> Table:
    """The whole network, one row an eps; below it, what was skipped."""
    rows = []
    for key in map(eps_key, doc.settings.eps):
        same = doc.overall.allocation.get(key)
        spent = (same.best, same.common_eps, same.global_threshold) if same else (None,) * 3
        rows.append(
            [
                key,
                *(
                    as_share(doc.overall.kappa[rule].get(key))
                    for rule in ("common_eps", "global_threshold")
                ),
                as_number(same.budget if same else None),
                *map(as_share, spent),
            ]
        )
    titles = ("eps", "kept, each layer within eps", "kept, all as one vector within eps")
    rest = (*titles[1:], "summed sq. error", "best allocation", "common eps", "one threshold")
    spare = (3, 5, 6, 1, 4, 2)
    return table(
        [_number(titles[0]), *map(_number, rest, spare)],
        rows,
        title="The whole network, kept weights in %",
        notes=[skipped_line(doc)] if doc.skipped else [],
    )


def overall_lines(doc: Measurement) -> list[str]:
    """What there is to say about the network as a whole, a sentence a line."""
    overall, found = doc.overall, doc.overall.ordering
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in overall.verdicts.items())
    lines = [
        f"{overall.n:,} weights in {overall.n_layers:,} layer{'s' * (overall.n_layers != 1)}"
        + (f": {verdicts}." if verdicts else ".")
    ]
    if not math.isnan(overall.alpha_mean):
        mean, median = as_alpha(overall.alpha_mean), as_alpha(overall.alpha_median)
        over = f"{overall.n_alpha:,} of {overall.n_layers:,} layers"
        lines.append(
            f"alpha: mean {mean}, median {median} of the {over} that are stable or Gaussian-like."
        )
    if found is not None:
        lines.append(
            f"Layers ordered by alpha and by kappa (p = {as_number(found.p)}, "
            f"eps = {as_number(found.eps)}): Kendall's tau {as_number(found.kendall_tau)}, "
            f"p-value {as_number(found.p_value)}, {found.n_layers:,} layers."
        )
    return lines


def skipped_line(doc: Measurement) -> str:
    """How many tensors were left out, by reason."""
    reasons = Counter(skipped.reason for skipped in doc.skipped)
    listed = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    plural = "s" if len(doc.skipped) > 1 else ""
    return f"{len(doc.skipped):,} tensor{plural} skipped: {listed}."


def comparison_table(comparison: Comparison, eps: float) -> Table:
    """The two networks side by side, one row a shared layer."""
    numbers, shares = ("alpha", "alpha against", "difference", "z"), ("weights", "against")
    rows = []
    for layer in comparison.layers:
        kept = layer.kappa_weight.get(eps_key(eps), (None, None))
        rows.append(
            [
                layer.name,
                *map(as_alpha, layer.alpha),
                as_sum(layer.alpha_difference, layer.stderr),
                as_sum(layer.z),
                " / ".join(dict.fromkeys(layer.verdict)),
                *map(as_share, kept),
            ]
        )
    only = {"this network": comparison.only_in_model, "the other": comparison.only_in_against}
    return table(
        [LAYER, *map(_number, numbers, (2, 2, 4, 1)), VERDICT, *map(_number, shares, (3, 3))],
        rows,
        title=f"Against {comparison.against}, eps {eps_key(eps)}",
        notes=[f"Only in {where}: {', '.join(names)}." for where, names in only.items() if names],
    )


def trajectory_table(doc: Trajectory) -> Table:
    """One row a checkpoint."""
    titles = ["layers", "alpha mean", "alpha median", *(f"kept {eps}" for eps in doc.eps)]
    return table(
        [_number("step"), MODEL, *map(_number, titles)],
        [
            [
                f"{point.step:g}" if point.step % 1 else f"{point.step:,.0f}",
                point.model,
                f"{len(point.layers):,}",
                as_alpha(point.alpha_mean),
                as_alpha(point.alpha_median),
                *(as_share(point.kappa.get(eps)) for eps in doc.eps),
            ]
            for point in doc.trajectory
        ],
        title="Along the training; kept weights in %, at each eps",
    )


def print_result(
    doc: Measurement | Trajectory, console: Console, shape: Shape = Shape("measure")
) -> None:
    """Print the layers, the network as a whole, what was skipped, the comparison, and advice."""
    if isinstance(doc, Trajectory):
        lines = course_advice(doc)
        shape.show(trajectory_table(doc), console, lambda: _print_lines(lines, console))
        return
    short = console.width < NARROW and not (shape.csv or shape.markdown or shape.sort)
    each = shape.csv or shape.sort is not None
    shape.show(layer_table(doc, short=short, each=each), console, lambda: print_rest(doc, console))


def print_rest(doc: Measurement, console: Console) -> None:
    """Print what is said below the layers: the whole network, the comparison, and advice."""
    _print_lines(overall_lines(doc), console)
    overall_table(doc).print(console)
    if doc.comparison is not None:
        comparison_table(doc.comparison, doc.settings.middle_eps).print(console)
    _print_lines(advice(doc), console)


def _print_lines(lines: Sequence[str], console: Console) -> None:
    for line in lines:
        # a command in one piece, to be copied
        console.print(Text(printable(line)), soft_wrap=line.startswith("Next: "))


def _number(title: str, spare: int = 0) -> Column:
    """A column of numbers, its heading broken where the terminal is narrow."""
    short = title
    for words, parts in BROKEN.items():
        short = short.replace(words, parts)
    return Column(title, short.replace(" ", "\n"), spare=spare)
