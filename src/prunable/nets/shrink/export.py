"""Exported models: one safetensors file that rebuilds its model, without this package."""

import inspect
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError, require
from prunable.files import Document, damage_named, parsed
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.networks.parametrized import copied, is_made_up, make_plain_
from prunable.nets.networks.ties import ties_of
from prunable.nets.prune.sparse_file import VALUES, packed, unpacked
from prunable.nets.shrink.modules import has_hooks, swap_
from prunable.nets.shrink.onnx_export import OnnxResult, save_onnx
from prunable.nets.shrink.sparse_layers import SparseLinear
from prunable.results import Result

__all__ = ["ExportResult", "OnnxResult", "load_exported", "save_exported", "save_onnx"]

MANIFEST = "manifest"
# What a model that was cut carries: by module, the plain attributes that cutting changed.
ATTRIBUTES = "_prunable_attributes"
MOST_LAYERS = 1000  # in one recurrent layer or transformer
WHOLE = "whole numbers that the model's modules have"
# Arguments of recurrent layers, whose constructors do not name them all.
RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout")

Attributes = Mapping[str, Mapping[str, int | Sequence[int]]]


@dataclass(frozen=True)
class ExportResult(Result):
    """What an exported file holds."""

    path: Path
    bytes: int
    rebuilt_from_nothing: bool  # whether a loader needs no instance of the model's class
    n_bitmask: int  # tensors stored as a bitmask and values
    tied: Mapping[str, str]  # names that share the memory of another, by name
    sparse: tuple[str, ...]  # layers in compressed rows
    effective: tuple[str, ...] = ()  # weights stored in place of the parameters that make them up


def save_exported(
    path: Path | str,
    model: nn.Module,
    *,
    metadata: Mapping[str, str] | None = None,
    attributes: Attributes | None = None,
) -> ExportResult:
    """Write a model and what is needed to rebuild it to one file, atomically.

    Raises InputError if the file cannot be written; an older file then stays as it was;
    UnsupportedModelError if the model has hooks, masks of torch.nn.utils.prune, or state that is no
    tensor with data.

    The file is that of `prunable.nets.prune.sparse_file`, whose header has one more entry,
    `manifest`, which docs/exported-models.md describes beside a loader.

    `model`: left untouched; stored in its own precision. Nested `nn.Sequential` of torch's layers
    are rebuilt from nothing; other classes need an instance, whose layers are then replaced.
    Parametrized weights are stored as their effective weight. `metadata`: further text for the
    header. `attributes`: by module, the whole numbers that cutting changed, such as `num_heads`, to
    be set where the model is rebuilt; a model that `shrink` made carries its own.
    """
    path = Path(path)
    named = path.suffix in ("", ".safetensors")
    require(named, "path", "save", "a file ending in .safetensors", str(path))
    carried: Attributes | None = getattr(model, ATTRIBUTES, None)
    if carried is not None or attributes is not None:
        attributes = _checked(model, _by_module(carried) | _by_module(attributes))
    effective: tuple[str, ...] = ()
    if any(is_made_up(module) for module in model.modules()):
        model = copied(model)
        effective = make_plain_(model)
    modules, sparse = _modules(model)
    state, tied = _state(model, sparse)
    stored, header = packed(state)
    kind = type(model)
    manifest: dict[str, Any] = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "modules": modules,
        "tied": tied,
        "csr": sparse,
    }
    if effective:
        manifest["effective"] = effective
    if attributes is not None:
        manifest["attributes"] = attributes
        manifest["parameters"] = _of_no_layer(model, {name for name, _, _ in modules})
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
    size = path.stat().st_size
    return ExportResult(path, size, from_nothing, n_bitmask, tied, tuple(sparse), effective)


