"""Stages of the experiments on dynamics: one row each, from a specification to plain numbers."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from prunable.experiments.simulate import specs
from prunable.nets.simulate.particles import (
    Observer,
    StableDrive,
    System,
    initial_particles,
    mean_field_path,
    simulate,
)
from prunable.numerics.dynamics import sgd_chain
from prunable.numerics.dynamics.independence import distance_covariance, hsic
from prunable.numerics.dynamics.sgd_tail import LinearRegressionSgd, tail_index
from prunable.numerics.randomness import child_seed, rng
from prunable.numerics.stable import sample_symmetric
from prunable.numerics.weights.compressibility import best_k_term_error
from prunable.numerics.weights.selection import kept_count
from prunable.runs.spec import Spec
from prunable.runs.store import Run

Row = dict[str, Any]


def row_stage(spec: Spec, run: Run) -> Row:
    """Compute one row of an experiment: plain JSON values, equal for equal specifications.

    Raises InputError if the simulated system diverges.
    """
    del run
    return {"row": _ROWS[type(spec)](spec)}


def _chaos(spec: specs.ChaosSpec) -> Row:
    first, second = (
        _reference(spec.model_copy(update={"seed": 0}), which) for which in ("first", "second")
    )
    largest = max(spec.widths)
    systems = [System(width) for width in spec.widths]
    systems += [System(largest, path=path) for path in (first, second)]
    farthest = [torch.zeros(spec.replicas, w, dtype=torch.float64) for w in (*spec.widths, largest)]

    def observe(_: int, state: Sequence[torch.Tensor]) -> None:
        limit = state[-2]
        for found, particles in zip(farthest, [*state[:-2], state[-1]], strict=True):
            gap = (particles - limit[:, : particles.shape[1]]).norm(dim=-1)
            torch.maximum(found, gap, out=found)

    start = _particles(spec, largest, spec.replicas)
    _final(spec, systems, start, spec.steps, observe=observe)
    return {
        "largest": [float(found.amax(dim=1).mean()) for found in farthest[:-1]],
        "mean": [float(found.mean()) for found in farthest[:-1]],
        # two independent references differ by sqrt(2) times the error of one
        "reference_error": float(farthest[-1].amax(dim=1).mean()) / 2**0.5,
    }


@lru_cache(maxsize=8)
def _reference(spec: specs.ChaosSpec, which: str) -> torch.Tensor:
    return mean_field_path(
        spec.problem(),
        _drive(spec),
        width=spec.reference_width,
        eta=spec.horizon / spec.steps,
        steps=spec.steps,
        seed=child_seed(0, "reference", which),
        std=spec.std,
        readout=spec.readout,
    )


def _independence(spec: specs.IndependenceSpec) -> Row:
    rows: Row = {"distance_covariance": [], "hsic": []}
    for width in spec.widths:
        start = _particles(spec, width, spec.replicas)
        final = _final(spec, [System(width)], start, spec.steps, width)[0]
        # the readout belongs to the particle: its sign turns the drift, and the dependence
        columns = (final * start[1].sign()).numpy()
        for name, measure in (("distance_covariance", distance_covariance), ("hsic", hsic)):
            found = measure(
                columns[:, 0],
                columns[:, 1],
                permutations=spec.permutations,
                rng=rng(spec.seed, name, width),
            )
            rows[name].append(
                {"statistic": found.statistic, "null_std": found.null_std, "p_value": found.p_value}
            )
    return rows


def _euler(spec: specs.EulerSpec) -> Row:
    counts = [System(spec.width, spec.fine_steps // count) for count in spec.step_counts]
    row: Row = {
        "steps": _euler_errors(
            spec, [*counts, System(spec.width)], spec.fine_steps, spec.replicas, 0.0
        )
    }
    every = spec.fine_of_widths // spec.coarse_of_widths
    for name, decay in (("widths", 0.0), ("widths_decay", spec.weight_decay)):
        row[name] = [
            _euler_errors(
                spec,
                [System(w, every), System(w)],
                spec.fine_of_widths,
                spec.replicas_of_widths,
                decay,
            )[0]
            for w in spec.widths
        ]
    return row


def _euler_errors(
    spec: specs.EulerSpec, systems: Sequence[System], steps: int, replicas: int, decay: float
) -> list[float]:
    """Mean over replicas of the farthest particle's distance from the last system, at the end."""
    start = _particles(spec, systems[0].width, replicas)
    final = _final(spec, systems, start, steps, systems[0].width, steps, decay=decay)
    return [float((end - final[-1]).norm(dim=-1).amax(dim=1).mean()) for end in final[:-1]]


