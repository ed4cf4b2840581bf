"""The zoo's results as a page and a figure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from tests.zoo.costs import REPEATS

from prunable.report.figures import PALETTE, STYLE, as_svg

Record = Mapping[str, Any]
COMMAND = "python -m tests.zoo docs/zoo"
ABSENT = "–"
BAD = ("FAULT", "refused", "time-out", "crash")
WORST_FIRST = ("FAULT", "refused", "ok")
STAGES = {
    "measured": ("measure",),
    "zeros": ("magnitude", "input", "kernel", "singular-value"),
    "cut": ("unit",),
    "trained, saved, loaded, exported": ("train", "save", "onnx"),
}
INTRODUCTION = f"""# The zoo

Architectures that people have, at random weights: each is measured; half of it is pruned by
magnitude, by inputs, by kernels and by singular values (where matrices are small); half of the
units of every group that can go is cut out, and the smaller network trained a step, saved and
loaded, some written as ONNX. Written by `{COMMAND}`; `pytest -m zoo` holds it. The
networks are listed in tests/zoo/architectures.py, with small settings where a library has some;
statistics of BatchNorm, biases and scales are random, so that a difference shows.

**ok**: all of it done, and the smaller network puts out what the masked one does, at rounding.
**refused**: an error of the package that names the layer and the reason. **FAULT**: anything else.
Shares are of what the whole network had; a time is the fastest of {REPEATS} calls, the two networks
taking turns, on one thread and a machine that had other work.

Torch-Pruning stands beside it alone, on the same network, told which layers put out:
`BasePruner(model, example, GroupMagnitudeImportance(p=2), pruning_ratio=0.5)`, for at most two
minutes. Where it keeps less (ConvNeXt, BERT, ViT), it cuts channels over which LayerNorm averages;
what is left is not the network with zeros in their place, so ours leaves them.
"""
HEAD = (
    "architecture",
    "parameters",
    "measured",
    "zeros",
    "cut",
    "then",
    "kept parameters",
    "kept MACs",
    "milliseconds",
    "groups cut",
    "layers left",
    "max difference",
    "Torch-Pruning: parameters",
    "MACs",
)


def as_page(records: Sequence[Record]) -> str:
    """The table in Markdown, what was left and why, and how often each outcome came."""
    lines = [INTRODUCTION, *_counts(records), "", "![kept shares](zoo.svg)", ""]
    lines += [f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
    lines += [f"| {' | '.join(_row(record))} |" for record in records]
    lines += ["", "## Refused, and faults", "", *(_reasons(records) or ["None."])]
    lines += ["", "## Layers left, and why", "", *(_left(records) or ["None."])]
    lines += ["", "## Torch-Pruning alone, where it does not end well", "", *_peers(records)]
    return "\n".join(lines).rstrip() + "\n"


def as_figure(records: Sequence[Record]) -> bytes:
    """The kept share of the parameters, ours beside Torch-Pruning's, as SVG."""
    names = [record["name"] for record in records]
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(6.4, 1.2 + 0.2 * len(names)), layout="constrained")
        axes = drawn.subplots()
        for label, colour, marker, place in (
            ("Torch-Pruning alone", PALETTE[6], "s", _peer_share),
            ("prunable", PALETTE[2], "o", _share),
        ):
            shares = [place(record) for record in records]
            there = [(share, i) for i, share in enumerate(shares) if share is not None]
            x, y = zip(*there, strict=True) if there else ((), ())
            axes.plot(x, y, marker, color=colour, label=label, markersize=5)
            gone = [i for i, share in enumerate(shares) if share is None]
            axes.plot([1.02] * len(gone), gone, "x", color=colour, markersize=5, clip_on=False)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1.05)
        axes.set_xlabel("kept share of the parameters (×: nothing came out)")
        axes.set_title("Half of the units cut")
        drawn.legend(loc="outside lower center", ncols=2)
    return as_svg(drawn)


def _counts(records: Sequence[Record]) -> list[str]:
    found = [f"{len(records)} architectures:"]
    for label, stages in STAGES.items():
        counts = Counter(_outcome(record, stages) for record in records)
        found.append(f"- {label}: " + ", ".join(f"{n} {how}" for how, n in counts.most_common()))
    counts = Counter(record["peer"]["outcome"] for record in records)
    found.append(
        "- Torch-Pruning alone: " + ", ".join(f"{n} {how}" for how, n in counts.most_common())
    )
    return found


def _outcome(record: Record, stages: Sequence[str]) -> str:
    """The worst of the outcomes of some stages."""
    if "outcome" in record:  # the whole trial ended without a word
        return str(record["outcome"])
    found = {record[stage]["outcome"] for stage in stages if stage in record}
    return next((outcome for outcome in WORST_FIRST if outcome in found), ABSENT)


def _row(record: Record) -> list[str]:
    unit = record.get("unit", {})
    cut = "parameters" in unit
    times = unit.get("milliseconds", {})
    macs = unit.get("macs_before")
    peer = record["peer"]
    return [
        record["name"],
        _millions(record.get("parameters")),
        *(_outcome(record, stages) for stages in STAGES.values()),
        _percent(_share(record)),
        _percent(unit["macs"] / macs if cut and macs else None),
        f"{times['before']:.3g} → {times['after']:.3g}" if times else ABSENT,
        f"{unit['groups_cut']}" if cut else ABSENT,
        f"{sum(unit['left'].values())}" if cut else ABSENT,
        f"{unit['max_difference']:.1e}" if cut else ABSENT,
        _percent(_peer_share(record)) if "parameters" in peer else peer["outcome"],
        _percent(peer["macs"] / macs if "macs" in peer and macs else None),
    ]


def _share(record: Record) -> float | None:
    unit = record.get("unit", {})
    return unit["parameters"] / record["parameters"] if "parameters" in unit else None


def _peer_share(record: Record) -> float | None:
    peer, before = record["peer"], record.get("parameters")
    return peer["parameters"] / before if "parameters" in peer and before else None


def _millions(count: int | None) -> str:
    return ABSENT if count is None else f"{count / 1e6:.2f} M"


def _percent(share: float | None) -> str:
    return ABSENT if share is None else f"{100 * share:.0f} %"


def _reasons(records: Sequence[Record]) -> list[str]:
    return [
        f"- {record['name']}, {stage}: {found['outcome']}, {found['why']}"
        for record in records
        for stage, found in [("run", record), *record.items()]
        if isinstance(found, Mapping) and stage != "peer" and found.get("outcome") in BAD
    ]


def _left(records: Sequence[Record]) -> list[str]:
    found = []
    for record in records:
        left: Mapping[str, int] = record.get("unit", {}).get("left", {})
        reasons = "; ".join(f"{reason} ({n})" for reason, n in left.items())
        found += [f"- {record['name']}: {reasons}"] if reasons else []
    return found


def _peers(records: Sequence[Record]) -> list[str]:
    return [
        f"- {record['name']}: {record['peer']['outcome']}, {record['peer']['why']}"
        for record in records
        if "why" in record["peer"]
    ] or ["None."]
