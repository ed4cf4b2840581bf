"""Advice: the smallest pruned network whose loss is held, as a plan that can be carried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import nn

from prunable.arguments import checked
from prunable.errors import InputError, check_between, require
from prunable.forecast.advice import Bounded, Target, Verdict, check_loss, decide, is_held
from prunable.forecast.estimators.estimate import quantile
from prunable.forecast.forecasting import Forecast, OnPoint, Wanted, forecast_of
from prunable.forecast.logits import Copies, Examples, batches_for, scores
from prunable.forecast.ways import FITTED, way_named
from prunable.nets.networks.parametrized import copied
from prunable.nets.prune.plan_file import PlanFile, changed_buffers, prune_by_plan
from prunable.nets.train.training import lost_decisions
from prunable.results import Result, as_plain

SCHEMA_VERSION = 1
WHERE = "advise"
KEEPS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05)


@dataclass(frozen=True, repr=False)
class Advice(Result):
    """A verdict on pruning at a loss, the point that it is about, and the plan to carry out.

    ACCEPT: the loss of `chosen` is held with the confidence. UNSURE: `more_inputs` would decide,
    None if none would. INFEASIBLE: `chosen` is the nearest that is feasible. There is a plan only
    where it is accepted.
    """

    verdict: Verdict
    at_most_loss: float
    confidence: float
    target: str | None
    chosen: Mapping[str, Any] | None
    more_inputs: int | None
    said: str
    forecast: Forecast
    plan: PlanFile | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The document of `prunable advise --json`."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict,
            "at_most_loss": self.at_most_loss,
            "confidence": self.confidence,
            "target": self.target,
            "chosen": as_plain(self.chosen),
            "more_inputs": self.more_inputs,
            "said": self.said,
            "layers": [] if self.plan is None else self.plan.plan.to_dict()["layers"],
        }
        return document | {"forecast": self.forecast.to_dict()}

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return self.forecast._rows()

    def __repr__(self) -> str:
        return f"Advice({self.verdict}: {self.said})"


@checked("advise")
def advise(
    model: nn.Module,
    inputs: Any,
    *,
    accuracy: float,
    at_most_loss: float = 0.01,
    confidence: float = 0.9,
    target: str | None = None,
    strategies: Sequence[str] | None = None,
    keeps: Sequence[float] = KEEPS,
    labels: ArrayLike | None = None,
    accuracy_inputs: int | None = None,
    calibration: Any = None,
    store: Path | str | None = None,
    seed: int = 0,
    on_point: OnPoint | None = None,
) -> Advice:
    """Advise the smallest network that loses at most so much accuracy, by its forecasts.

    `target` is a share of parameters or multiplications to stay under, such as "macs=0.5". Other
    options are those of `forecast`. With `calibration` inputs `calibrated/lamp` is one of the usual
    ways. Ways that refit what stays take long a network: they are searched by halves for the
    smallest share that holds the loss, after the others. The chance that anything accepted loses
    more is at most 1 - confidence, all ways and shares that are looked at counted in; see `decide`.

    Raises InputError as `forecast` does, and for a loss or target that is none.

    >>> import torch, prunable
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    >>> inputs = torch.randn(1000, 8)  # unlabelled
    >>> advice = prunable.advise(net, inputs, accuracy=0.9, strategies=["magnitude"], keeps=[0.9])
    >>> advice.verdict
    'UNSURE'
    """
    aim = None if target is None else Target.of_text(target)
    known = accuracy is not None
    require(known, "accuracy", WHERE, "given: a loss is one against a known accuracy", accuracy)
    check_loss(at_most_loss)
    check_between(confidence, 0.5, 0.999, "confidence", WHERE)
    wanted = Wanted(
        accuracy,
        strategies,
        keeps,
        labels,
        accuracy_inputs=accuracy_inputs,
        calibration=calibration,
        store=store,
        seed=seed,
        beside=() if calibration is None else (FITTED,),
    )
    holds = partial(is_held, at_most_loss=at_most_loss, confidence=confidence)
    found = forecast_of(model, inputs, wanted, holds=holds, on_point=on_point)
    decision = decide(
        found.curves,
        at_most_loss,
        inputs=found.inputs,
        level=found.level,
        confidence=confidence,
        target=aim,
        ways=len(wanted.ways),
    )
    chosen = None if decision.point is None else _described(decision.point)
    plan = None
    if decision.verdict == "ACCEPT":
        assert decision.point is not None
        assert chosen is not None
        notes = {"chosen": as_plain(chosen), "at_most_loss": at_most_loss, "accuracy": accuracy}
        plan = _plan(model, decision.point, inputs, calibration, seed, notes)
    return Advice(
        decision.verdict,
        at_most_loss,
        confidence,
        target,
        chosen,
        decision.more_inputs,
        decision.said,
        found,
        plan,
    )


def _described(bounded: Bounded) -> dict[str, Any]:
    curve = bounded.curve
    return {
        "method": curve.method,
        "allocation": curve.allocation,
        **as_plain(bounded.point),
        "loss_bound": bounded.high,
    }


def _plan(
    model: nn.Module,
    bounded: Bounded,
    inputs: Any,
    calibration: Any,
    seed: int,
    notes: Mapping[str, Any],
) -> PlanFile:
    """The plan of the chosen network, made again."""
    copies = Copies(model, Examples(batches_for(model, inputs)), calibration, seed)
    copy = copies.pruned(way_named(bounded.curve.name), bounded.point.kappa)
    return PlanFile(copy.plan, changed_buffers(model, copy.model), notes)


@dataclass(frozen=True)
class Outcome(Result):
    """What a plan came to on inputs with their classes, beside what was forecast.

    HOLDS: the loss is at most the one advised at; FAILS: it is larger; UNSURE: these inputs do not
    tell; all with the confidence. `covered` says whether the interval of the forecast holds the
    accuracy, moved by what the dense network's differs from the known one.
    """

    verdict: str
    at_most_loss: float
    dense_accuracy: float
    accuracy: float
    loss: float
    loss_low: float
    loss_high: float
    forecast: float
    forecast_loss: float
    covered: bool
    inputs: int
    # accuracy of naming one class always, where the pruned network is no better
    lost: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document of `prunable check --json`."""
        return {"schema_version": SCHEMA_VERSION, **super().to_dict()}


