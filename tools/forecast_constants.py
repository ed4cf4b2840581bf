"""Fit the constants of forecasts on trained networks, leaving each out in turn.

Usage:
    python tools/forecast_constants.py logits NETWORK.npz... OUT.json
    python tools/forecast_constants.py retraining RETRAINED.json OUT.json

`logits`: each file holds one network's logits on the same labelled test inputs: `y` (n,), `dense`
(n, c), and for each way to prune an array (k, n, c) at the shares `kappas` (k,). Written are the
evidence of a changed decision and the error by the model of each estimator, a unit of its leverage;
printed is each network's error when the evidence is fitted on the others.
`retraining`: runs of retraining by network; written is the law of `after_retraining`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.stats import chi2

from prunable.files import write_text
from prunable.forecast.estimators import ESTIMATORS, Dense, Estimator
from prunable.forecast.estimators.belief import decide
from prunable.forecast.estimators.classification import DEFAULT, ChangedDecisions
from prunable.forecast.estimators.retraining import (
    Retrained,
    after_retraining,
    fit_law,
    law_document,
)
from prunable.numerics.arrays import FloatArray

EPOCHS = 3  # of retraining, of the networks of the zoo
SMALL = 0.1  # loss after retraining of the error that is printed
LEAST_CHANGED = 20  # inputs whose decision changes, for a case to count
LARGEST = 2.0  # evidence that is looked for
DROP = chi2.ppf(0.9, 1) / 2  # of a log likelihood: one-sided confidence of 95 %


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


def log_loss(case: Case, evidence: float) -> float:
    """The labels' mean log-loss where decisions change, under the belief with evidence."""
    rows = np.flatnonzero(case.changed)
    scores = case.dense.belief.scores[rows].copy()
    scores[np.arange(len(rows)), decide(case.pruned)[rows, 0]] += evidence
    law = np.asarray(log_softmax(scores, axis=1))
    return -float(law[np.arange(len(rows)), case.labels[rows]].mean())


def fit_evidence(cases: Sequence[Case]) -> float:
    """The evidence of least log-loss, each changed decision weighing alike."""

    def total(evidence: float) -> float:
        return sum(log_loss(case, evidence) * case.changed.sum() for case in cases)

    return float(minimize_scalar(total, bounds=(-LARGEST, LARGEST), method="bounded").x)


def model_scale(errors: FloatArray, noise: FloatArray, leverage: FloatArray) -> float:
    """The deviation of errors a unit of leverage, beside the noise of the labels.

    Few networks cannot show a small one, so it is the upper end of what they do not contradict: the
    largest of a likelihood within `DROP` of the greatest.
    """

    def minus_log_likelihood(scale: float) -> float:
        variance = noise**2 + (scale * leverage) ** 2
        return float(np.sum(np.log(variance) + errors**2 / variance)) / 2

    scales = np.geomspace(1e-4, 10, 2000)
    values = np.array([minus_log_likelihood(scale) for scale in scales])
    return float(scales[values <= values.min() + DROP].max())


def judged(
    estimator: Estimator, cases: Sequence[Case]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Errors of forecasts on all inputs, their noise by the labels, their leverage."""
    errors, noise, leverage = [], [], []
    for case in cases:
        found = estimator.contributions(case.dense, case.pruned)
        after, before = decide(case.pruned), case.dense.decisions
        belief = case.dense.belief
        moved = (after[:, 0] == case.labels).astype(float) - (before[:, 0] == case.labels)
        rest = moved - (belief.of(after) - belief.of(before))
        errors.append(found.value - case.accuracy)
        noise.append(float(rest.std()) / np.sqrt(len(rest)))
        leverage.append(max(abs(found.leverage), 1e-9))
    return np.array(errors), np.array(noise), np.array(leverage)


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
        error, noise = 100 * part[0], 100 * part[1].mean() * np.sqrt(2 / np.pi)
        print(
            f"{name}: own evidence {fit_evidence(own):.3f}, of the others {evidence:.3f}; "
            f"mean error {error.mean():.2f} points, absolute {abs(error).mean():.2f}, "
            f"by noise of labels {noise:.2f}"
        )
    for name, estimator in ESTIMATORS.items():
        found = judged(estimator, cases)
        if name == DEFAULT:
            found = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
        scales[name] = round(model_scale(*found), 4)
        print(
            f"{name}: bias {100 * found[0].mean():.2f}, absolute {100 * abs(found[0]).mean():.2f}, "
            f"scale {scales[name]:.3f}"
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
    else:
        cases = [case for source in sources for case in read_cases(Path(source))]
        text = json.dumps(confidence_constants(cases), indent=1) + "\n"
    write_text(Path(target), text)


if __name__ == "__main__":
    main(sys.argv[1:])
