"""Experiments on the dynamics behind the theorems: rates, moments, compression, SGD's tail.

An experiment is a list of rows, one frozen specification and one stored result each, and a
summary of them: fitted exponents beside a theorem's, and panels ready to be drawn. A killed
experiment goes on where it stopped, and ends with the same numbers.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from prunable.arguments import check_fields
from prunable.errors import RunsFailedError, check_one_of, require
from prunable.experiments.simulate import specs
from prunable.experiments.simulate.summaries import SUMMARIES
from prunable.files import write_json
from prunable.nets.simulate.particles import Activation, Loss, NoiseType
from prunable.runs.backends import Backend
from prunable.runs.runner import OnDone, run_all
from prunable.runs.spec import Spec
from prunable.runs.store import Store

Scale = Literal["smoke", "laptop"]
Document = dict[str, Any]

ALPHAS = (1.5, 1.75, 1.9)
# dimension: batches and steps; all have a stationary law and an index between 0.9 and 6
SGD_GRID: dict[int, tuple[tuple[int, ...], tuple[float, ...]]] = {
    1: ((1, 2, 3), (0.75, 0.9, 1.05, 1.2)),
    10: ((8, 9, 10), (0.82, 0.84, 0.86, 0.88)),
}
KINDS: dict[specs.Experiment, type[Spec]] = {
    "chaos": specs.ChaosSpec,
    "euler": specs.EulerSpec,
    "moments": specs.MomentsSpec,
    "compression": specs.CompressionSpec,
    "sgd-tail": specs.SgdTailSpec,
}
# What a quick look leaves out.
SMOKE: dict[type[Spec], dict[str, Any]] = {
    specs.ChaosSpec: {"widths": (8, 16, 32), "replicas": 8, "steps": 5, "reference_width": 2048},
    specs.IndependenceSpec: {"widths": (2, 8), "replicas": 64, "steps": 5, "permutations": 20},
    specs.EulerSpec: {
        "width": 8,
        "step_counts": (2, 4),
        "fine_steps": 32,
        "widths": (4, 8),
        "coarse_of_widths": 2,
        "fine_of_widths": 16,
        "replicas": 4,
        "replicas_of_widths": 4,
    },
    specs.MomentsSpec: {"width": 4096, "steps": 5, "sizes": (16, 64, 256), "maxima_pool": 4096},
    specs.CompressionSpec: {
        "dimensions": (100, 1000),
        "widths": (64, 256),
        "steps": 5,
        "draws": 4,
        "replicas": 2,
    },
    specs.SgdTailSpec: {"chains": 10_000, "share": 0.01},
}


@dataclass(frozen=True)
class DynamicsSettings:
    """What a user chooses."""

    # tail indices of the noise, above 1 and at most 2; not used by sgd-tail
    alphas: tuple[float, ...] = ALPHAS
    seeds: int = 10  # independent repetitions, at least 2; each gives one regression
    noise: NoiseType = "type3"
    activation: Activation = "tanh"
    loss: Loss = "squared"
    scale: Scale = "laptop"  # sizes for results, or for a quick look

    def __post_init__(self) -> None:
        check_fields(self, "simulate")
        action = "An interval needs repetitions."
        require(self.seeds >= 2, "seeds", "simulate", "at least 2", self.seeds, action)
        require(self.alphas, "alpha", "simulate", "given at least once", "none")
        check_one_of(self.scale, get_args(Scale), "scale", "simulate")


def rows_of(experiment: specs.Experiment, settings: DynamicsSettings) -> list[Spec]:
    """Every row of an experiment."""
    check_one_of(experiment, KINDS, "experiment", "simulate")
    if experiment == "sgd-tail":
        return [
            _made(specs.SgdTailSpec, settings, dim=dim, batch=batch, eta=eta)
            for dim, (batches, etas) in SGD_GRID.items()
            for batch in batches
            for eta in etas
        ]
    shared = {"noise": settings.noise, "activation": settings.activation, "loss": settings.loss}
    alphas = list(dict.fromkeys(settings.alphas))
    rows = [
        _made(KINDS[experiment], settings, alpha=alpha, seed=seed, **shared)
        for alpha in alphas
        for seed in range(settings.seeds)
    ]
    if experiment == "chaos":
        rows += [_made(specs.IndependenceSpec, settings, alpha=a, seed=0, **shared) for a in alphas]
    return rows


def run_experiment(
    experiment: specs.Experiment,
    settings: DynamicsSettings,
    out: Path | str,
    *,
    backend: Backend | None = None,
    on_row: OnDone | None = None,
) -> Document:
    """Bring every row to a result, then summarise; what is stored is not computed again.

    Raises InputError if a setting is out of range or the folder cannot be written; RunsFailedError
    if a system diverges. The summary has `experiment`, `settings`, `rates`, `table`, `panels`,
    `notes`.
    """
    out = Path(out)
    rows = rows_of(experiment, settings)
    results = run_all(rows, Store(out), backend=backend, on_done=on_row)
    lost = [result for result in results if result["status"] != "done"]
    if lost:
        raise RunsFailedError(
            f"{len(lost)} of {len(rows)} rows failed, the others are kept; the first, "
            f"{lost[0]['id']}: {lost[0]['reason']}"
        )
    document: Document = {
        "experiment": experiment,
        "settings": asdict(settings) | {"rows": len(rows)},
        **SUMMARIES[experiment]([(s, r["row"]) for s, r in zip(rows, results, strict=True)]),
    }
    write_json(out / f"{experiment}.json", document)
    return document


def _made(kind: type[Spec], settings: DynamicsSettings, **fields: Any) -> Spec:
    extra = SMOKE[kind] if settings.scale == "smoke" else {}
    return kind.create(**(extra | fields))
