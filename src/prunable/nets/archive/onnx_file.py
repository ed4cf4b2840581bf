"""ONNX files: initializers and constants, with the operation that reads each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import base

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

# Operation to the input at which it takes a matrix stored as (in, out).
_RIGHT_FACTOR = {
    "MatMul": 1,
    "MatMulInteger": 1,
    "FusedMatMul": 1,
    "Gemm": 1,
    "QLinearMatMul": 3,
    "QGemm": 3,
}
# Operations that multiply by a weight: they name a tensor that is read by several.
_PRODUCTS = frozenset(_RIGHT_FACTOR) | {
    "Conv",
    "ConvTranspose",
    "ConvInteger",
    "QLinearConv",
    "LSTM",
    "GRU",
    "RNN",
    "Einsum",
}
# Operations that hand their first input on, shape and meaning unchanged.
_TRANSPARENT = frozenset(
    {"Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "Quant", "FloatQuant"}
)
_PACKED = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}  # bits a number

_Uses = dict[str, list[tuple["NodeProto", int]]]


def open_onnx(path: Path) -> base.Archive:
    """List the tensors of one ONNX file; external data are read tensor by tensor.

    These are initializers of the graph and its subgraphs, and constants of two or more axes. Raises
    DataIntegrityError if the file is damaged, or external data are missing or outside the file's
    folder; InputError if the package `onnx` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            f"{path} is an ONNX file, and reading it needs a package that is not installed. "
            "Run pip install 'prunable[onnx]'."
        ) from error
    tensors: list[base.StoredTensor] = []
    skipped: list[tuple[str, str]] = []
    with base.failures_named(path):
        model = onnx.load(path, format="protobuf", load_external_data=False)
        if not model.HasField("graph"):
            raise ValueError("it holds no graph")
        entries = [entry for g in (model.graph, *model.functions) for entry in _entries(g)]
        names = base.unique_names(base.clean_name(name) for name, _, _ in entries)
        for name, (inner, tensor, uses) in zip(names, entries, strict=True):
            if isinstance(tensor, str):
                skipped.append((name, tensor))
                continue
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name
            if not base.can_load(dtype) and dtype not in _PACKED:
                kind = "text" if dtype == "object" else f"numbers of type {dtype}"
                skipped.append((name, kind))
                continue
            consumer, transposed = _consumer(inner, len(tensor.dims), uses)
            read = partial(_read, tensor, dtype)
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                read = partial(_read_external, *_external(path, name, tensor), tensor, dtype)
            tensors.append(
                base.stored_tensor(path, name, tensor.dims, dtype, read, consumer, transposed)
            )
    return base.Archive(path, "onnx", tuple(tensors), True, tuple(skipped))


def _entries(graph: Any) -> Iterator[tuple[str, TensorProto | str, _Uses]]:
    """Yield name, tensor (or the reason against it) and uses, of a graph or function."""
    from onnx import AttributeProto

    uses = _uses(graph)
    for tensor in getattr(graph, "initializer", ()):
        yield tensor.name, tensor, uses
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield sparse.values.name, "a sparse tensor", uses
    for node in graph.node:
        output = node.output[0] if node.output else node.name
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.type == AttributeProto.TENSOR and len(attribute.t.dims) > 1:
                yield output, attribute.t, uses
            if attribute.type == AttributeProto.SPARSE_TENSOR:
                yield output, "a sparse tensor", uses
        for subgraph in _subgraphs(node):
            yield from _entries(subgraph)


def _subgraphs(node: NodeProto) -> list[Any]:
    """Return the graphs inside an If, Loop or Scan."""
    return [g for a in node.attribute for g in ((a.g,) if a.HasField("g") else tuple(a.graphs))]


