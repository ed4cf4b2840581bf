"""The measurement of a whole network: layers, what they have in common, and comparisons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import kendalltau

from prunable.errors import InputError
from prunable.numerics.measure.layer import RULER, ByEps, LayerSketch, MeasuredLayer
from prunable.numerics.measure.options import Options, eps_key
from prunable.numerics.measure.verdict import Kind
from prunable.numerics.weights.allocation import KeptWeights, Rule
from prunable.numerics.weights.lamp import lamp_kept
from prunable.results import Result

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = 1
PLOTS = ("hill_plot", "curves", "tail_plot")


@dataclass(frozen=True)
class Skipped:
    """A tensor that was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SharedBudget:
    """Kept shares under one bound, `budget`, on the summed squared relative errors of the layers.

    By the exact allocation, which has spent `spent` of it, and by two simple rules: of all
    weights, and in each layer. `lamp` is what LAMP's scores would keep of all, to a thousandth.
    """

    budget: float
    spent: float
    best: float
    common_eps: float
    global_threshold: float
    layers: Mapping[str, Mapping[str, float]] = field(repr=False)
    lamp: float = math.nan


@dataclass(frozen=True)
class Ordering:
    """Rank correlation of alpha and kappa_p over the layers judged stable or Gaussian-like.

    Of layers of symmetric stable weights it is 1 in the limit. Of other weights it can have any
    sign: below the tail index the whole law decides, body and tail, so that proposition 8 of
    Barsbey et al. (2021) is false as printed (`numerics.weights.mixture` has the counterexample).
    """

    p: float
    eps: float
    kendall_tau: float
    p_value: float
    n_layers: int


@dataclass(frozen=True)
class Overall:
    """The network as a whole.

    `kappa` holds the kept share of all n weights at each eps, by two rules: "common_eps", the
    same relative error in every layer, and "global_threshold", that error of all weights as one
    vector. `alpha_mean` and `alpha_median` are of the estimates of one method over the layers
    judged stable or Gaussian-like, `n_alpha` of them; NaN where there is none.
    """

    n: int
    n_layers: int
    verdicts: Mapping[Kind, int]
    n_alpha: int
    alpha_mean: float
    alpha_median: float
    kappa: Mapping[str, ByEps]
    allocation: Mapping[str, SharedBudget]
    ordering: Ordering | None


@dataclass(frozen=True)
class LayerDifference:
    """One layer of two networks side by side; pairs hold the first one's number first."""

    name: str
    alpha: tuple[float, float]
    alpha_difference: float
    stderr: float
    z: float
    verdict: tuple[Kind, Kind]
    kappa_weight: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Comparison(Result):
    """Two networks layer by layer, with one estimator for all tail indices."""

    against: str
    estimator: str
    layers: tuple[LayerDifference, ...]
    only_in_model: tuple[str, ...]
    only_in_against: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Comparison(against={self.against!r}, {len(self.layers)} layers)"

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "name": layer.name,
                "alpha": layer.alpha[0],
                "alpha_against": layer.alpha[1],
                "alpha_difference": layer.alpha_difference,
                "stderr": layer.stderr,
                "z": layer.z,
            }
            for layer in self.layers
        ]