def load_exported(
    path: Path | str, model: nn.Module | None = None, *, sparse: bool = True
) -> nn.Module:
    """Rebuild a model from a file of `save_exported`.

    The model is in evaluation mode, on the CPU, in the precision of the file.

    Raises DataIntegrityError if the file is damaged or no exported model; InputError if a model is
    needed and was not given, or does not fit.

    `model`: an instance of the class that was exported; changed in place. Needed unless the file
    rebuilds its model from nothing. `sparse`: whether layers that were exported in compressed rows
    run in them here.
    """
    wanted = "the network before torch.compile"
    require(not hasattr(model, "_orig_mod"), "model", "load", wanted, type(model).__name__)
    stored, header = load_tensors(path)
    with damage_named(path, "it is no whole exported model: write it again"):
        state = unpacked(stored, header)
        plan = parsed(_Manifest, header[MANIFEST], finite=False)
        _tie(plan, state)
        modules = [(name, _built(kind, its, len(stored))) for name, kind, its in plan.modules]
    given = isinstance(model, nn.Module) or (
        model is None and any(name == "" for name, _ in modules)
    )
    wanted = f"an instance of {plan.kind}, which {path} needs"
    mend = "Give it as second argument, or as `net` what builds it."
    require(given, "model", "load", wanted, "nothing" if model is None else model, mend)
    try:
        if model is not None and plan.effective:
            make_plain_(model)
        for name, module in modules:
            if name:
                assert model is not None
                _place(model, name, module)
            else:
                model = module
        assert model is not None
        _fit_(model, plan, state)
        versions = OrderedDict(state)
        versions._metadata = model.state_dict()._metadata  # type: ignore[attr-defined]
        model.load_state_dict(versions, assign=True)
        for name, first in plan.tied.items():
            other, _, its = first.rpartition(".")
            _place(model, name, getattr(model.get_submodule(other), its))
        model = _compressed(model, plan.csr if sparse else [])
    except (RuntimeError, AttributeError) as error:
        raise InputError(
            f"The model does not fit {path}: {' '.join(str(error).split())[:400]} "
            f"Give an instance of {plan.kind}."
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
    except Exception:  # whatever a constructor thinks of them
        return None
    state, other = module.state_dict(), again.state_dict()
    shapes = {name: tensor.shape for name, tensor in state.items()}
    same &= shapes == {name: tensor.shape for name, tensor in other.items()}
    return options if same else None


def _arguments(module: nn.Module) -> dict[str, Any]:
    """Values of a constructor's parameters, read from the attributes of the same names."""
    options = {}
    names: tuple[str, ...] = tuple(inspect.signature(type(module)).parameters)
    if isinstance(module, nn.RNNBase):
        own = ("nonlinearity",) if isinstance(module, nn.RNN) else ()
        own = ("proj_size",) if isinstance(module, nn.LSTM) else own
        names = (*RECURRENT, "bidirectional", *own)
    for name in names:
        if name in ("device", "dtype") or name.startswith("_") or not hasattr(module, name):
            continue
        value = getattr(module, name)
        whether = name == "bias" and not isinstance(value, bool)
        options[name] = value is not None if whether else value
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
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.is_meta or tensor.layout != torch.strided:
            raise UnsupportedModelError(
                f"`{name}` cannot be exported: it is no dense tensor with data. Leave it out of "
                "the model's state."
            )
    tied = ties_of(state)
    return {n: t.detach() for n, t in state.items() if n not in tied}, tied


def _of_no_layer(model: nn.Module, layers: set[str]) -> list[str]:
    """Names of the state that no rebuilt module holds."""
    return [name for name in model.state_dict() if name.rpartition(".")[0] not in layers]


def _by_module(attributes: Any) -> dict[str, Mapping[str, Any]]:
    """Attributes given or carried, if any; InputError unless they are mappings by module."""
    found = {} if attributes is None else attributes
    whole = isinstance(found, Mapping) and all(isinstance(v, Mapping) for v in found.values())
    require(whole, "attributes", "save_exported", "mappings by module", repr(attributes)[:80])
    return dict(found)


def _checked(model: nn.Module, attributes: Attributes) -> dict[str, dict[str, Any]]:
    """Attributes to store, as plain values; InputError unless the model has them as they are."""
    modules = dict(model.named_modules(remove_duplicate=False))
    plain = {
        name: {own: list(v) if isinstance(v, tuple) else v for own, v in values.items()}
        for name, values in attributes.items()
    }
    for name, values in plain.items():
        for own, value in values.items():
            shown = f"{name}.{own} = {value!r}"[:80]
            require(_is_attribute(own, value), "attributes", "save_exported", WHOLE, shown)
            has = getattr(modules.get(name), own, None)
            has = list(has) if isinstance(has, tuple) else has
            require(has == value, "attributes", "save_exported", WHOLE, shown)
    return plain


# reading


class _Manifest(Document):
    kind: str = Field(alias="class")
    modules: tuple[tuple[str, str, dict[str, Any]], ...]
    tied: dict[str, str]
    csr: tuple[str, ...]
    effective: tuple[str, ...] = ()
    # of no rebuilt layer, which may have other shapes than in an instance
    parameters: tuple[str, ...] = ()
    attributes: dict[str, dict[str, Any]] = Field(default_factory=dict)


def _tie(found: _Manifest, state: dict[str, Tensor]) -> None:
    """Check what a file asks for, and tie its state; any error if they do not fit."""
    for name, values in found.attributes.items():
        for own, value in values.items():
            if not _is_attribute(own, value):
                raise ValueError(f"{name!r} cannot have the attribute {own!r} = {value!r}")
    state |= {name: state[first] for name, first in found.tied.items()}
    missing = set(found.parameters) - state.keys()
    if missing:
        raise KeyError(min(missing))


def _is_attribute(name: object, value: object) -> bool:
    """Whether this may be set on a module: a public name, and one or several whole numbers."""
    public = isinstance(name, str) and name.isidentifier() and not name.startswith("_")
    values = value if isinstance(value, list | tuple) else [value]
    return public and all(type(part) is int for part in values)


def _fit_(model: nn.Module, plan: _Manifest, state: Mapping[str, Tensor]) -> None:
    """Give a model the attributes, and the shapes of parameters, that cutting left, in place.

    Raises AttributeError where the model has nothing of the kind to change.
    """
    for name, values in plan.attributes.items():
        module = model.get_submodule(name)
        for own, value in values.items():
            old = getattr(module, own, None)
            is_list = isinstance(value, list)
            if not (isinstance(old, list | tuple) if is_list else type(old) is int):
                raise AttributeError(f"`{name}` has no number `{own}` to set.")
            setattr(module, own, type(old)(value) if isinstance(old, list | tuple) else value)
    for name in plan.parameters:
        owner, _, own = name.rpartition(".")
        module = model.get_submodule(owner)
        held = module._parameters.get(own, module._buffers.get(own))
        if held is None or held.ndim != state[name].ndim:
            raise AttributeError(f"it has no tensor `{name}` of {state[name].ndim} dimensions.")
        if held.shape == state[name].shape:
            continue
        empty = torch.empty_like(state[name], device="meta")
        is_parameter = own in module._parameters
        _place(model, name, nn.Parameter(empty, held.requires_grad) if is_parameter else empty)
    if plan.attributes or plan.parameters:
        setattr(model, ATTRIBUTES, plan.attributes)


def _built(kind: str, options: dict[str, Any], most: int = MOST_LAYERS) -> nn.Module:
    """A module of torch.nn without memory: what it holds is assigned later; of `most` layers."""
    found = getattr(nn, kind)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"torch.nn.{kind} is no module")
    # each of them is built, and has tensors of its own
    many = {n: v for n, v in options.items() if n.endswith("_layers") and not v <= most}
    if many:
        raise ValueError(f"torch.nn.{kind} of {many}, more than the file holds")
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
    with torch.device("meta"):
        module: nn.Module = found(**given)
    return module


def _place(model: nn.Module, name: str, part: object) -> None:
    owner, _, own = name.rpartition(".")
    setattr(model.get_submodule(owner), own, part)


def _compressed(model: nn.Module, names: Sequence[str]) -> nn.Module:
    """Put compressed rows in place of linear layers; layers of the same numbers become one."""
    made: dict[tuple[int, int], SparseLinear] = {}

    def compressed(_: str, layer: Any) -> SparseLinear:
        numbers = (id(layer.weight), id(layer.bias))
        if numbers not in made:
            made[numbers] = SparseLinear.from_linear(layer)
        return made[numbers]

    return swap_(model, names, compressed)