def _uses(graph: Any) -> _Uses:
    """Map every name visible in a graph to the inputs it feeds, those of subgraphs included."""
    uses: _Uses = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            uses.setdefault(name, []).append((node, index))
        for inner in _subgraphs(node):
            own = {tensor.name for tensor in inner.initializer}
            own |= {value.name for value in inner.input}
            own |= {name for made in inner.node for name in made.output}
            for name, found in _uses(inner).items():
                if name not in own:
                    uses.setdefault(name, []).extend(found)
    return uses


def _consumer(name: str, axes: int, uses: _Uses) -> tuple[str | None, bool]:
    """Find the operation that reads a tensor, and whether it reads it as (in, out)."""
    found: list[tuple[str | None, bool]] = []
    pending, seen = [(name, False)], {name}
    while pending:
        name, flipped = pending.pop()
        for node, index in uses.get(name, ()):
            through = index == 0 and node.op_type in _TRANSPARENT
            swap = index == 0 and node.op_type == "Transpose" and _swaps_last(node, axes)
            onward = [out for out in node.output[:1] if out in uses and out not in seen]
            if (through or swap) and onward:
                seen.update(onward)
                pending += [(out, flipped != swap) for out in onward]
            else:
                found.append(
                    (base.clean_name(node.op_type), axes > 1 and _in_out(node, index, flipped))
                )
    products = [entry for entry in found if entry[0] in _PRODUCTS]
    return (products or found or [(None, False)])[0]


def _in_out(node: NodeProto, index: int, flipped: bool) -> bool:
    """Tell whether a tensor that reaches a product, transposed or not, is stored (in, out)."""
    if node.op_type not in _RIGHT_FACTOR:
        return False
    right = index == _RIGHT_FACTOR[node.op_type]
    if not right and index != 0:  # a bias or a scale
        return False
    attribute = "transB" if right else "transA"
    operand_turned = any(a.name == attribute and a.i for a in node.attribute)
    return (right != operand_turned) != flipped


def _swaps_last(node: NodeProto, axes: int) -> bool:
    """Tell whether a Transpose swaps the last two axes and leaves the others."""
    perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
    if perm is None:
        return axes == 2
    return axes > 1 and perm == [*range(axes - 2), axes - 1, axes - 2]


def _read(tensor: TensorProto, dtype: str) -> NDArray[Any]:
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    if dtype in _PACKED:
        return array.astype(np.uint8 if dtype.startswith("u") else np.int8)
    with np.errstate(all="ignore"):  # a stored NaN is a number like any other here
        return array.astype(np.float32) if base.is_widened(dtype) else np.array(array, order="C")


def _external(path: Path, name: str, tensor: TensorProto) -> tuple[Path, int, int]:
    """Return the file, first byte and number of bytes of a tensor stored beside the model."""
    entry = {item.key: item.value for item in tensor.external_data}
    location = entry.get("location", "")
    target = (path.parent / location).resolve()
    # Where the model is a link, its data may lie beside what it links to.
    folders = (path.parent.resolve(), path.resolve().parent)
    if not location or not any(target.is_relative_to(folder) for folder in folders):
        raise DataIntegrityError(
            f"{path} keeps tensor {name!r} in {location!r}, outside its own folder; "
            "put the data beside the model and save it again."
        )
    if not target.is_file():
        raise DataIntegrityError(
            f"{path} keeps tensor {name!r} in {location!r}, which is missing; fetch it too."
        )
    return target, int(entry.get("offset", 0)), int(entry.get("length", -1))


def _read_external(
    source: Path, offset: int, length: int, tensor: TensorProto, dtype: str
) -> NDArray[Any]:
    from onnx import TensorProto, helper

    bits = _PACKED.get(dtype, 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    size = -(-math.prod(tensor.dims) * bits // 8)
    if length not in (-1, size) or offset < 0 or offset + size > source.stat().st_size:
        raise ValueError(f"{source.name} does not hold the {size} bytes of it")
    with source.open("rb") as stream:
        stream.seek(offset)
        raw = stream.read(size)
    return _read(TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw), dtype)
