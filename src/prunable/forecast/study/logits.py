"""Logits of a trained network, dense and pruned in one way, on test inputs: one run each."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from prunable.errors import DataIntegrityError
from prunable.experiments.prune.trained import TRAINED
from prunable.experiments.train.networks import as_tensors
from prunable.experiments.train.specs import TrainSpec
from prunable.experiments.train.stages import MODEL
from prunable.files import read_arrays, staged
from prunable.forecast.logits import Copies, Examples, scores
from prunable.forecast.ways import way_named
from prunable.nets.models import network_of, read_weights
from prunable.runs.data import DataSpec
from prunable.runs.spec import Spec
from prunable.runs.store import Run

AT_ONCE = 100  # pictures, which stay in the cache of a core
LOGITS = "logits.npz"
DENSE, RENEWED = "dense", "renewed"  # the network itself, and with statistics estimated again
Half = NDArray[np.float16]


class LogitsSpec(Spec):
    """A trained network pruned one way to several shares, and what it says of test inputs."""

    stage: ClassVar[str] = "prunable.forecast.study.logits:logits_stage"

    network: str  # a name of `TRAINED`; "" for the trained one
    digest: str = ""  # of its file
    code: str = ""  # digest of the user's code that builds it
    train: TrainSpec | None = None
    dataset: DataSpec
    way: str  # a name of `way_named`; "dense" or "renewed" for the network itself
    keeps: tuple[float, ...]
    n_inputs: int = Field(ge=1)  # the first, which the ways that go by inputs see
    n_test: int = Field(ge=1)

    def estimated_seconds(self) -> float:
        """Rough time on one core: three milliseconds a picture and network."""
        return 3e-3 * self.n_test * len(self.keeps)


def logits_stage(spec: LogitsSpec, run: Run) -> dict[str, Any]:
    """Run the network, or its pruned copies, on the test inputs; leaves logits.npz.

    The first inputs are those that ways which go by inputs see. Logits are kept in half precision,
    each input's less its largest.
    """
    model, x, y = _network(spec, run)
    batches = x.split(AT_ONCE)
    copies = Copies(model, Examples(batches), x[: spec.n_inputs])
    if spec.way in (DENSE, RENEWED):
        whole = model if spec.way == DENSE else copies.renewed()
        _write(run, logits=_half(scores(whole, batches))[None], labels=y)
        return {"metrics": {}, "keeps": [1.0], "parameters": [1.0]}
    way = way_named(spec.way, "study-forecast")
    found, parameters = [], []
    for number, keep in enumerate(spec.keeps):
        one = copies.pruned(way, keep)
        found.append(_half(scores(one.model, batches)))
        parameters.append(one.parameters)
        run.on_step(number + 1)
    _write(run, logits=np.stack(found), labels=y)
    return {"metrics": {}, "keeps": list(spec.keeps), "parameters": parameters}


def logits_of(spec: LogitsSpec, run: Run) -> tuple[Half, NDArray[np.int64]]:
    """What `logits_stage` left: logits (shares, inputs, classes), labels (inputs,)."""
    arrays = read_arrays(run.folder_of(spec) / LOGITS)
    shape = (len(spec.keeps), len(arrays["labels"]))
    if arrays["logits"].shape[:2] != shape:
        raise DataIntegrityError(f"{run.folder_of(spec)} holds other logits; delete it, run again.")
    return arrays["logits"], arrays["labels"]


def _half(found: NDArray[np.float32]) -> Half:
    return (found - found.max(1, keepdims=True)).astype(np.float16)


def _write(run: Run, **arrays: NDArray[Any]) -> None:
    with staged(run.folder / LOGITS) as place, place.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _network(spec: LogitsSpec, run: Run) -> tuple[nn.Module, Tensor, NDArray[np.int64]]:
    """The network and its test inputs where the run is computed, and their labels."""
    data = spec.dataset.load(flatten=False)
    labels = data.y_test[: spec.n_test]
    if spec.train is not None:
        tensors, metadata = read_weights(run.folder_of(spec.train) / MODEL)
        _, _, x, _ = as_tensors(spec.dataset.load(), run.device)
        model = network_of(tensors, metadata, None, shape=tuple(x.shape[1:])).eval()
        return model.to(run.device), x[: spec.n_test], labels
    trained = TRAINED[spec.network]
    x = torch.from_numpy(data.x_test[: spec.n_test].copy())
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in trained.moments)
    x = ((x / (255.0 if float(x.max()) > 1 else 1.0) - mean) / deviation).to(run.device)
    # convolutions run up to twice as fast on channels that lie together
    fast: Any = trained.load(spec.digest, spec.code).to(run.device)
    return (
        fast.to(memory_format=torch.channels_last),
        x.contiguous(memory_format=torch.channels_last),
        labels,
    )
