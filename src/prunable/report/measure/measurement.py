"""The documents of `prunable measure`, as they are stored and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from prunable.errors import DataIntegrityError, InputError
from prunable.files import read_json

# Every number may be missing: an estimator may refuse, a law may not have been fitted.
Number = float | None
Numbers = list[Number]


def _spells_a_number(key: str) -> str:
    float(key)
    return key


EpsKey = Annotated[str, AfterValidator(_spells_a_number)]
ByEps = dict[EpsKey, Number]


class _Part(BaseModel):
    # Unknown keys are ignored: a newer minor version may add some without changing the rest.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Series(_Part):
    """Lists of one length, drawn against the first field."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lengths = {name: len(v) for name, v in self if isinstance(v, list) and name != "plateau"}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the lists must have one length, not {lengths}")
        return self


class Settings(_Part):
    """What the measurement was asked for; settings unknown here are kept to be shown."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    p: float
    eps: list[float]

    @model_validator(mode="after")
    def _some_eps(self) -> Self:
        if not self.eps:
            raise ValueError("eps must hold at least one value")
        return self

    @property
    def middle_eps(self) -> float:
        """The error at which one number has to stand for the curve."""
        return sorted(self.eps)[len(self.eps) // 2]


class Estimate(_Part):
    """What one tail-index estimator said."""

    alpha: Number
    stderr: Number
    n: int
    status: str


class GaussianFit(_Part):
    """A fitted Gaussian law and its distance from the weights."""

    scale: Number
    ks: Number
    anderson_darling: Number
    p_value: Number
    n: int


class StableFit(GaussianFit):
    """A fitted symmetric stable law and its distance from the weights."""

    alpha: Number


class Tail(_Part):
    """Extreme value index of the absolute weights: positive heavy, zero exponential."""

    extreme_value_index: Number
    stderr: Number
    k: int | None


class HillPlot(_Series):
    """Hill's estimate against the number of largest weights used."""

    k: list[float]
    alpha: Numbers
    plateau: list[float] | None


class Correlation(_Part):
    """One-way analysis of variance of the weights' sizes, grouped by row or by column."""

    intraclass_correlation: Number
    f: Number
    p_value: Number


class Split(_Part):
    """Two halves of the weights compared by the Kolmogorov-Smirnov distance."""

    ks: Number
    p_value: Number


class Dependence(_Part):
    """Whether the weights of one row, or of one column, go together."""

    regime: str
    rows: Correlation | None = None
    columns: Correlation | None = None
    splits: dict[str, Split | None] = {}


class Spectrum(_Part):
    """Exponent of the eigenvalue density of W^T W; another quantity than the weights' alpha."""

    spectral_alpha: Number
    stderr: Number
    expected_if_iid: Number
    ks: Number
    n_tail: int | None
    status: str


class Curves(_Series):
    """kappa against eps: measured, a list a granularity, and as two laws predict it."""

    eps: list[float]
    weight: Numbers
    node: Numbers | None = None
    unit: Numbers | None = None
    kernel: Numbers | None = None
    singular_value: Numbers | None = None
    gaussian: Numbers | None = None
    stable_median: Numbers | None = None
    stable_low: Numbers | None = None
    stable_high: Numbers | None = None


class TailPlot(_Series):
    """Share of the weights beyond x in absolute value: measured, and by the fitted laws."""

    x: list[float]
    survival: Numbers
    stable: Numbers | None
    gaussian: Numbers | None


class Layer(_Part):
    """Everything measured on one weight tensor."""

    name: str
    shape: list[int]
    role: str
    kind: str
    dtype: str
    n: int
    zeros_share: Number
    alpha: Number
    alpha_stderr: Number
    verdict: str
    reason: str
    estimators: dict[str, Estimate]
    stable_fit: StableFit | None
    gaussian_fit: GaussianFit | None
    tail: Tail | None
    hill_plot: HillPlot | None
    dependence: Dependence | None
    spectrum: Spectrum | None
    kappa: dict[str, ByEps | None]
    curves: Curves | None
    tail_plot: TailPlot | None

    def kept(self, granularity: str, eps: float) -> Number:
        """kappa at one error, None where it is missing."""
        return at_eps(self.kappa.get(granularity), eps)


class Kept(_Part):
    """Kept share by the exact allocation and by the two simple rules, at one summed error."""

    best: Number
    common_eps: Number
    global_threshold: Number


