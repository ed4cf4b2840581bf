"""The results document of the demonstration, as it is stored and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from prunable.errors import DataIntegrityError
from prunable.files import read_json


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Summary(_Part):
    """Mean, sample standard deviation and the values of the seeds."""

    mean: float
    std: float
    values: list[float]


class PublishedValue(_Part):
    """A paper's mean and standard deviation; None where it prints none."""

    mean: float
    std: float | None


class Published(_Part):
    """A paper's numbers for one condition."""

    source: str
    values: dict[str, PublishedValue]


class Curves(_Part):
    """kappa(eps) and test accuracy against the kept share; mean and range over seeds."""

    eps: list[float]
    kappa_mean: list[float]
    kappa_min: list[float]
    kappa_max: list[float]
    keep: list[float]
    test_accuracy_mean: list[float]
    test_accuracy_min: list[float]
    test_accuracy_max: list[float]


class Histogram(_Part):
    """Counts of unit norms between edges."""

    edges: list[float]
    counts: list[int]


class ConditionResults(_Part):
    """Everything found for one kind of training; a None summary is an estimator's refusal."""

    key: str
    label: str
    noise: str
    alpha: float | None
    sigma: float
    n_runs: int
    n_failed: int
    summary: dict[str, Summary | None]
    paper: Published | None
    curves: Curves
    norm_histogram: Histogram


class Run(_Part):
    """One network."""

    run_id: str
    condition: str
    seed: int
    status: Literal["done", "diverged", "failed"]
    reason: str
    metrics: dict[str, float | None]


class Control(_Part):
    """A noisy condition against plain SGD pruned to the same share."""

    condition: str
    kappa: float
    test_accuracy_pruned: Summary
    test_accuracy_vanilla_same_kappa: Summary


class Difference(_Part):
    """One number of ours beside the paper's."""

    condition: str
    metric: str
    ours: float
    paper: float
    difference: float
    cause: str


class Finding(_Part):
    """A sentence that the numbers support."""

    title: str
    text: str


class DatasetInfo(_Part):
    """The data behind the results."""

    name: str
    label: str
    n_train: int
    n_test: int
    n_features: int
    n_classes: int
    class_counts_train: list[int]
    class_counts_test: list[int]
    split: str
    split_seed: int
    provenance: str
    licence: str


class Results(_Part):
    """The whole document, `results.json`."""

    schema_version: Literal[1]
    experiment: Literal["demo"]
    title: str
    spec_id: str
    spec: dict[str, Any]
    dataset: DatasetInfo
    conditions: list[ConditionResults]
    runs: list[Run]
    controls: list[Control]
    differences: list[Difference]
    findings: list[Finding]

    def label(self, key: str) -> str:
        """Name for people of the condition with this key."""
        return next(c.label for c in self.conditions if c.key == key)


def load_results(path: Path) -> Results:
    """Read a stored results document.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Results

    Raises
    ------
    DataIntegrityError
        If the file is missing or malformed; names the file and the first wrong key.
    """
    try:
        return Results.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole document"
        raise DataIntegrityError(
            f"{path} is not a results document: {key}: {first['msg']}. "
            "Delete it and run `prunable demo` again."
        ) from error
