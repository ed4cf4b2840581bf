"""Stages: training until every example is read right, random pruning, and the bounds then."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.comparison import like_with_like
from prunable.certify.bounds.distributed_sparsity import line_counts
from prunable.certify.bounds.facts import FloatArray, NetworkFacts
from prunable.certify.bounds.matrix_facts import layer_facts
from prunable.certify.bounds.naive_counting import parameter_count
from prunable.certify.bounds.of_network import COVERING, FROBENIUS, SPECTRAL
from prunable.certify.bounds.pruning_moments import kept_share, layer_error
from prunable.certify.bounds.random_pruning import Draws, choose_strength
from prunable.certify.bounds.sketched_network import needed_margin, sketched_bound
from prunable.certify.bounds.spectral_perturbation import contraction
from prunable.certify.network_bounds import bounds_of_model, facts_of_model, margins_of, with_layers
from prunable.experiments.train import stages as training
from prunable.experiments.train.networks import as_tensors
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.train.settings import TrainingSettings
from prunable.nets.train.training import predict, train
from prunable.numerics.randomness import child_seed, rng
from prunable.papers.guha2023 import specs
from prunable.runs.execution import CHECKPOINT
from prunable.runs.store import Run

Result = dict[str, Any]

# Refinement: the learning rate of its first epoch beside that of the training, by what it falls
# from epoch to epoch, and how often more an example comes whose margin is below the limit.
REFINE_SHARE, FALL, SMALL_MARGIN, REPEATS = 0.2, 0.75, 2.0, 16
REFINED = "refined.safetensors"


def train_stage(spec: specs.MarginTrainSpec, run: Run) -> Result:
    """Train one network; leaves its weights, and those of its snapshots, in the run's folder.

    Gives status, reason, refined (epochs of refinement), metrics, log of the training.
    """
    data = training.dataset_of(spec)
    x, y, _, _ = as_tensors(data, run.device)
    model = training.new_network(spec, data).to(run.device)
    metadata = {"run_id": spec.run_id, **training.architecture_of(spec, data).metadata()}
    due = {epoch * spec.steps_per_epoch: epoch for epoch in spec.snapshots}

    def on_step(step: int) -> None:
        if step in due:
            save_tensors(run.folder / _snapshot(due[step]), model.state_dict(), metadata)
        run.on_step(step)

    outcome = train(
        _arithmetic(model, spec),
        x,
        y,
        training.training_settings(spec),
        checkpoint=run.folder / CHECKPOINT,
        on_step=on_step,
    )
    found: Result = {"status": outcome.status, "reason": outcome.reason, "log": outcome.log}
    if outcome.status != "done":
        return found
    refined = _refine(model, x, y, spec, run.folder, lambda: run.on_step(spec.steps))
    save_tensors(run.folder / training.MODEL, model.state_dict(), metadata)
    (run.folder / REFINED).unlink(missing_ok=True)
    return {**found, "refined": refined, "metrics": training.split_metrics(model, data)}


def _refine(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    spec: specs.MarginTrainSpec,
    folder: Path,
    on_epoch: Callable[[], object],
) -> int:
    """Train single epochs until the smallest training margin is positive; how many it took.

    The folder keeps the weights after each epoch, so that a killed run goes on.
    """
    kept, done = folder / REFINED, 0
    if kept.exists():
        tensors, metadata = load_tensors(kept)
        model.load_state_dict(tensors)
        done = int(metadata["epochs"])
    while done < spec.refine_epochs and (margins := margins_of(model, x, y)).min() <= 0:
        small = np.flatnonzero(margins < SMALL_MARGIN)
        chosen = torch.from_numpy(np.concatenate([np.arange(len(margins)), *[small] * REPEATS]))
        steps = -(-len(chosen) // spec.batch_size)
        settings = TrainingSettings(
            lr=(spec.refine_lr or REFINE_SHARE * spec.lr) * FALL**done,
            steps=steps,
            batch_size=spec.batch_size,
            seed=child_seed(spec.seed, "refine", done),
            optimizer="adam",
            schedule="cosine",
            log_every=steps,
        )
        train(_arithmetic(model, spec), x[chosen], y[chosen], settings)
        done += 1
        save_tensors(kept, model.state_dict(), {"epochs": str(done)})
        on_epoch()
    return done


def network(folder: Path, spec: specs.MarginTrainSpec, epoch: int | None = None) -> nn.Module:
    """The network that a finished run left in its folder, or a snapshot of it."""
    model = training.new_network(spec, training.dataset_of(spec))
    name = training.MODEL if epoch is None else _snapshot(epoch)
    model.load_state_dict(load_tensors(folder / name)[0])
    return model


def _snapshot(epoch: int) -> str:
    return f"epoch-{epoch}.safetensors"


def _arithmetic(model: nn.Module, spec: specs.MarginTrainSpec) -> nn.Module:
    return _Bfloat16(model) if spec.bfloat16 else model


class _Bfloat16(nn.Module):
    """A model whose matrix products are those of bfloat16; its weights stay float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            logits: torch.Tensor = self.model(x)
        return logits.float()


