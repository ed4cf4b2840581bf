"""Stages: linear problems and random features predicted and simulated; networks pruned."""

import math
from dataclasses import replace
from typing import Any

import torch

from prunable.errors import InputError
from prunable.experiments.train import stages as training
from prunable.experiments.train.networks import as_tensors
from prunable.nets.archive import save_tensors
from prunable.nets.models import build
from prunable.nets.prune.masks import mask_of
from prunable.nets.prune.plan import Keep, PruningPlan
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.retraining import hold_masks
from prunable.nets.prune.strategies import MagnitudePruning, RandomPruning, Strategy
from prunable.nets.shrink.modules import count_parameters
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import train
from prunable.numerics.randomness import child_seed, rng
from prunable.papers.chang2020 import specs
from prunable.predict.features.random_features import (
    LayerRisks,
    RandomFeatures,
    predict_random_features,
    simulate_random_features,
)
from prunable.predict.linear.curves import Wanted, sweep_curve
from prunable.predict.linear.names import Method, Variable
from prunable.predict.linear.presets import Preset, preset
from prunable.predict.linear.simulate import simulate_replica, summarise
from prunable.runs.execution import CHECKPOINT
from prunable.runs.store import Run

RETRAINED_AFTER = (Method.MAGNITUDE, Method.HESSIAN)

# Differences within a data set, whose noise cancels largely.
PAIRS = (
    ("hessian", "magnitude"),
    ("retrained", "magnitude"),
    ("retrained_hessian", "hessian"),
    ("retrained_same_data", "magnitude"),
    ("retrained_same_data_hessian", "hessian"),
)


def predict_curve(spec: specs.LinearCurveSpec, run: Run) -> dict[str, Any]:
    """Predict all risks at all widths.

    Gives `risk`: by name, as `predict_risks` has them, a list with a number a width, None where
    it is infinite or not predicted.
    """
    del run
    panel = _panel(spec)
    same_data = RETRAINED_AFTER if spec.same_data else ()
    wanted = Wanted(retrain_by=RETRAINED_AFTER, same_data_by=same_data)
    generator = rng(spec.seed, "chang2020", "curve", spec.panel)
    setting = (panel.problem, panel.n, panel.s)
    curve = sweep_curve(Variable.WIDTH, *setting, spec.widths, wanted, rng=generator)
    found = curve.to_dict()
    return {"risk": found["risk"], "stderr": found["standard_error"]}


def simulate_widths(spec: specs.LinearTrialsSpec, run: Run) -> dict[str, Any]:
    """Train, prune and retrain on simulated data.

    Gives `mean` and `stderr`: by name, a list with a number a width. Beside the risks there are
    the differences "hessian - magnitude" and so on of risks on the same data.
    """
    panel = _panel(spec)
    trials = []
    for trial in range(spec.trials):
        rows = simulate_replica(
            panel.problem,
            panel.n,
            panel.s,
            seed=spec.seed,
            replica=trial,
            widths=spec.widths,
            retrain_by=RETRAINED_AFTER,
        )
        pairs = [{f"{a} - {b}": row[a] - row[b] for a, b in PAIRS} for row in rows]
        trials.append([row | pair for row, pair in zip(rows, pairs, strict=True)])
        run.on_step(trial + 1)
    found = [summarise([rows[place] for rows in trials]) for place in range(len(spec.widths))]
    return {
        kind: {name: [_finite(getattr(at[name], kind)) for at in found] for name in found[0]}
        for kind in ("mean", "stderr")
    }


def _panel(spec: specs.LinearSpec) -> Preset:
    return preset(f"fig7{spec.panel}", p=spec.p, sigma=spec.sigma)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def random_features(spec: specs.RandomFeaturesSpec, run: Run) -> dict[str, Any]:
    """Predict and simulate on the same first layers.

    Gives `predicted` and `simulated`: by model, a list a first layer of a number a size kept,
    None where the prediction is infinite or not made. `condition` and `n_floored` of the
    feature covariances, `residual` of the fixed points.
    """
    problem = (RandomFeatures(d=spec.d), spec.n, spec.p, spec.kept)
    predicted = predict_random_features(
        *problem, draws=spec.layers, seed=spec.seed, on_draw=run.on_step
    )
    simulated = simulate_random_features(
        *problem,
        draws=spec.layers,
        repeats=spec.data_sets,
        seed=spec.seed,
        on_draw=lambda done: run.on_step(spec.layers + done),
    )
    return {
        "predicted": _by_model(predicted),
        "simulated": _by_model(simulated),
        "condition": predicted.condition,
        "n_floored": predicted.n_floored,
        "residual": predicted.residual,
    }