@dataclass(frozen=True)
class Measurement(Result):
    """How prunable a network is, and in which layer; `model` says where it came from.

    >>> import torch, prunable
    >>> measurement = prunable.measure({"net.weight": torch.randn(100, 50)})
    >>> measurement.to_dict()["layers"][0]["name"], len(measurement.to_pandas())
    ('net.weight', 1)
    """

    model: str
    settings: Options
    layers: tuple[MeasuredLayer, ...]
    overall: Overall
    skipped: tuple[Skipped, ...]
    comparison: Comparison | None = None
    schema_version: int = SCHEMA_VERSION

    def __repr__(self) -> str:
        found = ", ".join(f"{count} {kind}" for kind, count in self.overall.verdicts.items())
        layers = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        return f"Measurement({self.model!r}, {self.overall.n:,} weights in {layers}: {found})"

    def _plots(self) -> Sequence[tuple[str, Sequence[float]]]:
        eps = self.settings.middle_eps
        shares = [layer.kappa["weight"][eps_key(eps)] for layer in self.layers]
        return [
            ("tail index, layer by layer", [layer.alpha for layer in self.layers]),
            (f"share of weights kept at eps {eps_key(eps)}, layer by layer", shares),
        ]

    def to_dict(self, *, curves: bool = True) -> dict[str, Any]:
        """The measurement as JSON holds it; `prunable measure --json` leaves the curves out."""
        document = super().to_dict()
        for layer in document["layers"] if not curves else ():
            for name in PLOTS:
                del layer[name]
        if self.comparison is None:
            del document["comparison"]
        return document

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with one row a layer, indexed by name.

        Columns `alpha_METHOD` and `kappa_GRANULARITY_EPS` hold the estimates and kept shares.
        """
        return super().to_pandas().set_index("name")

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        rows = [_row(layer) for layer in self.layers]
        names = dict.fromkeys(name for row in rows for name in row)
        return [{name: row.get(name, math.nan) for name in names} for row in rows]


@dataclass(frozen=True)
class CheckpointLayer:
    """One layer of one checkpoint."""

    alpha: float
    alpha_stderr: float
    verdict: Kind
    kappa_weight: ByEps


@dataclass(frozen=True)
class Checkpoint:
    """One point of a trajectory; the numbers are those of `Overall`."""

    model: str
    step: float
    alpha_mean: float
    alpha_median: float
    kappa: ByEps
    layers: Mapping[str, CheckpointLayer]


@dataclass(frozen=True)
class Trajectory(Result):
    """Checkpoints of one training, in its order, with one estimator for all tail indices.

    >>> import torch, prunable
    >>> measured = [prunable.measure({"net.weight": torch.randn(50, 40)}) for _ in range(2)]
    >>> found = trajectory(measured, steps=[0, 100])
    >>> found.layer_names, found.eps, [point.step for point in found.trajectory]
    (['net.weight'], ['0.05', '0.1', '0.2'], [0, 100])
    """

    estimator: str
    trajectory: tuple[Checkpoint, ...]
    schema_version: int = SCHEMA_VERSION

    def __repr__(self) -> str:
        return f"Trajectory({len(self.trajectory)} checkpoints, {len(self.layer_names)} layers)"

    @property
    def layer_names(self) -> list[str]:
        """Names of the layers of any checkpoint, in order of first appearance."""
        return list(dict.fromkeys(name for point in self.trajectory for name in point.layers))

    @property
    def eps(self) -> list[str]:
        """The errors of any checkpoint as keys, ascending."""
        return sorted({eps for point in self.trajectory for eps in point.kappa}, key=float)

    def _rows(self) -> Sequence[Mapping[str, Any]]:
        return [
            {
                "step": point.step,
                "model": point.model,
                "alpha_mean": point.alpha_mean,
                "alpha_median": point.alpha_median,
                **{f"kappa_{eps}": share for eps, share in point.kappa.items()},
            }
            for point in self.trajectory
        ]


def sum_up(
    layers: Sequence[MeasuredLayer],
    sketches: Sequence[LayerSketch],
    kept: Sequence[KeptWeights],
    options: Options,
) -> Overall:
    """Sum up the layers of a network.

    `kept` answers, for each eps of the options in its order, under the sum of squared errors
    that one common eps has: first `Rule.BEST`, then `Rule.GLOBAL_THRESHOLD`; and then, for an
    error of eps of all weights as one vector, `Rule.ONE_VECTOR`.
    """
    sizes = np.array([layer.n for layer in layers])
    n = int(sizes.sum())
    ruled = [layer.ruler.alpha for layer in layers if _has_index(layer)]
    best = [found for found in kept if found.rule == Rule.BEST]
    rival = [found for found in kept if found.rule == Rule.GLOBAL_THRESHOLD]
    together = [found.kept.sum() / n for found in kept if found.rule == Rule.ONE_VECTOR]
    rules = ("best", "common_eps", "global_threshold")
    lamp = lamp_kept([sketch.bins for sketch in sketches], [found.budget for found in best])
    allocation = {}
    for i, (eps, a, b) in enumerate(zip(options.eps, best, rival, strict=True)):
        common = [sketch.kappa_2[i] for sketch in sketches]
        shares = zip(a.kept / sizes, common, b.kept / sizes, strict=True)
        allocation[eps_key(eps)] = SharedBudget(
            a.budget,
            a.spent,
            best=float(a.kept.sum() / n),
            common_eps=sum(size * share for size, share in zip(sizes, common, strict=True)) / n,
            global_threshold=float(b.kept.sum() / n),
            layers={
                layer.name: dict(zip(rules, found, strict=True))
                for layer, found in zip(layers, shares, strict=True)
            },
            lamp=float(lamp[i].sum() / n),
        )
    return Overall(
        n=n,
        n_layers=len(layers),
        verdicts=Counter(layer.verdict for layer in layers),
        n_alpha=len(ruled),
        alpha_mean=float(np.mean(ruled)) if ruled else math.nan,
        alpha_median=float(np.median(ruled)) if ruled else math.nan,
        kappa={
            "common_eps": {
                key: sum(layer.n * layer.kappa["weight"][key] for layer in layers) / n
                for key in map(eps_key, options.eps)
            },
            "global_threshold": options.by_eps(together),
        },
        allocation=allocation,
        ordering=_ordering(layers, sketches, options),
    )


def _check_alike(a: Measurement, b: Measurement) -> None:
    """Refuse two networks that share no layer: side by side they would show nothing."""
    if not {layer.name for layer in a.layers} & {layer.name for layer in b.layers}:
        raise InputError(
            f"{b.model} has no layer of the same name as {a.model} ({b.layers[0].name}, ..., not "
            f"{a.layers[0].name}, ...). Give checkpoints of one network."
        )


def compare(a: Measurement, b: Measurement) -> Comparison:
    """Compare two measurements made with equal options; layers are matched by name."""
    if a.settings != b.settings:
        raise InputError("two measurements compare only if they were made with equal options.")
    names, others = [layer.name for layer in a.layers], {layer.name: layer for layer in b.layers}
    _check_alike(a, b)
    return Comparison(
        against=b.model,
        estimator=RULER,
        layers=tuple(
            _difference(layer, others[layer.name]) for layer in a.layers if layer.name in others
        ),
        only_in_model=tuple(name for name in names if name not in others),
        only_in_against=tuple(name for name in others if name not in set(names)),
    )


def trajectory(measurements: Sequence[Measurement], steps: Sequence[float]) -> Trajectory:
    """Follow measurements, in the order of training, along the step of each."""
    if len(measurements) != len(steps):
        raise InputError.parameter(
            "steps", "trajectory", f"{len(measurements)} numbers", f"{len(steps)}"
        )
    for other in measurements[1:]:
        _check_alike(measurements[0], other)
    return Trajectory(
        RULER,
        tuple(
            Checkpoint(
                m.model,
                step,
                m.overall.alpha_mean,
                m.overall.alpha_median,
                m.overall.kappa["common_eps"],
                {
                    layer.name: CheckpointLayer(
                        layer.ruler.alpha, layer.ruler.stderr, layer.verdict, layer.kappa["weight"]
                    )
                    for layer in m.layers
                },
            )
            for m, step in zip(measurements, steps, strict=True)
        ),
    )


def _has_index(layer: MeasuredLayer) -> bool:
    """Whether the index of a stable law says something of a layer."""
    return layer.verdict in (Kind.STABLE, Kind.GAUSSIAN) and math.isfinite(layer.ruler.alpha)


def _difference(a: MeasuredLayer, b: MeasuredLayer) -> LayerDifference:
    difference = a.ruler.alpha - b.ruler.alpha
    combined = math.hypot(a.ruler.stderr, b.ruler.stderr)
    ours, theirs = a.kappa["weight"], b.kappa["weight"]
    return LayerDifference(
        a.name,
        (a.ruler.alpha, b.ruler.alpha),
        difference,
        combined,
        difference / combined if combined > 0 else math.nan,
        (a.verdict, b.verdict),
        {key: (share, theirs[key]) for key, share in ours.items()},
    )


def _ordering(
    layers: Sequence[MeasuredLayer], sketches: Sequence[LayerSketch], options: Options
) -> Ordering | None:
    middle = len(options.eps) // 2
    pairs = [
        (layer.ruler.alpha, sketch.kappa_1[middle])
        for layer, sketch in zip(layers, sketches, strict=True)
        if _has_index(layer)
    ]
    if len(pairs) < 4:
        return None
    tau = kendalltau(*zip(*pairs, strict=True))
    return Ordering(
        1.0, options.middle_eps, float(tau.statistic), float(tau.pvalue), n_layers=len(pairs)
    )


def _row(layer: MeasuredLayer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": layer.name,
        "kind": layer.kind,
        "shape": layer.shape,
        "n": layer.n,
        "zeros_share": layer.zeros_share,
        "verdict": str(layer.verdict),
        "alpha": layer.alpha,
        "alpha_stderr": layer.alpha_stderr,
        "regime": str(layer.dependence.regime) if layer.dependence else None,
        "spectral_alpha": layer.spectrum.spectral_alpha if layer.spectrum else math.nan,
    }
    row |= {f"alpha_{method}": found.alpha for method, found in layer.estimators.items()}
    for granularity, shares in layer.kappa.items():
        row |= {f"kappa_{granularity}_{key}": share for key, share in shares.items()}
    return row
