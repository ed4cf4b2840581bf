"""Fit the constants of forecasts on trained networks, leaving each out in turn.

Usage:
    python tools/forecast_constants.py logits NETWORK.npz... OUT.json
    python tools/forecast_constants.py renewed RUNS OUT.json
    python tools/forecast_constants.py retraining RETRAINED.json OUT.json

`logits`: each file holds one network's logits on the same labelled test inputs: `y` (n,), `dense`
(n, c), and for each way to prune an array (k, n, c) at the shares `kappas` (k,). Written are the
evidence of a changed decision and the error by the model of each estimator, a unit of its leverage;
printed is each network's error when the evidence is fitted on the others.
`renewed`: RUNS is the folder `runs` of a finished `prunable reproduce study-forecast`, of scale
laptop; written is what a decision is worth that BatchNorm's new statistics alone change as well.
`retraining`: runs of retraining by network; written is the law of `after_retraining`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from usage import typed

from prunable.files import read_arrays, write_text
from prunable.forecast.estimators import ESTIMATORS, Dense, Estimator
from prunable.forecast.estimators.belief import decide
from prunable.forecast.estimators.classification import DEFAULT, ChangedDecisions, worth_of
from prunable.forecast.estimators.model_error import EVIDENCE
from prunable.forecast.estimators.retraining import (
    Retrained,
    after_retraining,
    fit_law,
    law_document,
)
from prunable.forecast.study.item import logits_specs
from prunable.forecast.study.logits import DENSE, LOGITS, RENEWED
from prunable.forecast.ways import way_named
from prunable.numerics.arrays import FloatArray

EPOCHS = 3  # of retraining, of the networks of the zoo
SMALL = 0.1  # loss after retraining of the error that is printed
LEAST_CHANGED = 20  # inputs whose decision changes, for a case to count
LARGEST = 2.0  # evidence that is looked for


@dataclass(frozen=True, eq=False)
class Case:
    """One network pruned in one way to one share, on labelled inputs."""

    network: str
    dense: Dense
    pruned: FloatArray
    labels: NDArray[np.intp]

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Inputs whose decision changes."""
        return np.asarray(decide(self.pruned)[:, 0] != self.dense.decisions[:, 0])

    @property
    def accuracy(self) -> float:
        """Of the pruned network."""
        return float(np.mean(decide(self.pruned)[:, 0] == self.labels))


def read_cases(path: Path) -> Iterator[Case]:
    """The cases of one network's file, each of a share at which enough decisions change."""
    with np.load(path) as stored:
        labels = stored["y"].astype(np.intp)
        logits = stored["dense"].astype(np.float64)
        accuracy = float(np.mean(logits.argmax(1) == labels))
        dense = Dense(logits, accuracy)
        for way in sorted(set(stored.files) - {"y", "dense", "kappas"}):
            for pruned in stored[way].astype(np.float64):
                case = Case(path.stem, dense, pruned, labels)
                if case.changed.sum() >= LEAST_CHANGED:
                    yield case


def read_renewed(runs: Path) -> Iterator[Case]:
    """The cases of the study whose copies have new statistics, of inputs that no copy has seen."""
    for network, specs in logits_specs("laptop").items():
        stored = {spec.way: read_arrays(runs / spec.run_id / LOGITS) for spec in specs}
        some = slice(specs[0].n_inputs, None)
        labels = stored[DENSE]["labels"][some].astype(np.intp)
        logits, again = (
            stored[way]["logits"][0][some].astype(np.float64) for way in (DENSE, RENEWED)
        )
        dense = Dense(logits, float(np.mean(logits.argmax(1) == labels)), renewed=again)
        if (again == logits).all():
            continue
        for way in stored.keys() - {DENSE, RENEWED}:
            for pruned in stored[way]["logits"] if way_named(way).needs_inputs else ():
                case = Case(network, dense, pruned[some].astype(np.float64), labels)
                if case.changed.sum() >= LEAST_CHANGED:
                    yield case


def log_loss(case: Case, evidence: float, renewed: float = 0.0) -> float:
    """The labels' mean log-loss where decisions change, under the belief with evidence."""
    rows = np.flatnonzero(case.changed)
    scores = case.dense.belief.scores[rows].copy()
    after = decide(case.pruned)
    worth = worth_of(case.dense, case.pruned, after, evidence, renewed)
    scores[np.arange(len(rows)), after[rows, 0]] += worth[rows, 0]
    law = np.asarray(log_softmax(scores, axis=1))
    return -float(law[np.arange(len(rows)), case.labels[rows]].mean())


def fit_evidence(cases: Sequence[Case]) -> float:
    """The evidence of least log-loss, each changed decision weighing alike."""

    def total(evidence: float) -> float:
        return sum(log_loss(case, evidence) * case.changed.sum() for case in cases)

    return float(minimize_scalar(total, bounds=(-LARGEST, LARGEST), method="bounded").x)


def fit_renewed(cases: Sequence[Case]) -> float:
    """What decisions of new statistics are worth, by the least log-loss; see `fit_evidence`."""

    def total(renewed: float) -> float:
        return sum(log_loss(case, EVIDENCE, renewed) * case.changed.sum() for case in cases)

    return float(minimize_scalar(total, bounds=(-LARGEST, LARGEST), method="bounded").x)


def renewed_constant(cases: Sequence[Case]) -> Mapping[str, object]:
    """Fitted on all networks; printed is what each network's others give."""
    names = sorted({case.network for case in cases})
    for name in names:
        others = fit_renewed([case for case in cases if case.network != name])
        print(f"{name}: of the others {others:.3f}")
    return {"renewed": round(fit_renewed(cases), 3), "networks": names}