def outcome_of(
    model: nn.Module, plan: PlanFile, inputs: Any, labels: Any, *, confidence: float = 0.9
) -> Outcome:
    """Carry out a plan on a copy of a network, and compare forecast and outcome on labelled inputs.

    Raises InputError if the plan holds no advice, or labels are missing.
    """
    try:
        chosen = plan.notes["chosen"]
        most, said = (float(plan.notes[key]) for key in ("at_most_loss", "accuracy"))
        expected = [float(chosen[key]) for key in ("accuracy", "loss", "low", "high")]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise InputError("`plan` of `check` holds no advice; have it written by advise.") from error
    batches = batches_for(model, inputs)
    dense = torch.from_numpy(scores(model, batches)).argmax(1).numpy()
    known = torch.as_tensor(labels).numpy()
    fits = known.shape == dense.shape and known.dtype.kind in "iu"
    wanted = f"classes, whole numbers, of the {len(dense)} inputs"
    require(fits, "labels", "check", wanted, f"{known.dtype} of shape {known.shape}")
    pruned = copied(model)
    prune_by_plan(pruned, plan)
    after = torch.from_numpy(scores(pruned, batches)).argmax(1).numpy()
    right, was = after == known, dense == known
    apart = was.astype(float) - right.astype(float)
    n = len(apart)
    loss = float(apart.mean())
    half = quantile(2 * confidence - 1, n) * float(apart.std(ddof=1)) / n**0.5
    verdict = "HOLDS" if loss + half <= most else "FAILS" if loss - half > most else "UNSURE"
    accuracy = float(right.mean())
    moved = accuracy + said - float(was.mean())
    return Outcome(
        verdict,
        most,
        float(was.mean()),
        accuracy,
        loss,
        loss - half,
        loss + half,
        expected[0],
        expected[1],
        expected[2] <= moved <= expected[3],
        n,
        lost_decisions(float(was.mean()), accuracy, torch.from_numpy(known)),
    )