def features_curve(spec: specs.FeaturesCurveSpec, run: Run) -> dict[str, Any]:
    """Predict on a fine grid.

    Gives `predicted`: by model, a list a size kept of a number a number of features, None where
    the prediction is infinite or not made.
    """
    by_model: dict[str, list[list[float | None]]] = {}
    for place, p in enumerate(spec.features):
        kept = [s for s in spec.kept if s < p] or [min(p, spec.kept[0])]
        model_of = (RandomFeatures(d=spec.d), spec.n, p, kept)
        found = predict_random_features(*model_of, draws=spec.layers, seed=spec.seed)
        for model, risks in found.risks.items():
            means = dict(zip(kept, risks.mean(axis=0), strict=True))
            rows = by_model.setdefault(model.value, [[] for _ in spec.kept])
            for s, row in zip(spec.kept, rows, strict=True):
                dense = model.value == "dense"  # whatever is kept
                row.append(_finite(means.get(s, risks.mean() if dense else math.nan)))
        run.on_step(place + 1)
    return {"predicted": by_model}


def _by_model(found: LayerRisks) -> dict[str, list[list[float | None]]]:
    return {
        model.value: [[_finite(x) for x in row] for row in rows]
        for model, rows in found.risks.items()
    }


def prune_retrain(spec: specs.PruneRetrainSpec, run: Run) -> dict[str, Any]:
    """Prune a trained network, measure it, retrain what is left, measure again.

    Gives n_parameters of the dense network, kept, and `metrics`: those of training under their
    names, and with "_pruned" those before retraining. The folder receives the network.
    """
    data = training.dataset_of(spec.train)
    model = training.trained_network(run.folder_of(spec.train), spec.train).to(run.device)
    n_parameters, kept = count_parameters(model), base_size(spec)
    plan = _prune(model, kept, spec)
    metrics = training.split_metrics(model, data, "_pruned")
    status = {"status": "done", "reason": ""}
    if spec.retrain_steps:
        named = dict(model.named_parameters())
        masks = {layer.name: mask_of(layer, named[layer.name].shape) for layer in plan.layers}
        if spec.restart == "initial":
            model.load_state_dict(training.new_network(spec.train, data).state_dict())
        outcome = train(
            model,
            *as_tensors(data, run.device)[:2],
            _retraining_settings(spec),
            checkpoint=run.folder / CHECKPOINT,
            on_step=run.on_step,
            prepare=lambda optimizer: hold_masks(optimizer, named.items(), masks),
        )
        status = {"status": outcome.status, "reason": outcome.reason}
    if status["status"] == "done":
        metadata = training.architecture_of(spec.train, data).metadata()
        tensors = model.state_dict()
        save_tensors(run.folder / training.MODEL, tensors, {"run_id": spec.run_id, **metadata})
        metrics |= training.split_metrics(model, data)
    return {**status, "n_parameters": n_parameters, "kept": kept, "metrics": metrics}


def _retraining_settings(spec: specs.PruneRetrainSpec) -> TrainingSettings:
    """Settings of the training, for another number of steps and other batches."""
    return replace(
        training.training_settings(spec.train),
        steps=spec.retrain_steps,
        log_every=spec.retrain_steps,
        average_last=0,
        until_accuracy=None,
        until_loss=None,
        extra_steps=0,
        seed=child_seed(spec.train.seed, "retrain"),
    )


def base_size(spec: specs.PruneRetrainSpec) -> int:
    """Parameters of the base network, which pruning leaves."""
    dense = training.architecture_of(spec.train, training.dataset_of(spec.train))
    return count_parameters(
        build(replace(dense, width=spec.base_width), generator=torch.Generator())
    )


def _prune(model: torch.nn.Module, kept: int, spec: specs.PruneRetrainSpec) -> PruningPlan:
    """Prune the weights so that `kept` parameters are left, the others among them."""
    sizes = [p.numel() for p in model.parameters() if p.ndim >= 2]
    weights = kept - (count_parameters(model) - sum(sizes))
    if weights < 1:
        raise InputError.parameter(
            "base_width",
            "PruneRetrainSpec",
            "wide enough for the biases of the dense network",
            spec.base_width,
            "Prune a narrower network, or to a wider base.",
        )
    strategy: Strategy = MagnitudePruning() if spec.method == "magnitude" else RandomPruning()
    budget = Keep(weights / sum(sizes), scope="global")
    # one threshold may leave nothing of a layer, and then that is the result
    return prune(model, strategy, budget, seed=spec.train.seed, force=True).plan