def prune_by_margin(spec: specs.MarginPruneSpec, run: Run) -> Result:
    """Prune as strongly as the smallest training margin allows, and evaluate the tables' rows.

    Gives n, weights, input_norm; refined (epochs of refinement; 0 for a snapshot); margin (min,
    median); errors (train, test, pruned_test);
    strength (d, chi, needed, steps, reason); kept; parts of the new bound; logs (natural
    logarithms of raw capacities, of the new bound and of theorem 5.2, null where infinite);
    theorem (failure, violated); layers.
    """
    case = _Case.of(spec, run)
    strength = choose_strength(case.facts, case.draws)
    facts, pruned = case.pruned(strength.d)
    ours = sketched_bound(facts, strength.d, variant="authors-code")
    theorem = sketched_bound(facts, strength.d)
    logs = {
        "neyshabur2015": FROBENIUS.capacity(facts),
        "neyshabur2017": SPECTRAL.capacity(facts, variant="authors-code"),
        "bartlett2017_code": COVERING.capacity(facts, variant="authors-code"),
        "bartlett2017_intended": COVERING.capacity(facts, variant="authors-intended"),
        "bartlett2017_true": COVERING.capacity(facts),
        "counting": parameter_count(facts, "dense"),
        "ours": ours,
        "theorem": theorem,
    }
    return {
        "n": facts.n,
        "weights": facts.weights,
        "input_norm": facts.input_norm,
        "refined": run.result(spec.train)["refined"] if spec.epoch is None else 0,
        "margin": {"min": float(facts.margins.min()), "median": float(np.median(facts.margins))},
        "errors": {
            "train": float(np.mean(facts.margins <= 0)),
            "test": case.test_error(case.model),
            "pruned_test": case.test_error(pruned),
        },
        "strength": {
            "d": strength.d,
            "chi": kept_share(strength.d),
            "needed": strength.needed,
            "steps": strength.steps,
            "reason": strength.reason,
        },
        "kept": facts.pruned_kept,
        "parts": {
            "margin_loss": ours.term("R^_gamma'").value,
            "complexity": ours.term("complexity").value,
        },
        "logs": {name: _finite(bound.log_value) for name, bound in logs.items()},
        "theorem": {"failure": theorem.delta, "violated": _violated(theorem)},
        "layers": _layers(facts, strength.d),
    }


def compare_bounds(spec: specs.ComparedBoundsSpec, run: Run) -> Result:
    """Evaluate every bound of a pruned network, biases folded into the layers.

    Gives n; rows (see `like_with_like`); bounds on risks (name, variant, about, log_value,
    vacuous, delta, violated).
    """
    case = _Case.of(spec.pruned, run)
    d = run.result(spec.pruned)["strength"]["d"]
    results = bounds_of_model(
        case.model,
        case.x,
        case.y,
        with_layers(case.model, case.draws.pruned(d)),
        d=d,
        fold=True,
        delta=spec.delta,
        # no pixel of [-1, 1] leaves the ball of this radius
        input_bound=math.sqrt(case.x.shape[1]),
        stability_examples=spec.stability_examples,
    )
    return {
        "n": len(case.x),
        "rows": [row.to_dict() for row in like_with_like(results)],
        "bounds": [
            {
                "name": result.name,
                "variant": result.variant,
                "about": result.about,
                "log_value": _finite(result.log_value),
                "vacuous": result.vacuous,
                "delta": result.delta,
                "violated": _violated(result),
            }
            for result in results
            if result.quantity == "risk"
        ],
    }


