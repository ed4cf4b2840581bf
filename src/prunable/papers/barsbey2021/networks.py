"""Figures 1, 3 to 7, 9 and 10, and table 2: what trained networks show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from prunable.experiments.reproduce import document
from prunable.experiments.reproduce.checks import monotone, undecided
from prunable.experiments.reproduce.frame import Result
from prunable.experiments.reproduce.items import Item
from prunable.experiments.reproduce.plans import Plan
from prunable.papers.barsbey2021 import noise, settings
from prunable.papers.barsbey2021.groups import (
    CONVOLUTIONAL,
    FULLY_CONNECTED,
    METHODS,
    AcrossGather,
    CaseGather,
    Group,
    curve,
    over_cases,
)
from prunable.papers.barsbey2021.settings import PAPER, PUBLISHED

ALPHA_LABEL = "mean tail index"
BOTH: tuple[document.Convention, ...] = ("paper", "authors-code")

ERROR_BAR = "error of one tail index, ± 1 standard deviation"


def _tails(group: Group) -> tuple[document.Panel, list[document.Check]]:
    by_batch: dict[str, list[Result]] = {}
    for network in group.networks:
        by_batch.setdefault(network["key"].split()[0].replace("=", " = "), []).append(network)
    series = [
        document.Series(
            batch,
            tuple(n["eta_over_b"] for n in own),
            tuple(n["alpha"] for n in own),
            None if group.noise is None else (group.noise.std,) * len(own),
            style="points",
            runs=tuple(run for n in own for run in n["runs"]),
        )
        for batch, own in by_batch.items()
    ]
    ratios, alphas = group.column("eta_over_b"), group.column("alpha")
    if group.noise is not None and ratios:
        band = ((group.noise.mean,) * 2, (group.noise.std,) * 2)
        ends = (min(ratios), max(ratios))
        series.append(
            document.Series("Gaussian weights", ends, *band, style="line", runs=group.noise.runs)
        )
    statement = f"{group.label}: the tail index falls as eta / b grows"
    check = (group.noise and group.noise.hides(statement, alphas)) or monotone(
        statement, ratios, alphas
    )
    return (document.Panel(group.label, "eta / b", ALPHA_LABEL, tuple(series), x_log=True), [check])


def _prunability(group: Group) -> tuple[document.Panel, list[document.Check]]:
    series, by_layer = [], {}
    for i in range(len(group.networks[0]["layers"]) if group.networks else 0):
        layers = [n["layers"][i] | {"runs": n["runs"]} for n in group.networks]
        known = [layer for layer in layers if layer["alpha"] is not None]
        shares, alphas = (tuple(x[name] for x in known) for name in ("prunable", "alpha"))
        by_layer[f"layer {i + 1}"] = (alphas, shares)
        error = None if group.noise is None else (group.noise.layer_std(i),) * len(known)
        series.append(
            document.Series(
                f"layer {i + 1}",
                shares,
                alphas,
                error,
                style="points",
                colour_value=i + 1.0,
                runs=tuple(run for layer in known for run in layer["runs"]),
            )
        )
    together = ([x for pair in by_layer.values() for x in pair[side]] for side in (0, 1))
    checks = [
        monotone(
            f"{group.label}: layers of lower tail index can be pruned more at error 0.1",
            *together,
            unit="layers",
        ),
        noise.pooled(
            f"{group.label}: so can the same layer where its tail index is lower", by_layer
        ).aside(),
        noise.by_tail_index(
            f"{group.label}: so can networks of lower mean tail index",
            group.column("alpha"),
            group.column("prunable"),
            group.noise,
        ).aside(),
    ]
    axes = (group.label, "pruning ratio at error 0.1", "tail index")
    return document.Panel(*axes, tuple(series), colour_label="layer"), checks


def _curves(group: Group, *, method: str) -> tuple[document.Panel, list[document.Check]]:
    series = tuple(
        document.Series(n["key"], *curve(n, method), colour_value=n["alpha"], runs=n["runs"])
        for n in group.networks
    )
    what, areas = f"pruning of {METHODS[method]} (area under the curve)", group.areas(method)
    checks = [
        noise.by_tail_index(
            f"{group.label}: networks of lower tail index keep more accuracy under {what}",
            group.column("alpha"),
            areas,
            group.noise,
        ),
        noise.worst_third(
            f"{group.label}: the third of highest tail index keeps least",
            group.column("alpha"),
            areas,
            group.noise,
            words="{:.3f}".format,
        ).aside(),
    ]
    error = "" if group.noise is None else f" (± {group.noise.std:.4f})"
    axes = (group.label, "pruning ratio", "relative test accuracy")
    return document.Panel(*axes, series, colour_label=ALPHA_LABEL + error), checks


def _areas(
    groups: Sequence[Group], *, method: str, beside: bool = False
) -> tuple[document.Panel, list[document.Check]]:
    """What the curves come to, against the ratio eta / b that is known without error."""
    series = tuple(
        document.Series(
            group.label,
            group.column("eta_over_b"),
            tuple(group.areas(method)),
            style="line+points",
            runs=group.runs,
        )
        for group in groups
    )
    panel = document.Panel(
        "All networks, by eta / b", "eta / b", "area under the curve", series, x_log=True
    )
    what = f"keep more accuracy under pruning of {METHODS[method]} (area under the curve)"
    checks = [
        noise.pooled(
            f"{kind.capitalize()} of larger eta / b {what}",
            {g.label: (g.column("eta_over_b"), g.areas(method)) for g in groups if g.kind == kind},
            rising=True,
        ).aside(beside)
        for kind in dict.fromkeys(group.kind for group in groups)
    ]
    return panel, checks


def _weak_nodes(group: Group) -> tuple[document.Panel, list[document.Check]]:
    panel, order = _curves(group, method="node")
    statement = f"{group.label}: node pruning costs more accuracy than magnitude pruning"
    if not group.networks:
        return panel, [undecided(statement, "no networks")]
    areas = list(zip(group.areas("node"), group.areas("magnitude"), strict=True))
    nodes, weights = (float(np.mean(side)) for side in zip(*areas, strict=True))
    worse = sum(node < weight for node, weight in areas)
    evidence = (
        f"mean area {nodes:.3f} against {weights:.3f}; lower in {worse} of {len(areas)} networks"
    )
    return panel, [
        document.Check(statement, nodes < weights, evidence),
        *(check.aside() for check in order),
    ]


def _generalisation(group: Group) -> tuple[document.Panel, list[document.Check]]:
    alphas, accuracies = group.column("alpha"), group.column("test_accuracy")
    series = [
        document.Series(
            n["key"],
            (n["alpha"],),
            (n["test_accuracy"],),
            style="points",
            colour_value=n["eta_over_b"],
            runs=n["runs"],
        )
        for n in group.networks
    ]
    if group.noise is not None and alphas:
        # the axis of the tail index lies flat, and so does its error bar
        middle = (min(alphas) + max(alphas)) / 2
        ends = (middle - group.noise.std, middle + group.noise.std)
        low, high = min(accuracies), max(accuracies)
        below = (low - 0.1 * (high - low),) * 2
        series.append(document.Series(ERROR_BAR, ends, below, runs=group.noise.runs))
    checks = [
        noise.worst_third(
            f"{group.label}: the third of the networks of highest tail index is the worst on "
            "average",
            alphas,
            accuracies,
            group.noise,
        ),
        noise.by_tail_index(
            f"{group.label}: networks of higher tail index have lower test accuracy",
            alphas,
            accuracies,
            group.noise,
        ).aside(),
    ]
    axes = (group.label, ALPHA_LABEL, "test accuracy")
    return document.Panel(*axes, tuple(series), colour_label="eta / b"), checks


def _accuracies(groups: Sequence[Group]) -> tuple[document.Panel, list[document.Check]]:
    series = []
    for group in groups:
        accuracies = np.array(group.column("test_accuracy"))
        points = 100 * (accuracies - accuracies.mean()) if accuracies.size else accuracies
        x = group.column("eta_over_b")
        label, y = group.label, tuple(points.tolist())
        series.append(document.Series(label, x, y, style="line+points", runs=group.runs))
    axes = ("All networks, by eta / b", "eta / b", "test accuracy less the mean, points")
    checks = [
        noise.pooled(
            f"{kind.capitalize()} of larger eta / b have higher test accuracy",
            {
                g.label: (g.column("eta_over_b"), g.column("test_accuracy"))
                for g in groups
                if g.kind == kind
            },
            rising=True,
        ).aside()
        for kind in dict.fromkeys(group.kind for group in groups)
    ]
    return document.Panel(*axes, tuple(series), x_log=True), checks


def _item(
    number: int,
    title: str,
    claim: str,
    gather: CaseGather,
    across: AcrossGather | None = None,
    *,
    nets: tuple[str, ...] = FULLY_CONNECTED + CONVOLUTIONAL,
    conventions: tuple[document.Convention, ...] = BOTH,
    notes: tuple[str, ...] = (),
) -> Item:
    def plan(scale: document.Scale, convention: document.Convention) -> Plan:
        chosen = settings.cases(scale, nets)
        own = settings.network_plan(scale, convention, chosen)
        return noise.with_gaussian_networks(own, chosen, scale)

    # the tail index and the dense accuracy are the same in both conventions
    alike = conventions == ("paper",)
    return Item.of(
        PAPER,
        f"Figure {number}",
        title,
        claim,
        plan,
        partial(
            over_cases, gather=gather, across=across, nets=nets, with_tables=alike, notes=notes
        ),
        conventions,
    )


FIGURES = (
    _item(
        1,
        "Estimated tail index against the ratio of step size to batch size",
        "Training with a larger ratio eta / b gives heavier-tailed weights.",
        _tails,
        conventions=("paper",),
        notes=("Estimates are capped at 2, as in the released code.",),
    ),
    _item(
        3,
        "Tail index against the share that can be pruned at a relative error of 0.1",
        "Heavier-tailed layers can be pruned more at a given error.",
        _prunability,
        notes=(
            "Pruning ratios that the paper's axis marks: "
            f"{', '.join(map(str, PUBLISHED.items['fig3'].stated['pruning_ratio_ticks']))}.",
        ),
    ),
    _item(
        4,
        "Accuracy after layer-wise magnitude pruning",
        "Networks with heavier tails are more robust against magnitude pruning.",
        partial(_curves, method="magnitude"),
        partial(_areas, method="magnitude"),
    ),
    _item(
        5,
        "Accuracy after pruning of singular values",
        "Networks with heavier tails are more robust against pruning of singular values.",
        partial(_curves, method="singular"),
        partial(_areas, method="singular"),
        notes=("The ratio counts the numbers of the kept singular triples.",),
    ),
    _item(
        6,
        "Accuracy after pruning of convolution kernels",
        "Structured pruning works in the CNNs, and better with heavier tails.",
        partial(_curves, method="node"),
        partial(_areas, method="node"),
        nets=CONVOLUTIONAL,
    ),
    _item(
        7,
        "Test accuracy against the estimated tail index",
        "The networks of the highest tail index generalise worst.",
        _generalisation,
        _accuracies,
        conventions=("paper",),
    ),
    _item(
        9,
        "Accuracy after global magnitude pruning",
        "One threshold for all layers gives the same picture as layer-wise pruning.",
        partial(_curves, method="global"),
        partial(_areas, method="global"),
        notes=(
            "Tail indices on the paper's colour bar: {} to {}.".format(
                *PUBLISHED.items["fig9"].stated["alpha_colour_bar"]
            ),
        ),
    ),
    _item(
        10,
        "Accuracy after node pruning of fully connected networks",
        "Pruning of whole nodes does little good in the fully connected networks.",
        _weak_nodes,
        partial(_areas, method="node", beside=True),
        nets=FULLY_CONNECTED,
    ),
)