class Allocation(Kept):
    """The same for the whole network, with the bound on the summed squared errors."""

    budget: Number
    layers: dict[str, Kept] = {}


class Ordering(_Part):
    """Whether the layers ordered by alpha are also ordered by kappa."""

    p: Number
    eps: Number
    kendall_tau: Number
    p_value: Number
    n_layers: int


class OverallKappa(_Part):
    """Kept share of all weights at each eps, by two simple rules."""

    common_eps: ByEps
    global_threshold: ByEps


class Overall(_Part):
    """The network as a whole."""

    n: int
    n_layers: int
    verdicts: dict[str, int]
    alpha_mean: Number
    alpha_median: Number
    kappa: OverallKappa
    allocation: dict[EpsKey, Allocation]
    ordering: Ordering | None


class Skipped(_Part):
    """A tensor left out, and why."""

    name: str
    reason: str


class LayerDifference(_Part):
    """One layer of two networks side by side; pairs hold this model's number first."""

    name: str
    alpha: tuple[Number, Number]
    alpha_difference: Number
    stderr: Number
    z: Number
    verdict: tuple[str, str]
    kappa_weight: dict[EpsKey, tuple[Number, Number]]


class Comparison(_Part):
    """This network beside another one."""

    against: str
    layers: list[LayerDifference]
    only_in_model: list[str]
    only_in_against: list[str]


class MeasurementDocument(_Part):
    """What `measure --json` writes about one network."""

    schema_version: Literal[1]
    model: str
    settings: Settings
    layers: list[Layer]
    overall: Overall
    skipped: list[Skipped]
    comparison: Comparison | None = None


class CheckpointLayer(_Part):
    """One layer of one checkpoint."""

    alpha: Number
    alpha_stderr: Number
    verdict: str
    kappa_weight: ByEps


class Checkpoint(_Part):
    """One point of a trajectory."""

    model: str
    step: float
    alpha_mean: Number
    alpha_median: Number
    kappa: ByEps
    layers: dict[str, CheckpointLayer]


class TrajectoryDocument(_Part):
    """What `measure --json` writes about several checkpoints of one training."""

    schema_version: Literal[1]
    trajectory: list[Checkpoint]

    @property
    def layer_names(self) -> list[str]:
        """Names of the layers of any checkpoint, in order of first appearance."""
        return list(dict.fromkeys(name for point in self.trajectory for name in point.layers))

    @property
    def eps(self) -> list[str]:
        """The errors of any checkpoint as the document spells them, ascending."""
        return sorted({eps for point in self.trajectory for eps in point.kappa}, key=float)


def at_eps(values: dict[str, Any] | None, eps: float) -> Any:
    """The entry of a mapping keyed by eps, however the key spells the number.

    Parameters
    ----------
    values : mapping of str to object, or None
    eps : float

    Returns
    -------
    object
        None if there is no such entry.
    """
    return next((v for key, v in (values or {}).items() if float(key) == eps), None)


def middle_eps(doc: MeasurementDocument | TrajectoryDocument) -> float | None:
    """The error at which one number has to stand for a curve; None if there is none."""
    if isinstance(doc, MeasurementDocument):
        return doc.settings.middle_eps
    return float(doc.eps[len(doc.eps) // 2]) if doc.eps else None


def checked_eps(doc: MeasurementDocument, eps: float | None, where: str) -> float:
    """The error asked for, or the middle one.

    Raises
    ------
    InputError
        If the document holds no numbers at this error.
    """
    if eps is None:
        return doc.settings.middle_eps
    if eps not in doc.settings.eps:
        known = ", ".join(f"{value:g}" for value in doc.settings.eps)
        raise InputError.parameter(
            "eps", where, f"one of the measured errors {known}", eps, "Measure again with it."
        )
    return eps


def load_measurement(path: Path) -> MeasurementDocument | TrajectoryDocument:
    """Read a stored document of either kind.

    Parameters
    ----------
    path : Path

    Returns
    -------
    MeasurementDocument or TrajectoryDocument

    Raises
    ------
    DataIntegrityError
        If the file is missing or malformed; names the file and the first wrong key.
    """
    document = read_json(path)
    several = isinstance(document, dict) and "trajectory" in document
    try:
        return (TrajectoryDocument if several else MeasurementDocument).model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole document"
        raise DataIntegrityError(
            f"{path} is not a measurement: {key}: {first['msg']}. "
            "Write it again by `prunable measure --json`."
        ) from error
