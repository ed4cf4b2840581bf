"""Figures 1, 3 to 7, 9 and 10: tail index, prunability and accuracy of trained networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from prunable.experiments.reproduce.items import (
    Check,
    Convention,
    Findings,
    Item,
    Panel,
    Plan,
    Result,
    Scale,
    Series,
)
from prunable.papers.barsbey2021.gathering import (
    METHODS,
    PUBLISHED,
    Network,
    case_label,
    cases,
    falling,
    network_plan,
    network_table,
    networks,
)

Gather = Callable[[str, Sequence[Network]], tuple[Panel, list[Check]]]
ALPHA_LABEL = "mean tail index"


def _over_cases(
    plan: Plan,
    results: Mapping[str, Result],
    *,
    gather: Gather,
    nets: tuple[str, ...],
    with_tables: bool = False,
    notes: tuple[str, ...] = (),
) -> Findings:
    """Gather each case on its own: a panel and checks."""
    panels, checks, tables, said = [], [], [], list(notes)
    for case in cases(plan.scale, nets):
        found, left_out = networks(plan, results, case)
        label = case_label(case, plan.scale)
        panel, case_checks = gather(label, found)
        panels.append(panel)
        checks += case_checks
        said += left_out
        if with_tables and found:
            tables.append(network_table(found, label))
    return Findings(tuple(tables), tuple(panels), tuple(checks), tuple(said))


def _tails(label: str, found: Sequence[Network]) -> tuple[Panel, list[Check]]:
    by_batch: dict[str, list[Network]] = {}
    for network in found:
        by_batch.setdefault(network.key.split()[0], []).append(network)
    series = tuple(
        Series(
            batch.replace("=", " = "),
            tuple(n.result["eta_over_b"] for n in group),
            tuple(n.alpha for n in group),
            style="points",
            runs=tuple(n.run_id for n in group),
        )
        for batch, group in by_batch.items()
    )
    check = falling(
        f"{label}: the tail index falls as eta / b grows",
        [n.result["eta_over_b"] for n in found],
        [n.alpha for n in found],
    )
    return Panel(label, "eta / b", ALPHA_LABEL, series, x_log=True), [check]


def _prunability(label: str, found: Sequence[Network]) -> tuple[Panel, list[Check]]:
    names = [layer["name"] for layer in found[0].result["layers"]] if found else []
    series, alphas, shares = [], [], []
    for i, name in enumerate(names):
        points = [n.result["layers"][i] for n in found]
        kept = [(p["prunable"], p["alpha"]) for p in points if p["alpha"] is not None]
        shares += [share for share, _ in kept]
        alphas += [alpha for _, alpha in kept]
        series.append(
            Series(
                f"layer {i + 1} ({name})",
                tuple(share for share, _ in kept),
                tuple(alpha for _, alpha in kept),
                style="points",
                runs=tuple(n.run_id for n in found),
            )
        )
    checks = [
        falling(
            f"{label}: networks of lower tail index can be pruned more at error 0.1",
            [n.alpha for n in found],
            [n.result["prunable"] for n in found],
        ),
        falling(f"{label}: so can layers, all of them together", alphas, shares, essential=False),
    ]
    return Panel(label, "pruning ratio at error 0.1", "tail index", tuple(series)), checks


def _curves(label: str, found: Sequence[Network], *, method: str) -> tuple[Panel, list[Check]]:
    series = tuple(
        Series(n.key, *n.curve(method), colour_value=n.alpha, runs=(n.run_id,)) for n in found
    )
    check = falling(
        f"{label}: networks of lower tail index keep more accuracy under pruning of "
        f"{METHODS[method]} (area under the curve)",
        [n.alpha for n in found],
        [n.area(method) for n in found],
    )
    panel = Panel(
        label, "pruning ratio", "relative test accuracy", series, colour_label=ALPHA_LABEL
    )
    return panel, [check]


def _weak_nodes(label: str, found: Sequence[Network]) -> tuple[Panel, list[Check]]:
    panel, (order,) = _curves(label, found, method="node")
    nodes = [n.area("node") for n in found]
    weights = [n.area("magnitude") for n in found]
    statement = f"{label}: node pruning costs more accuracy than magnitude pruning"
    if not found:
        return panel, [Check(statement, None, "no networks")]
    worse = sum(node < weight for node, weight in zip(nodes, weights, strict=True))
    evidence = (
        f"mean area {np.mean(nodes):.3f} against {np.mean(weights):.3f}; lower in {worse} of "
        f"{len(found)} networks"
    )
    holds = float(np.mean(nodes)) < float(np.mean(weights))
    return panel, [
        Check(statement, holds, evidence),
        Check(order.statement, order.holds, order.evidence, essential=False),
    ]


def _generalisation(label: str, found: Sequence[Network]) -> tuple[Panel, list[Check]]:
    series = tuple(
        Series(
            n.key,
            (n.alpha,),
            (n.result["test_accuracy"],),
            style="points",
            colour_value=n.result["eta_over_b"],
            runs=(n.run_id,),
        )
        for n in found
    )
    checks = [
        falling(
            f"{label}: networks of higher tail index have lower test accuracy",
            [n.alpha for n in found],
            [n.result["test_accuracy"] for n in found],
        ),
        _worst_third(label, found),
    ]
    return Panel(label, ALPHA_LABEL, "test accuracy", series, colour_label="eta / b"), checks


def _worst_third(label: str, found: Sequence[Network]) -> Check:
    statement = f"{label}: the third of the networks of highest tail index is the worst on average"
    if len(found) < 3:
        return Check(statement, None, f"{len(found)} networks")
    order = sorted(found, key=lambda n: n.alpha)
    thirds = [[order[i] for i in part] for part in np.array_split(range(len(order)), 3)]
    means = [float(np.mean([n.result["test_accuracy"] for n in third])) for third in thirds]
    evidence = "test accuracies " + ", ".join(f"{100 * m:.2f} %" for m in means)
    return Check(statement, means[2] < min(means[:2]), f"{evidence} from the lowest to the highest")


FULLY_CONNECTED, CONVOLUTIONAL = ("fcn4", "fcn6"), ("vgg",)
ALL_NETS = FULLY_CONNECTED + CONVOLUTIONAL
BOTH: tuple[Convention, ...] = ("paper", "authors-code")


def _item(
    number: int,
    title: str,
    claim: str,
    gather: Gather,
    *,
    nets: tuple[str, ...] = ALL_NETS,
    conventions: tuple[Convention, ...] = BOTH,
    with_tables: bool = False,
    notes: tuple[str, ...] = (),
) -> Item:
    def plan(scale: Scale, convention: Convention) -> Plan:
        # the tail index and the dense accuracy are the same in both conventions
        return network_plan(scale, convention, nets=nets)

    return Item(
        name=f"barsbey2021-fig{number}",
        paper="barsbey2021",
        kind="figure",
        label=f"Figure {number}",
        title=title,
        claim=claim,
        plan=plan,
        gather=partial(_over_cases, gather=gather, nets=nets, with_tables=with_tables, notes=notes),
        conventions=conventions,
    )


TRAINED_ITEMS = (
    _item(
        1,
        "Estimated tail index against the ratio of step size to batch size",
        "Training with a larger ratio eta / b gives heavier-tailed weights.",
        _tails,
        conventions=("paper",),
        with_tables=True,
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
    ),
    _item(
        5,
        "Accuracy after pruning of singular values",
        "Networks with heavier tails are more robust against pruning of singular values.",
        partial(_curves, method="singular"),
        notes=("The ratio counts the numbers of the kept singular triples.",),
    ),
    _item(
        6,
        "Accuracy after pruning of convolution kernels",
        "Structured pruning works in the CNNs, and better with heavier tails.",
        partial(_curves, method="node"),
        nets=CONVOLUTIONAL,
    ),
    _item(
        7,
        "Test accuracy against the estimated tail index",
        "The networks of the highest tail index generalise worst.",
        _generalisation,
        conventions=("paper",),
        with_tables=True,
    ),
    _item(
        9,
        "Accuracy after global magnitude pruning",
        "One threshold for all layers gives the same picture as layer-wise pruning.",
        partial(_curves, method="global"),
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
        nets=FULLY_CONNECTED,
    ),
)
