"""Exported models: one safetensors file that rebuilds its model, without this package."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError, require
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.prune.sparse_file import DAMAGE, VALUES, packed, unpacked
from prunable.nets.shrink.modules import has_hooks, swap_
from prunable.nets.shrink.onnx_export import OnnxResult, save_onnx
from prunable.nets.shrink.sparse_layers import SparseLinear
from prunable.results import Result

__all__ = ["ExportResult", "OnnxResult", "load_exported", "save_exported", "save_onnx"]

MANIFEST = "manifest"


@dataclass(frozen=True)
class ExportResult(Result):
    """What an exported file holds."""

    path: Path
    bytes: int
    rebuilt_from_nothing: bool  # whether a loader needs no instance of the model's class
    n_bitmask: int  # tensors stored as a bitmask and values
    tied: Mapping[str, str]  # names that share the memory of another, by name
    sparse: tuple[str, ...]  # layers in compressed rows


def save_exported(
    path: Path, model: nn.Module, *, metadata: Mapping[str, str] | None = None
) -> ExportResult:
    """Write a model and what is needed to rebuild it to one file, atomically.

    Raises InputError if the file cannot be written; an older file then stays as it was;
    UnsupportedModelError if the model has hooks, masks of torch.nn.utils.prune, or state that is no
    tensor with data.

    The file is that of `prunable.nets.prune.sparse_file`, whose header has one more entry,
    `manifest`: a JSON object of `class`, the model's; `modules`, a list of [name, class of
    torch.nn, arguments] from the outside in; `tied`, from a name to the one that holds its numbers;
    and `csr`, the linear layers that are faster in compressed rows. docs/exported-models.md prints
    a loader.

    `model`: left untouched; stored in its own precision. Nested `nn.Sequential` of torch's layers
    are rebuilt from nothing; other classes need an instance, whose layers are then replaced.
    `metadata`: further text for the header.
    """
    modules, sparse = _modules(model)
    state, tied = _state(model, sparse)
    stored, header = packed(state)
    kind = type(model)
    manifest = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "modules": modules,
        "tied": tied,
        "csr": sparse,
    }
    header[MANIFEST] = json.dumps(manifest)
    try:
        save_tensors(path, stored, dict(metadata or {}) | header)
    except SafetensorError as error:  # the library's own writing meets the full disk
        raise InputError(
            f"cannot write {path}: {error}. Choose another place, or free this one. "
            "What was there is unchanged."
        ) from error
    from_nothing = any(name == "" for name, _, _ in modules)
    n_bitmask = sum(name.endswith(VALUES) for name in stored.keys() - state.keys())
    return ExportResult(path, path.stat().st_size, from_nothing, n_bitmask, tied, tuple(sparse))


def load_exported(path: Path, model: nn.Module | None = None, *, sparse: bool = True) -> nn.Module:
    """Rebuild a model from a file of `save_exported`.

    The model is in evaluation mode, on the CPU, in the precision of the file.

    Raises DataIntegrityError if the file is damaged or no exported model; InputError if a model is
    needed and was not given, or does not fit.

    `model`: an instance of the class that was exported; changed in place. Needed unless the file
    rebuilds its model from nothing. `sparse`: whether layers that were exported in compressed rows
    run in them here.
    """
    stored, header = load_tensors(path)
    try:
        state = unpacked(stored, header)
        manifest = json.loads(header[MANIFEST])
        tied: dict[str, str] = manifest["tied"]
        state |= {name: state[first] for name, first in tied.items()}
        modules = [(name, _built(kind, options)) for name, kind, options in manifest["modules"]]
        compressed: list[str] = manifest["csr"]
        kind = manifest["class"]
    except DAMAGE as error:
        raise DataIntegrityError(
            f"{path} is no whole exported model ({error!r}); write it again."
        ) from error
    given = model is not None or any(name == "" for name, _ in modules)
    wanted = f"an instance of {kind}, which {path} needs"
    require(given, "model", "load_exported", wanted, "nothing")
    try:
        for name, module in modules:
            if name:
                assert model is not None
                _place(model, name, module)
            else:
                model = module
        assert model is not None
        model.load_state_dict(state, assign=True)
        for name, first in tied.items():
            other, _, its = first.rpartition(".")
            _place(model, name, getattr(model.get_submodule(other), its))
        model = _compressed(model, compressed if sparse else [])
    except (RuntimeError, AttributeError) as error:
        raise InputError(
            f"The model does not fit {path}: {' '.join(str(error).split())[:400]} "
            f"Give an instance of {kind}."
        ) from error
    return model.eval()


# writing


def _modules(model: nn.Module) -> tuple[list[tuple[str, str, dict[str, Any]]], list[str]]:
    """Name, class and arguments of all modules that can be built anew; the sparse layers."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    sparse: list[str] = []
    for name, module in model.named_modules(remove_duplicate=False):
        if has_hooks(module):
            raise UnsupportedModelError(
                f"`{name or type(module).__name__}` cannot be exported: it has hooks, which no "
                "file holds. Remove them; masks of torch.nn.utils.prune by its `remove`."
            )
        if isinstance(module, SparseLinear):
            sparse.append(name)
        options = _options(module)
        if options is not None:
            kind = "Linear" if isinstance(module, SparseLinear) else type(module).__name__
            found.append((name, kind, options))
    return found, sparse


