"""Models as ONNX files whose outputs onnxruntime confirms."""

import copy
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError, require
from prunable.extras import extra
from prunable.files import atomic_write
from prunable.nets.networks.equality import largest_difference, tensors_in, within_rounding
from prunable.nets.shrink.modules import swap_
from prunable.nets.shrink.sparse_layers import SparseLinear
from prunable.results import Result

LARGEST = 2**31 - 2**20  # bytes; what a protocol buffer holds, less the graph
LOUDEST = 3  # onnxruntime's errors

Exporter = Literal["dynamo", "torchscript"]  # which of torch's two exporters


@dataclass(frozen=True)
class OnnxResult(Result):
    """An ONNX file and its check.

    `max_difference` is the largest |onnxruntime(x) - model(x)|, over the example and a batch of
    another size.
    """

    path: Path
    bytes: int
    opset: int
    exporter: Exporter
    max_difference: float


def save_onnx(
    path: Path, model: nn.Module, example: Tensor, *, opset: int | None = None
) -> OnnxResult:
    """Write a model as ONNX and check it by onnxruntime.

    It is exported in evaluation mode and in its own precision, and left untouched; layers in
    compressed rows become whole matrices, for the format has no such product. Of the example,
    (batch, ...), the batch dimension is free in the file and named `batch`; `input` and `output`
    are the names of what goes in and comes out. `opset` is by default the newest that torch's
    exporter recommends.

    Raises InputError if onnx or onnxruntime is not installed, the example does not fit, or the file
    cannot be written; an older file then stays as it was; UnsupportedModelError if the model cannot
    be exported or run, is larger than 2 GB, or onnxruntime computes something else.
    """
    onnx, runtime = (extra(name, "save_onnx", "onnx") for name in ("onnx", "onnxruntime"))
    filled, shown = example.ndim and example.numel(), f"shape {tuple(example.shape)}"
    require(filled, "example", "save_onnx", "a batch that is not empty", shown)
    name = type(model).__name__
    dense = _dense(copy.deepcopy(model)).cpu().eval()
    size = sum(t.numel() * t.element_size() for t in dense.state_dict().values())
    if size > LARGEST:
        raise UnsupportedModelError(
            f"`{name}` cannot be exported to ONNX: its {size} bytes exceed the 2 GB of one file. "
            "Use `save_exported`."
        )
    # a batch of one would be taken for a fixed size
    inputs = example.detach().cpu()
    traced = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])
    batches = [traced, torch.cat([traced, traced.flip(0), traced[:1]]), traced[:1]]
    with torch.no_grad():
        try:
            expected = [tensors_in(dense(batch.clone())) for batch in batches]
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise InputError(
                f"`example` of shape {tuple(example.shape)} does not fit the model: {error}"
            ) from error
    exporter: Exporter = "dynamo" if find_spec("onnxscript") else "torchscript"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.onnx"
        try:
            with _quiet():
                _export(dense, traced, made, exporter, opset)
            document = onnx.load(made)
            onnx.checker.check_model(document)
            found = _run(runtime, made, batches)
        except Exception as error:  # the exporter and the runtime have errors of many classes
            raise UnsupportedModelError(
                f"`{name}` cannot be exported to ONNX: {_brief(error)}. Use `save_exported`."
            ) from error
        difference = 0.0
        for ours, theirs in zip(expected, found, strict=True):
            this = largest_difference(theirs, ours)
            if not within_rounding(this, ours, dense):
                raise UnsupportedModelError(
                    f"`{name}` cannot be exported to ONNX: onnxruntime's output differs by "
                    f"{this:.3g}. Use `save_exported`."
                )
            difference = max(difference, this)
        versions = {entry.domain: entry.version for entry in document.opset_import}
        atomic_write(path, partial(shutil.copyfile, made))
    return OnnxResult(path, path.stat().st_size, versions[""], exporter, difference)


def _dense(model: nn.Module) -> nn.Module:
    """Put whole matrices in place of compressed rows, in place."""
    sparse = [name for name, module in model.named_modules() if isinstance(module, SparseLinear)]
    return swap_(model, sparse, lambda _, old: old.to_linear())


def _export(
    model: nn.Module, example: Tensor, path: Path, exporter: Exporter, opset: int | None
) -> None:
    settings: dict[str, Any] = {
        "input_names": ["input"],
        "output_names": ["output"],
        "opset_version": opset,
        "verbose": False,
    }
    if exporter == "dynamo":
        batch = torch.export.Dim("batch")
        program = torch.onnx.export(
            model, (example,), dynamo=True, dynamic_shapes=({0: batch},), **settings
        )
        assert program is not None
        program.save(path)
        return
    axes = {"input": {0: "batch"}, "output": {0: "batch"}}
    torch.onnx.export(model, (example,), path, dynamo=False, dynamic_axes=axes, **settings)


def _run(runtime: Any, path: Path, batches: list[Tensor]) -> list[list[Tensor]]:
    options = runtime.SessionOptions()
    options.log_severity_level = LOUDEST
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return [
        [torch.from_numpy(array) for array in session.run(None, {given.name: batch.numpy()})]
        for batch in batches
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and its own use of old functions from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _brief(error: Exception) -> str:
    """The first line of a message that may be pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]