def _moments(spec: specs.MomentsSpec) -> Row:
    squared = _column_norms(spec, spec.width, spec.steps) ** 2
    pool = np.abs(sample_symmetric(spec.maxima_pool, spec.alpha, rng(spec.seed, "maxima")))
    return {
        # typical value of the empirical moment, whose mean is infinite
        "second_moment": [
            float(np.exp(np.log(_blocks(squared, size).mean(axis=1)).mean())) for size in spec.sizes
        ],
        "maximum": [float(_blocks(pool, size).max(axis=1).mean()) for size in spec.sizes],
    }


def _compression(spec: specs.CompressionSpec) -> Row:
    row: Row = {"weights": [], "columns": []}
    for d in spec.dimensions:
        source = rng(spec.seed, "weights", d)
        errors = np.zeros((len(spec.p), len(spec.kappas)))
        for _ in range(spec.draws):
            errors += _errors(sample_symmetric(d, spec.alpha, source), spec) / spec.draws
        row["weights"].append(errors.tolist())
    for width in spec.widths:
        errors = np.mean(
            [
                _errors(_column_norms(spec, width, spec.steps, draw), spec)
                for draw in range(spec.replicas)
            ],
            axis=0,
        )
        row["columns"].append(errors.tolist())
    return row


def _sgd_tail(spec: specs.SgdTailSpec) -> Row:
    model = LinearRegressionSgd(spec.eta, spec.batch, spec.dim)
    steps = sgd_chain.stationary_steps(model)
    path = (spec.seed, "sgd-tail", spec.dim, spec.batch, repr(spec.eta))
    norms = sgd_chain.simulate_norms(model, spec.chains, steps, rng=rng(*path, "chains"))
    found = sgd_chain.hill_index(norms, spec.share)
    drawn = sgd_chain.monte_carlo_index(model, spec.chains, rng=rng(*path, "root"))
    return {
        "exact": tail_index(model),
        "steps": steps,
        "simulated": found.alpha,
        "simulated_stderr": found.stderr,
        "k": found.n,
        "monte_carlo": drawn.alpha,
        "monte_carlo_stderr": drawn.stderr,
    }


def _final(
    spec: specs.ParticleSpec,
    systems: Sequence[System],
    start: tuple[torch.Tensor, torch.Tensor],
    steps: int,
    *path: int,
    decay: float = 0.0,
    observe: Observer | None = None,
) -> list[torch.Tensor]:
    """Particles at the end of the horizon; the noise is drawn for the path."""
    return simulate(
        spec.problem(decay),
        _drive(spec),
        systems,
        *start,
        eta=spec.horizon / steps,
        steps=steps,
        seed=child_seed(spec.seed, "run", *path),
        observe=observe,
    )


def _column_norms(spec: specs.ParticleSpec, width: int, steps: int, draw: int = 0) -> Any:
    start = _particles(spec, width, 1, draw)
    return _final(spec, [System(width)], start, steps, width, draw)[0][0].norm(dim=-1).numpy()


def _errors(values: Any, spec: specs.CompressionSpec) -> Any:
    return np.array(
        [
            [best_k_term_error(values, kept_count(kappa, values.size), p) for kappa in spec.kappas]
            for p in spec.p
        ]
    )


def _blocks(values: Any, size: int) -> Any:
    return values[: values.size // size * size].reshape(-1, size)


def _drive(spec: specs.ParticleSpec) -> StableDrive:
    return StableDrive(spec.alpha, spec.sigma, spec.noise)


def _particles(
    spec: specs.ParticleSpec, width: int, replicas: int, draw: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    return initial_particles(
        spec.problem(),
        replicas,
        width,
        seed=child_seed(spec.seed, "start", width, draw),
        std=spec.std,
        readout=spec.readout,
    )


_ROWS: dict[type[Spec], Any] = {
    specs.ChaosSpec: _chaos,
    specs.IndependenceSpec: _independence,
    specs.EulerSpec: _euler,
    specs.MomentsSpec: _moments,
    specs.CompressionSpec: _compression,
    specs.SgdTailSpec: _sgd_tail,
}