def _options(module: nn.Module) -> dict[str, Any] | None:
    """Arguments that build the module anew; None if there are none that do."""
    if isinstance(module, SparseLinear):
        sizes = {"in_features": module.in_features, "out_features": module.out_features}
        return sizes | {"bias": module.bias is not None}
    kind = type(module)
    if getattr(nn, kind.__name__, None) is not kind:
        return None
    if kind is nn.Sequential:
        return {} if all(_options(child) is not None for child in module.children()) else None
    if any(True for _ in module.children()) or module._non_persistent_buffers_set:
        return None
    options = _arguments(module)
    try:
        again = _built(kind.__name__, json.loads(json.dumps(options)))
        same = json.dumps(_arguments(again)) == json.dumps(options)
    except (*DAMAGE, NotImplementedError):
        return None
    state, other = module.state_dict(), again.state_dict()
    shapes = {name: tensor.shape for name, tensor in state.items()}
    same &= shapes == {name: tensor.shape for name, tensor in other.items()}
    return options if same else None


def _arguments(module: nn.Module) -> dict[str, Any]:
    """Values of a constructor's parameters, read from the attributes of the same names."""
    options = {}
    for name in inspect.signature(type(module)).parameters:
        if name in ("device", "dtype") or name.startswith("_") or not hasattr(module, name):
            continue
        value = getattr(module, name)
        options[name] = value is not None if name == "bias" else value
    return options


def _state(model: nn.Module, sparse: list[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors to store, each once, and the names that share the memory of an earlier one."""
    state = dict(model.state_dict(keep_vars=True))
    whole: dict[nn.Module, Tensor] = {}
    for name in sparse:
        prefix = f"{name}." if name else ""
        layer: Any = model.get_submodule(name)
        for own in ("crow_indices", "col_indices", "values"):
            del state[prefix + own]
        if layer not in whole:
            whole[layer] = layer.dense_weight()
        state[prefix + "weight"] = whole[layer]
    tied: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.is_meta or tensor.layout != torch.strided:
            raise UnsupportedModelError(
                f"`{name}` cannot be exported: it is no dense tensor with data. Leave it out of "
                "the model's state."
            )
        memory = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel():
            holder = first.setdefault(memory, name)
            if holder != name:
                tied[name] = holder
    return {n: t.detach() for n, t in state.items() if n not in tied}, tied


# reading


def _built(kind: str, options: dict[str, Any]) -> nn.Module:
    """A module of torch.nn without memory: what it holds is assigned later."""
    found = getattr(nn, kind)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"torch.nn.{kind} is no module")
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
    with torch.device("meta"):
        module: nn.Module = found(**given)
    return module


def _place(model: nn.Module, name: str, part: object) -> None:
    owner, _, own = name.rpartition(".")
    setattr(model.get_submodule(owner), own, part)


def _compressed(model: nn.Module, names: list[str]) -> nn.Module:
    """Put compressed rows in place of linear layers; layers of the same numbers become one."""
    made: dict[tuple[int, int], SparseLinear] = {}

    def compressed(_: str, layer: Any) -> SparseLinear:
        numbers = (id(layer.weight), id(layer.bias))
        if numbers not in made:
            made[numbers] = SparseLinear.from_linear(layer)
        return made[numbers]

    return swap_(model, names, compressed)
