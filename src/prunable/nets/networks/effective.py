"""Weights that others make up, as the network uses them: in modules and in files."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from prunable.errors import InputError, UnsupportedModelError
from prunable.nets.networks.examples import evaluating
from prunable.nets.networks.parametrized import make_plain_

Tensors = dict[str, torch.Tensor]
STORED = re.compile(r"(^|\.)parametrizations\.(\w+)\.")


def named_weights(model: nn.Module) -> Tensors:
    """The parameters of a module by name, tied ones once, computed ones as the module uses them.

    A weight under weight normalisation has its plain name and its effective value; it is no
    parameter then, and `bake_` makes it one.
    """
    _check_ready(model)
    effective = dict(_effective(model))
    sources = {source: name for name, (_, names) in effective.items() for source in names}
    found: Tensors = {}
    for name, parameter in model.named_parameters():
        if name not in sources:
            found[name] = parameter
        elif sources[name] not in found:
            found[sources[name]] = effective[sources[name]][0]
    return found


def _check_ready(model: nn.Module) -> None:
    """Refuse layers whose weights are not there yet, and modules that are no code of Python."""
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            f"{type(model).__name__} is compiled by torch.jit: its layers cannot be looked into. "
            "Give the network it was made from, or its state_dict()."
        )
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise InputError(
                f"`{name}` has no shape yet, since its layer is lazy. Run the network once first."
            )


def parametrized_names(model: nn.Module) -> list[str]:
    """Names of the weights that a module computes from others."""
    return [name for name, _ in _effective(model)]


def bake_(model: nn.Module, names: Collection[str]) -> None:
    """Make effective weights plain parameters, in place; the module computes the same as before."""
    with evaluating(model):  # in training, spectral norms change as they are read
        make_plain_(model, names)


def _effective(model: nn.Module) -> Iterator[tuple[str, tuple[torch.Tensor, list[str]]]]:
    """Each computed weight by name, and the names of the parameters that it comes from."""
    for path, module in model.named_modules():
        before = f"{path}." if path else ""
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                sources = [f"{before}{hook.name}{end}" for end in ("_g", "_v")]
                yield before + hook.name, (hook.compute_weight(module).detach(), sources)
            elif isinstance(hook, SpectralNorm):
                weight = hook.compute_weight(module, do_power_iteration=False).detach()
                yield before + hook.name, (weight, [f"{before}{hook.name}_orig"])
        for own in getattr(module, "parametrizations", ()):
            inner = module.parametrizations[own]
            sources = [
                f"{before}parametrizations.{own}.{name}" for name, _ in inner.named_parameters()
            ]
            with evaluating(inner):
                yield before + own, (getattr(module, own).detach(), sources)


@dataclass(frozen=True)
class Merge:
    """How one weight comes from stored tensors."""

    sources: tuple[str, ...]
    compute: Callable[..., torch.Tensor]  # from the sources, in their order

    def of(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weight, in the type that it is stored in."""
        given = [tensors[name].detach() for name in self.sources]
        wide = [x if x.dtype == torch.float64 else x.float() for x in given]
        return self.compute(*wide).to(given[0].dtype)


def merges_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Merge]:
    """Weights that named tensors stand for, where shapes and names say exactly how.

    Weight normalisation (magnitude and direction) and spectral normalisation (weight and singular
    vectors), each in its older and its newer form.
    """
    found: dict[str, Merge] = {}
    for name in shapes:
        if name.endswith("_g") and (v := f"{name[:-2]}_v") in shapes:
            if _normalises(shapes[name], shapes[v]):
                found[name[:-2]] = Merge((v, name), _weight_norm)
        elif name.endswith(".original0") and STORED.search(name):
            v = f"{name[:-1]}1"
            if _normalises(shapes[name], shapes.get(v, ())):
                found[_plain(name)] = Merge((v, name), _weight_norm)
        elif name.endswith("_orig"):
            parts = (name, f"{name[:-5]}_u", f"{name[:-5]}_v")
            if shapes.keys() >= set(parts) and _projects(*(shapes[n] for n in parts)):
                found[name[:-5]] = Merge(parts, _spectral_norm)
        elif name.endswith(".original") and STORED.search(name):
            above = name.removesuffix("original")
            parts = (name, f"{above}0._u", f"{above}0._v")
            others = {n for n in shapes if n.startswith(above)}
            if others == set(parts) and _projects(*(shapes[n] for n in parts)):
                found[_plain(name)] = Merge(parts, _spectral_norm)
    return {name: merge for name, merge in found.items() if name not in shapes}


def unmerged(names: Collection[str], merges: Mapping[str, Merge]) -> dict[str, str]:
    """Parts of parametrizations that cannot be put together, and why."""
    used = {source for merge in merges.values() for source in merge.sources}
    reason = "parametrized in a way that the file does not say: load it with its network"
    return {name: reason for name in names if STORED.search(name) and name not in used}


def merged(tensors: Mapping[str, torch.Tensor], merges: Mapping[str, Merge]) -> Tensors:
    """Named tensors with these weights in place of their parts."""
    made = {merge.sources[0]: name for name, merge in merges.items()}
    gone = {source for merge in merges.values() for source in merge.sources}
    return {
        made.get(name, name): merges[made[name]].of(tensors) if name in made else tensor
        for name, tensor in tensors.items()
        if name in made or name not in gone
    }


def _plain(name: str) -> str:
    found = STORED.search(name)
    assert found is not None
    return f"{name[: found.start()]}{found[1]}{found[2]}"


def _normalises(g: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Whether g may be the magnitudes of v: one an index of one axis, or one for all."""
    if not v or len(g) not in (0, len(v)):
        return False
    return sum(a != 1 for a in g) <= 1 and all(a in (1, b) for a, b in zip(g, v, strict=False))


def _projects(weight: tuple[int, ...], u: tuple[int, ...], v: tuple[int, ...]) -> bool:
    """Whether u and v may be singular vectors of a weight, unfolded along one axis."""
    return len(u) == len(v) == 1 and u[0] in weight and u[0] * v[0] == torch.Size(weight).numel()


def _weight_norm(v: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    axes = [i for i in range(v.ndim) if g.ndim == 0 or g.shape[i] == 1]
    return v * (g / torch.linalg.vector_norm(v, dim=axes, keepdim=True))


def _spectral_norm(weight: torch.Tensor, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    axis = list(weight.shape).index(u.numel())
    matrix = weight.movedim(axis, 0).flatten(1)
    return weight / torch.dot(u, matrix @ v)
