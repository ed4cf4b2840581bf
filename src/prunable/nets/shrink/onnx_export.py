"""Models as ONNX files whose outputs onnxruntime confirms."""

import inspect
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunable.errors import UnsupportedModelError, require
from prunable.extras import extra
from prunable.files import atomic_write
from prunable.nets.networks.equality import (
    expected_in_own_precision,
    largest_difference,
    tensors_in,
    within_rounding,
)
from prunable.nets.networks.examples import Example, as_call, mapped, run
from prunable.nets.networks.inputs import tensors_of
from prunable.nets.networks.parametrized import copied, make_plain_
from prunable.nets.shrink.modules import swap_
from prunable.nets.shrink.sparse_layers import SparseLinear
from prunable.results import Result

LARGEST = 2**31 - 2**20  # bytes; what a protocol buffer holds, less the graph
LOUDEST = 3  # onnxruntime's errors
COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # escape codes of terminals

Exporter = Literal["dynamo", "torchscript"]  # which of torch's two exporters


@dataclass(frozen=True)
class OnnxResult(Result):
    """An ONNX file and its check.

    `max_difference` is the largest |onnxruntime(x) - model(x)|, over the example and, where the
    batch is free, batches of other sizes.
    """

    path: Path
    bytes: int
    opset: int
    exporter: Exporter
    max_difference: float
    inputs: tuple[str, ...] = ("input",)
    outputs: tuple[str, ...] = ("output",)
    batch: Literal["free", "fixed"] = "free"  # whether the file takes batches of any size
    why_fixed: str | None = None


def save_onnx(
    path: Path | str, model: nn.Module, example: Example, *, opset: int | None = None
) -> OnnxResult:
    """Write a model as ONNX and check it by onnxruntime.

    It is exported in evaluation mode and in its own precision, and left untouched; layers in
    compressed rows become whole matrices, for the format has no such product. The example is what
    the model is called with: a tensor, a tuple, or a dictionary. The file's inputs have the names
    of the dictionary or of `forward`'s parameters, its outputs those of a dictionary that the
    model returns; a single one is `input` or `output`. The first dimension that the tensors have in
    common is free in the file and named `batch`, unless the model works for its own size alone.
    `opset` is by default the newest that torch's exporter recommends.

    Raises InputError if onnx or onnxruntime is not installed, the example does not fit, or the file
    cannot be written; an older file then stays as it was; UnsupportedModelError if the model cannot
    be exported or run, is larger than 2 GB, or onnxruntime computes something else.
    """
    path = Path(path)
    onnx, runtime = (extra(name, "save_onnx", "onnx") for name in ("onnx", "onnxruntime"))
    example = mapped(example, lambda x: x.detach().cpu())
    given = tensors_of(example)
    filled = given and all(x.numel() for x in given)
    shown = f"shapes {[tuple(x.shape) for x in given]}"
    require(filled, "example", "save_onnx", "a batch that is not empty", shown)
    name = type(model).__name__
    dense = copied(model)
    make_plain_(dense)
    dense = _dense(dense).cpu().eval()
    size = sum(t.numel() * t.element_size() for t in dense.state_dict().values())
    if size > LARGEST:
        raise UnsupportedModelError(
            f"`{name}` cannot be exported to ONNX: its {size} bytes exceed the 2 GB of one file. "
            "Use `save_exported`."
        )
    expected_in_own_precision(dense, example)
    names = _input_names(dense, example), _output_names(dense, example)
    _flatten_(dense, example)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.onnx"
        attempt = partial(_attempt, onnx, runtime, dense, given, names, made, opset)
        why_fixed = None
        try:
            found = attempt(free=True)
        except _FailedError as failure:
            why_fixed = str(failure)
            try:
                found = attempt(free=False)
            except _FailedError as error:
                raise UnsupportedModelError(
                    f"`{name}` cannot be exported to ONNX: {error}. Use `save_exported`."
                ) from error.__cause__
        atomic_write(path, partial(shutil.copyfile, made))
    exporter, version, difference = found
    return OnnxResult(
        path,
        path.stat().st_size,
        version,
        exporter,
        difference,
        *names,
        "free" if why_fixed is None else "fixed",
        why_fixed,
    )


class _FailedError(Exception):
    """Why one way of exporting did not work."""


def _attempt(
    onnx: Any,
    runtime: Any,
    model: nn.Module,
    given: list[Tensor],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    path: Path,
    opset: int | None,
    *,
    free: bool,
) -> tuple[Exporter, int, float]:
    """Export and check, with a free batch or with that of the example; its largest difference."""
    shared = _shared_batch(given)
    batches = [given]
    if free:
        if not any(shared):
            raise _FailedError("the example's tensors have no first dimension in common")
        # a batch of one would be taken for a fixed size
        few = len(next(x for x, s in zip(given, shared, strict=True) if s)) == 1
        traced = _batched(given, shared, lambda x: torch.cat([x, x]) if few else x)
        more = _batched(traced, shared, lambda x: torch.cat([x, x.flip(0), x[:1]]))
        batches = [traced, more, _batched(traced, shared, lambda x: x[:1])]
    exporter: Exporter = "dynamo" if find_spec("onnxscript") else "torchscript"
    try:
        with torch.no_grad(), _quiet():
            expected = [tensors_in(model(*mapped(tuple(b), torch.clone))) for b in batches]
            _export(model, batches[0], names, shared if free else None, path, exporter, opset)
        document = onnx.load(path)
        onnx.checker.check_model(document)
        found = _run(runtime, path, names[0], batches)
    except Exception as error:  # the exporter and the runtime have errors of many classes
        raise _FailedError(_brief(error)) from error
    difference = 0.0
    for ours, theirs in zip(expected, found, strict=True):
        this = largest_difference(theirs, ours)
        if not within_rounding(this, ours, model):
            raise _FailedError(f"onnxruntime's output differs by {this:.3g}")
        difference = max(difference, this)
    versions = {entry.domain: entry.version for entry in document.opset_import}
    return exporter, versions[""], difference


