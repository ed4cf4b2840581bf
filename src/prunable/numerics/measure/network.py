"""The measurement of a whole network: layers, what they have in common, and comparisons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import kendalltau

from prunable.errors import InputError
from prunable.numerics.measure.layer import LayerMeasurement, Options
from prunable.numerics.weights.allocation import Allocation, Rule

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = 1
# Differences between checkpoints, and means over layers, are taken with one estimator
# whatever the verdict: a change needs the same ruler at both ends.
RULER = "ecf_regression"


@dataclass(frozen=True, eq=False)
class Layer:
    """One weight matrix of a network and its measurement.

    Attributes
    ----------
    name : str
    shape : tuple of int
        As stored.
    role : str
        "hidden" or "output".
    kind : str
        "dense", "convolution", "embedding", "attention" or "recurrent".
    dtype : str
        As stored.
    measured : LayerMeasurement
    """

    name: str
    shape: tuple[int, ...]
    role: str
    kind: str
    dtype: str
    measured: LayerMeasurement

    @property
    def ruler(self) -> tuple[float, float]:
        """Tail index and standard error by the estimator used for comparisons."""
        found = self.measured.estimates[RULER]
        return found.alpha, found.stderr


@dataclass(frozen=True)
class Skipped:
    """A tensor that was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Measurement:
    """How prunable a network is, and in which layer.

    Attributes
    ----------
    model : str
        Where it came from.
    options : Options
    layers : tuple of Layer
    allocations : tuple of Allocation
        For each eps of the options, in its order: the best shares, then those of one global
        threshold, under the sum of squared errors that one common eps has.
    skipped : tuple of Skipped
    """

    model: str
    options: Options
    layers: tuple[Layer, ...]
    allocations: tuple[Allocation, ...]
    skipped: tuple[Skipped, ...]

    @property
    def n(self) -> int:
        """Weights measured."""
        return sum(layer.measured.n for layer in self.layers)

    @property
    def alpha_mean(self) -> float:
        """Mean over layers of the estimates of one method, whatever the verdicts."""
        return float(np.mean(found)) if (found := self._ruled()) else math.nan

    @property
    def alpha_median(self) -> float:
        """Median over layers of the estimates of one method, whatever the verdicts."""
        return float(np.median(found)) if (found := self._ruled()) else math.nan

    def kappa_common(self) -> dict[str, float]:
        """Share of all weights kept if every layer has the same relative error, by eps."""
        return {
            key: sum(layer.measured.n * layer.measured.kappa["weight"][i] for layer in self.layers)
            / self.n
            for i, key in enumerate(self._keys())
        }

    def to_dict(self, *, curves: bool = True) -> dict[str, Any]:
        """Convert to JSON-ready values.

        Parameters
        ----------
        curves : bool
            Whether to include curves and plots.

        Returns
        -------
        dict
            NaN and infinity become None. The keys are those that `prunable measure --json`
            promises.
        """
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "settings": dataclasses.asdict(self.options),
            "layers": [self._layer(layer, curves) for layer in self.layers],
            "overall": self._overall(),
            "skipped": [dataclasses.asdict(s) for s in self.skipped],
        }
        converted: dict[str, Any] = plain(document)
        return converted

    def to_pandas(self) -> pandas.DataFrame:
        """Convert to a data frame with one row a layer.

        Returns
        -------
        pandas.DataFrame
            Indexed by name. Columns `alpha_METHOD` and `kappa_GRANULARITY_EPS` hold the
            estimates and kept shares.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("`to_pandas` needs pandas: pip install 'prunable[pandas]'.") from error
        rows = []
        for layer in self.layers:
            m = layer.measured
            row: dict[str, Any] = {
                "name": layer.name,
                "kind": layer.kind,
                "shape": layer.shape,
                "n": m.n,
                "zeros_share": m.zeros_share,
                "verdict": str(m.verdict.kind),
                "alpha": m.verdict.alpha,
                "alpha_stderr": m.verdict.stderr,
                "regime": str(m.dependence.regime) if m.dependence else None,
                "spectral_alpha": m.spectrum.alpha if m.spectrum else math.nan,
            }
            row |= {f"alpha_{method}": e.alpha for method, e in m.estimates.items()}
            for granularity, shares in m.kappa.items():
                named = zip(self._keys(), shares, strict=True)
                row |= {f"kappa_{granularity}_{key}": share for key, share in named}
            rows.append(row)
        return pandas.DataFrame(rows).set_index("name") if rows else pandas.DataFrame()

    def _keys(self) -> list[str]:
        return [f"{eps:g}" for eps in self.options.eps]

    def _ruled(self) -> list[float]:
        return [layer.ruler[0] for layer in self.layers if math.isfinite(layer.ruler[0])]

    def _layer(self, layer: Layer, curves: bool) -> dict[str, Any]:
        m, keys = layer.measured, self._keys()
        document: dict[str, Any] = {
            "name": layer.name,
            "shape": layer.shape,
            "role": layer.role,
            "kind": layer.kind,
            "dtype": layer.dtype,
            "n": m.n,
            "zeros_share": m.zeros_share,
            "alpha": m.verdict.alpha,
            "alpha_stderr": m.verdict.stderr,
            "verdict": m.verdict.kind,
            "reason": m.verdict.reason,
            "estimators": {
                method: {"alpha": e.alpha, "stderr": e.stderr, "n": e.n, "status": e.status}
                for method, e in m.estimates.items()
            },
            "stable_fit": m.stable_fit,
            "gaussian_fit": m.gaussian_fit,
            "tail": m.tail
            and {"extreme_value_index": m.tail.value, "stderr": m.tail.stderr, "k": m.tail.k},
            "dependence": m.dependence,
            "spectrum": m.spectrum and self._spectrum(m),
            "kappa": {
                name: dict(zip(keys, shares, strict=True)) for name, shares in m.kappa.items()
            },
        }
        if curves:
            band = m.curves.stable
            document |= {
                "hill_plot": m.hill_plot,
                "curves": {
                    "eps": m.curves.eps,
                    **m.curves.measured,
                    "gaussian": m.curves.gaussian,
                    "stable_low": band and band.low,
                    "stable_median": band and band.median,
                    "stable_high": band and band.high,
                },
                "tail_plot": m.tail_plot,
            }
        return document

    def _spectrum(self, m: LayerMeasurement) -> dict[str, Any]:
        assert m.spectrum is not None
        entries = m.estimates[RULER].alpha
        return {
            "spectral_alpha": m.spectrum.alpha,
            "stderr": m.spectrum.stderr,
            "expected_if_iid": 1 + min(entries, 2.0) / 2,
            "ks": m.spectrum.ks,
            "n_tail": m.spectrum.n_tail,
            "status": m.spectrum.status,
            "exact": m.spectrum_exact,
        }

    def _overall(self) -> dict[str, Any]:
        verdicts: dict[str, int] = {}
        for layer in self.layers:
            kind = str(layer.measured.verdict.kind)
            verdicts[kind] = verdicts.get(kind, 0) + 1
        common = self.kappa_common() if self.layers else {}
        overall: dict[str, Any] = {
            "n": self.n,
            "n_layers": len(self.layers),
            "verdicts": verdicts,
            "alpha_mean": self.alpha_mean,
            "alpha_median": self.alpha_median,
            "kappa": {"common_eps": common, "global_threshold": {}},
            "allocation": {},
            "ordering": self._ordering(),
        }
        best = [a for a in self.allocations if a.rule == Rule.BEST]
        rival = [a for a in self.allocations if a.rule == Rule.GLOBAL_THRESHOLD]
        for i, (key, a, b) in enumerate(zip(self._keys(), best, rival, strict=False)):
            share = float(b.kept.sum() / self.n)
            overall["kappa"]["global_threshold"][key] = share
            overall["allocation"][key] = {
                "budget": a.budget,
                "spent": a.spent,
                "best": a.kept.sum() / self.n,
                "common_eps": sum(x.measured.n * x.measured.kappa_2[i] for x in self.layers)
                / self.n,
                "global_threshold": share,
                "layers": {
                    layer.name: {
                        "best": a.kept[j] / layer.measured.n,
                        "common_eps": layer.measured.kappa_2[i],
                        "global_threshold": b.kept[j] / layer.measured.n,
                    }
                    for j, layer in enumerate(self.layers)
                },
            }
        return overall

    def _ordering(self) -> dict[str, Any] | None:
        """Rank correlation of alpha and kappa_1 over layers: proposition 8 says positive."""
        middle = len(self.options.eps) // 2
        eps = self.options.eps[middle]
        pairs = [
            (layer.ruler[0], layer.measured.kappa_1[middle])
            for layer in self.layers
            if math.isfinite(layer.ruler[0])
        ]
        if len(pairs) < 4:
            return None
        tau = kendalltau(*zip(*pairs, strict=True))
        return {
            "p": 1.0,
            "eps": eps,
            "kendall_tau": float(tau.statistic),
            "p_value": float(tau.pvalue),
            "n_layers": len(pairs),
        }


def compare(a: Measurement, b: Measurement) -> dict[str, Any]:
    """Compare two measurements layer by layer.

    Parameters
    ----------
    a, b : Measurement
        With the same options. Layers are matched by name.

    Returns
    -------
    dict
        JSON-ready: for each common layer tail indices by one estimator, their difference a - b
        with its standard error and z, verdicts and kept shares; and the other layers' names.

    Raises
    ------
    InputError
        If the options differ.
    """
    if a.options != b.options:
        raise InputError("two measurements compare only if they were made with equal options.")
    others = {layer.name: layer for layer in b.layers}
    rows = []
    for layer in a.layers:
        other = others.get(layer.name)
        if other is None:
            continue
        (alpha, stderr), (alpha_b, stderr_b) = layer.ruler, other.ruler
        difference, combined = alpha - alpha_b, math.hypot(stderr, stderr_b)
        rows.append(
            {
                "name": layer.name,
                "alpha": [alpha, alpha_b],
                "alpha_difference": difference,
                "stderr": combined,
                "z": difference / combined if combined > 0 else math.nan,
                "verdict": [layer.measured.verdict.kind, other.measured.verdict.kind],
                "kappa_weight": {
                    key: [layer.measured.kappa["weight"][i], other.measured.kappa["weight"][i]]
                    for i, key in enumerate(a._keys())
                },
            }
        )
    names, others_names = [x.name for x in a.layers], [x.name for x in b.layers]
    converted: dict[str, Any] = plain(
        {
            "against": b.model,
            "estimator": RULER,
            "layers": rows,
            "only_in_model": [name for name in names if name not in set(others_names)],
            "only_in_against": [name for name in others_names if name not in set(names)],
        }
    )
    return converted


def trajectory(measurements: Sequence[Measurement], steps: Sequence[float]) -> dict[str, Any]:
    """Follow measurements along a training run.

    Parameters
    ----------
    measurements : sequence of Measurement
        In the order of training.
    steps : sequence of float
        Step of each.

    Returns
    -------
    dict
        JSON-ready: for each checkpoint mean and median tail index by one estimator, share of
        weights kept at each eps, and the same for each layer.

    Raises
    ------
    InputError
        If there are not as many steps as measurements.
    """
    if len(measurements) != len(steps):
        raise InputError.parameter(
            "steps", "trajectory", f"{len(measurements)} numbers", f"{len(steps)}"
        )
    rows = [
        {
            "model": m.model,
            "step": step,
            "alpha_mean": m.alpha_mean,
            "alpha_median": m.alpha_median,
            "kappa": m.kappa_common(),
            "layers": {
                layer.name: {
                    "alpha": layer.ruler[0],
                    "alpha_stderr": layer.ruler[1],
                    "verdict": layer.measured.verdict.kind,
                    "kappa_weight": dict(
                        zip(m._keys(), layer.measured.kappa["weight"], strict=True)
                    ),
                }
                for layer in m.layers
            },
        }
        for m, step in zip(measurements, steps, strict=True)
    ]
    document = {"schema_version": SCHEMA_VERSION, "estimator": RULER, "trajectory": rows}
    converted: dict[str, Any] = plain(document)
    return converted


def plain(value: Any) -> Any:
    """Turn results into what JSON can hold.

    Parameters
    ----------
    value : object
        Dataclasses, mappings, sequences, arrays, enumerations and numbers, nested.

    Returns
    -------
    object
        dict, list, str, int, float, bool or None; numbers that are not finite become None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