@dataclass(frozen=True, eq=False)
class Judged:
    """Errors of forecasts, one a case, their noise by the labels, and what they rest on."""

    errors: FloatArray
    noise: FloatArray
    leverage: FloatArray
    changed: FloatArray


def model_scales(found: Judged) -> tuple[float, float]:
    """The deviations of errors, a unit of leverage and a changed decision, beside labels' noise.

    They are the likeliest pair of a grid, each case by itself.
    """
    grid = np.concatenate([[0.0], np.geomspace(1e-3, 1, 60)])
    firsts = grid if found.leverage.any() else grid[:1]

    def variance(pair: tuple[float, float]) -> FloatArray:
        return (pair[0] * found.leverage) ** 2 + (pair[1] * found.changed) ** 2

    pairs = [(float(one), float(two)) for one in firsts for two in grid]

    def minus_likelihood(pair: tuple[float, float]) -> float:
        around = found.noise**2 + variance(pair)
        return float(np.sum(np.log(around) + found.errors**2 / around))

    return min(pairs, key=minus_likelihood)


def judged(estimator: Estimator, cases: Sequence[Case]) -> Judged:
    """Judge an estimator on labelled inputs."""
    rows = []
    for case in cases:
        found = estimator.contributions(case.dense, case.pruned)
        after, before = decide(case.pruned), case.dense.decisions
        belief = case.dense.belief
        moved = (after[:, 0] == case.labels).astype(float) - (before[:, 0] == case.labels)
        rest = moved - (belief.of(after) - belief.of(before))
        noise = float(rest.std()) / np.sqrt(len(rest))
        rows.append((found.value - case.accuracy, noise, found.leverage, found.changed))
    return Judged(*np.array(rows).T)


def together(parts: Sequence[Judged]) -> Judged:
    """Cases of several networks as one."""
    columns = [(part.errors, part.noise, part.leverage, part.changed) for part in parts]
    return Judged(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def confidence_constants(cases: Sequence[Case]) -> Mapping[str, object]:
    """Evidence fitted on all networks; scales from errors with evidence fitted on the others."""
    names = sorted({case.network for case in cases})
    parts, scales = [], {}
    for name in names:
        own = [case for case in cases if case.network == name]
        others = [case for case in cases if case.network != name]
        evidence = fit_evidence(others)
        part = judged(ChangedDecisions(evidence=evidence), own)
        parts.append(part)
        error, noise = 100 * part.errors, 100 * part.noise.mean() * np.sqrt(2 / np.pi)
        print(
            f"{name}: own evidence {fit_evidence(own):.3f}, of the others {evidence:.3f}; "
            f"mean error {error.mean():.2f} points, absolute {abs(error).mean():.2f}, "
            f"by noise of labels {noise:.2f}"
        )
    for name, estimator in ESTIMATORS.items():
        found = judged(estimator, cases)
        if name == DEFAULT:
            found = together(parts)
        scales[name] = [round(scale, 4) for scale in model_scales(found)]
        print(
            f"{name}: bias {100 * found.errors.mean():.2f}, "
            f"absolute {100 * abs(found.errors).mean():.2f}, scales {scales[name]}"
        )
    return {"evidence": round(fit_evidence(cases), 3), "scales": scales, "networks": names}


def read_runs(path: Path) -> list[Retrained]:
    """Runs of retraining by network, as the zoo lists them."""
    return [
        Retrained(network["net"], network["dense"], run["kappa"], run["oneshot"], run["retrained"])
        for network in json.loads(path.read_text())
        for run in network["runs"]
    ]


def report_retraining(runs: Sequence[Retrained]) -> None:
    """Print the error and the coverage of each network's forecasts by the law of the others."""
    rows = []
    for name in sorted({run.network for run in runs}):
        own = [run for run in runs if run.network == name]
        law = fit_law([run for run in runs if run.network != name], EPOCHS)
        forecasts = after_retraining(
            own[0].dense, [r.kappa for r in own], [r.one_shot for r in own], law=law
        )
        for run, found in zip(own, forecasts, strict=True):
            inside = found.low <= run.retrained <= found.high
            rows.append((run.dense - run.retrained, abs(found.value - run.retrained), inside))
    loss, error, inside = np.array(rows).T
    small = loss < SMALL
    print(
        f"leaving a network out: {100 * error[small].mean():.2f} points on {small.sum()} runs that "
        f"lose under {100 * SMALL:g}, {100 * error.mean():.2f} on all {len(error)}; no loss at all "
        f"would err by {100 * abs(loss[small]).mean():.2f}; "
        f"intervals of 90 % cover {inside.mean():.2f}"
    )


def main(arguments: Sequence[str]) -> None:
    """Fit what the first argument names, and write it to the last."""
    what, *sources, target = arguments
    if what == "retraining":
        runs = read_runs(Path(sources[0]))
        report_retraining(runs)
        text = law_document(fit_law(runs, EPOCHS))
    elif what == "renewed":
        text = json.dumps(renewed_constant(list(read_renewed(Path(sources[0])))), indent=1) + "\n"
    else:
        cases = [case for source in sources for case in read_cases(Path(source))]
        text = json.dumps(confidence_constants(cases), indent=1) + "\n"
    write_text(Path(target), text)


if __name__ == "__main__":
    main(typed(__doc__, 3))