def _shared_batch(given: Sequence[Tensor]) -> list[bool]:
    """Which tensors have the first dimension that is the batch: the first tensor's."""
    sizes = [len(x) for x in given if x.ndim]
    return [bool(x.ndim) and len(x) == sizes[0] for x in given]


def _batched(given: Sequence[Tensor], shared: Sequence[bool], change: Any) -> list[Tensor]:
    return [change(x) if s else x for x, s in zip(given, shared, strict=True)]


def _dense(model: nn.Module) -> nn.Module:
    """Put whole matrices in place of compressed rows, in place."""
    sparse = [name for name, module in model.named_modules() if isinstance(module, SparseLinear)]
    return swap_(model, sparse, lambda _, old: old.to_linear())


def _flatten_(model: nn.Module, example: Example) -> None:
    """Let a model take the example's tensors in order and give its output's, in place.

    Nested inputs, names and the classes of outputs are what exporters know least about.
    """
    original = model.forward

    def forward(*inputs: Tensor) -> tuple[Tensor, ...]:
        left = iter(inputs)
        args, kwargs = as_call(mapped(example, lambda _: next(left)))
        return tuple(tensors_in(original(*args, **kwargs)))

    model.forward = forward


def _input_names(model: nn.Module, example: Example) -> tuple[str, ...]:
    args, kwargs = as_call(example)
    try:
        bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):
        bound = {"inputs": args, **kwargs}
    if len(tensors_of(example)) == 1 and not kwargs:
        return ("input",)
    names = []
    for name, value in bound.items():
        several = len(tensors_in(value)) > 1
        names += [f"{name}_{i}" if several else name for i in range(len(tensors_in(value)))]
    return _distinct(names)


def _output_names(model: nn.Module, example: Example) -> tuple[str, ...]:
    with torch.no_grad():
        output = run(model, mapped(example, torch.clone))
    count = len(tensors_in(output))
    if count == 1:
        return ("output",)
    if not isinstance(output, Mapping):
        return tuple(f"output_{i}" for i in range(count))
    names = []
    for name, value in output.items():
        several = len(tensors_in(value)) > 1
        names += [f"{name}_{i}" if several else str(name) for i in range(len(tensors_in(value)))]
    return _distinct(names)


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    seen = set(names)
    return (
        tuple(names) if len(seen) == len(names) else tuple(f"{n}_{i}" for i, n in enumerate(names))
    )


def _export(
    model: nn.Module,
    given: Sequence[Tensor],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    shared: Sequence[bool] | None,
    path: Path,
    exporter: Exporter,
    opset: int | None,
) -> None:
    settings: dict[str, Any] = {
        "input_names": list(names[0]),
        "output_names": list(names[1]),
        "opset_version": opset,
        "verbose": False,
    }
    if exporter == "dynamo":
        if shared is not None:
            batch = torch.export.Dim("batch")
            sizes = tuple({0: batch} if s else None for s in shared)
            settings["dynamic_shapes"] = (sizes,)
        program = torch.onnx.export(model, tuple(given), dynamo=True, **settings)
        assert program is not None
        program.save(path)
        return
    if shared is not None:
        free = [n for n, s in zip(names[0], shared, strict=True) if s]
        settings["dynamic_axes"] = {name: {0: "batch"} for name in (*free, *names[1])}
    torch.onnx.export(model, tuple(given), path, dynamo=False, **settings)


def _run(
    runtime: Any, path: Path, names: Sequence[str], batches: Sequence[Sequence[Tensor]]
) -> list[list[Tensor]]:
    options = runtime.SessionOptions()
    options.log_severity_level = LOUDEST
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    read = {given.name for given in session.get_inputs()}  # what the model ignores is left out
    return [
        [
            torch.from_numpy(array)
            for array in session.run(
                None, {n: x.numpy() for n, x in zip(names, batch, strict=True) if n in read}
            )
        ]
        for batch in batches
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, its graphs and its own use of old functions from the user."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _brief(error: BaseException) -> str:
    """The first line of what went wrong first: exporters wrap it in pages of advice.

    >>> try:
    ...     try:
    ...         raise KeyError("conv")
    ...     except KeyError as inner:
    ...         raise RuntimeError("Failed to export. Next steps: ...") from inner
    ... except RuntimeError as outer:
    ...     _brief(outer)
    "KeyError: 'conv'"
    """
    while True:
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
    plain = COLOURS.sub("", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    first = lines[0].rstrip(".") if lines else ""
    # a message of one word, such as a missing key, says nothing without its class
    return (first if " " in first else f"{type(error).__name__}: {first}".rstrip(": "))[:300]