def prune_at_strengths(spec: specs.StrengthsSpec, run: Run) -> Result:
    """Prune at given strengths, and hold what the lemmas allow for against what happens.

    Gives n, min_margin, and rows, one a strength: d; chi; needed, the margin that lemma C.2 asks
    for; change_true and change_norm, the largest change of the true class's logit and of
    the logits' vector on a training example; kept; row_count, of the layer with most
    inputs, and row_bound; line_ratio, the largest count over its bound; error_ratio, the
    largest spectral change over lemma 4.2's; train_error; test_error.
    """
    case = _Case.of(spec, run)
    logits = predict(case.model, case.x).double()
    widest = max(range(case.facts.depth), key=lambda i: case.facts.layers[i].inputs)
    rows = []
    for number, d in enumerate(spec.strengths, 1):
        facts, pruned = case.pruned(d)
        after = predict(pruned, case.x).double()
        change = after - logits
        bounds = [line_counts(layer.matrix_shape, d).value for layer in facts.layers]
        fullest = [max(layer.row_count, layer.column_count) for layer in facts.layers]
        rows.append(
            {
                "d": d,
                "chi": kept_share(d),
                "needed": needed_margin(facts, [layer.change_spectral for layer in facts.layers]),
                "change_true": float(change.gather(1, case.y.view(-1, 1)).abs().max()),
                "change_norm": float(change.norm(dim=1).max()),
                "kept": facts.pruned_kept,
                "row_count": facts.layers[widest].row_count,
                "row_bound": bounds[widest],
                "line_ratio": max(a / b for a, b in zip(fullest, bounds, strict=True)),
                "error_ratio": max(layer["error_ratio"] for layer in _layers(facts, d)),
                "train_error": float((after.argmax(1) != case.y).double().mean()),
                "test_error": case.test_error(pruned),
            }
        )
        run.on_step(number)
    return {"n": case.facts.n, "min_margin": float(case.facts.margins.min()), "rows": rows}


@dataclass(frozen=True, eq=False)
class _Case:
    """A trained network, its data, what the bounds ask about it, and the draws of its masks."""

    model: nn.Module
    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    facts: NetworkFacts
    draws: Draws

    @classmethod
    def of(cls, spec: specs.OfNetworkSpec, run: Run) -> _Case:
        model = network(run.folder_of(spec.train), spec.train, spec.epoch)
        x, y, x_test, y_test = as_tensors(training.dataset_of(spec.train))
        draws = Draws.of(
            [m.weight.detach().numpy() for m in model.modules() if isinstance(m, nn.Linear)],
            rng(spec.train.seed, "masks"),
            protect_diagonal=spec.protect_diagonal,
        )
        return cls(model, x, y, x_test, y_test, facts_of_model(model, x, y), draws)

    def pruned(self, d: float) -> tuple[NetworkFacts, nn.Module]:
        """Facts of the network pruned at a strength, and that network."""
        matrices: tuple[FloatArray, ...] = self.draws.pruned(d)
        layers = tuple(
            layer_facts(known.name, dense, pruned, contraction=known.contraction)
            for known, dense, pruned in zip(
                self.facts.layers, self.draws.matrices, matrices, strict=True
            )
        )
        return replace(self.facts, layers=layers), with_layers(self.model, matrices)

    def test_error(self, model: nn.Module) -> float:
        """Share of test examples that are misread."""
        return float(np.mean(margins_of(model, self.x_test, self.y_test) <= 0))


def _layers(facts: NetworkFacts, d: float) -> list[Result]:
    rows = []
    for layer in facts.layers:
        limit = layer_error(layer.matrix_shape, layer.variance, d).value if d > 0 else 0.0
        rows.append(
            {
                "shape": list(layer.matrix_shape),
                "spectral": layer.spectral,
                "frobenius": layer.frobenius,
                "excess_kurtosis": layer.excess_kurtosis,
                # lemma 4.2 at C = 1
                "error_ratio": layer.change_spectral / limit if limit > 0 else 0.0,
                "contraction": layer.contraction,
                "contraction_claimed": contraction(
                    layer.inputs, layer.outputs, facts.n, variant="authors-code"
                ),
            }
        )
    return rows


def _violated(result: BoundResult) -> list[list[Any]]:
    return [[assumption.name, assumption.by] for assumption in result.violated]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
