"""Weights of ONNX graphs: initializers and constants, with the operators that read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive.base import Archive, StoredTensor, damage_named

# Operators that hand a tensor on.
PASSING = {"Identity", "Cast", "DequantizeLinear", "QuantizeLinear", "Reshape"}
LARGEST_DEPTH = 16


@dataclass(frozen=True)
class _Use:
    consumer: str
    transposed: bool


def read(path: Path) -> Archive:
    """Open an ONNX file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Archive
        Initializers of the graph and of its subgraphs, and constants of two or more
        dimensions. Values in other files are read tensor by tensor.

    Raises
    ------
    InputError
        If the package `onnx` is not installed.
    DataIntegrityError
        If the file is damaged, or values lie outside its folder.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(
            f"{path} is an ONNX file, which needs onnx: pip install 'prunable[onnx]'."
        ) from error
    with damage_named(path):
        if not path.is_file():
            raise FileNotFoundError(path)
        model = onnx.load(str(path), load_external_data=False)
        if not model.graph.node and not model.graph.initializer:
            raise DataIntegrityError(f"{path} holds no ONNX graph; fetch or write it again.")
        tensors: list[StoredTensor] = []
        skipped: list[tuple[str, str]] = []
        names: set[str] = set()
        for graph in _graphs(model.graph, 0):
            uses = _uses(graph)
            skipped += [
                (sparse.values.name or "sparse initializer", "stored sparsely")
                for sparse in graph.sparse_initializer
            ]
            for tensor, name in _values(graph):
                unique = _unique(name, names)
                try:
                    dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)))
                except (KeyError, TypeError, ValueError):
                    skipped.append((unique, f"of the unknown type {tensor.data_type}"))
                    continue
                if dtype == "object":
                    skipped.append((unique, "text"))
                    continue
                use = uses.get(name, _Use("", False))
                tensors.append(
                    StoredTensor(
                        unique,
                        tuple(int(d) for d in tensor.dims),
                        dtype,
                        _loader(tensor, path, unique),
                        use.consumer or None,
                        use.transposed,
                    )
                )
    return Archive(path, "onnx", tuple(tensors), ordered=True, skipped=tuple(skipped))


def _graphs(graph: Any, depth: int) -> Iterator[Any]:
    """The graph and the bodies of its branches and loops."""
    if depth > LARGEST_DEPTH:
        raise DataIntegrityError(f"graphs are nested more than {LARGEST_DEPTH} deep.")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            bodies = [attribute.g] if attribute.HasField("g") else []
            for body in (*bodies, *attribute.graphs):
                yield from _graphs(body, depth + 1)


def _values(graph: Any) -> Iterator[tuple[Any, str]]:
    for tensor in graph.initializer:
        yield tensor, tensor.name
    for node in graph.node:
        if node.op_type != "Constant" or not node.output:
            continue
        for attribute in node.attribute:
            # small constants are shapes and axes
            if attribute.name == "value" and len(attribute.t.dims) >= 2:
                yield attribute.t, node.output[0]


def _uses(graph: Any) -> dict[str, _Use]:
    """Which operator reads each tensor first, and whether as (in, out)."""
    uses: dict[str, _Use] = {}
    # from the end, so that what passes a tensor on knows who takes it
    for node in reversed(graph.node):
        for place, name in enumerate(node.input):
            if node.op_type in PASSING or node.op_type == "Transpose":
                onward = uses.get(node.output[0]) if node.output and place == 0 else None
                if onward:
                    flipped = node.op_type == "Transpose"
                    uses[name] = _Use(onward.consumer, onward.transposed != flipped)
            elif place > 0 or node.op_type in ("Gather", "MatMul", "Gemm"):
                uses[name] = _Use(node.op_type, _transposed(node, place))
    return uses


def _transposed(node: Any, place: int) -> bool:
    if node.op_type == "MatMul":
        return place == 1
    if node.op_type == "Gemm":
        name = "transB" if place == 1 else "transA"
        flag = next((a.i for a in node.attribute if a.name == name), 0)
        return (place == 1) == (not flag)
    return False


def _unique(name: str, names: set[str]) -> str:
    base, count = name or "unnamed", 1
    unique = base
    while unique in names:
        count += 1
        unique = f"{base}#{count}"
    names.add(unique)
    return unique


def _loader(tensor: Any, path: Path, name: str) -> Any:
    def load() -> NDArray[Any]:
        from onnx import TensorProto, numpy_helper

        with damage_named(path, name):
            if tensor.data_location == TensorProto.EXTERNAL:
                _check_location(tensor, path, name)
            array = np.asarray(numpy_helper.to_array(tensor, base_dir=str(path.parent)))
            if array.dtype.kind not in "iufb":  # bfloat16 and float8 are types of a package
                return array.astype(np.float32)
            return array.astype(np.float32) if array.dtype == np.float16 else array

    return load


def _check_location(tensor: Any, path: Path, name: str) -> None:
    location = next((e.value for e in tensor.external_data if e.key == "location"), "")
    place = (path.parent / location).resolve()
    if not location or not place.is_relative_to(path.parent.resolve()):
        raise DataIntegrityError(
            f"{path} places the values of {name} in {location!r}, outside its own folder."
        )
