"""Surgery through Torch-Pruning, on graphs that `prunable.nets.shrink.surgery` does not follow."""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from prunable.errors import InputError, UnsupportedModelError
from prunable.extras import extra
from prunable.nets.networks.equality import (
    check_same,
    exact_inputs,
    exact_outputs,
    expected_outputs,
)
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import PruningPlan
from prunable.nets.shrink.modules import CONVOLUTIONS, ShrinkResult, count_parameters, kept_of
from prunable.nets.shrink.surgery.operations import pads_with_zeros

LAYERS = (nn.Linear, *CONVOLUTIONS)
# what acts on channels one by one, and so hands constants on
CHANNELWISE = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.PReLU)
CONSTANT = 1e-12  # spread of a constant channel, relative to its size


@dataclass(frozen=True, eq=False)
class StructuralResult(ShrinkResult):
    """A model whose pruned units Torch-Pruning cut out, checked on the example and another input.

    `removed` and `left` count the units of each planned layer that were cut out, and those that
    stayed as zeros because something else still needs their place.
    """

    removed: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)


def shrink_structurally(model: nn.Module, plan: PruningPlan, example: Any) -> StructuralResult:
    """Copy a model without the units that a plan prunes, of any graph that autograd can trace.

    Raises InputError if Torch-Pruning is not installed, the plan is not of units, or the plan or
    the example does not fit the model; UnsupportedModelError if the graph cannot be followed, or
    cutting a layer changes what the model computes; it names the layer.

    Torch-Pruning finds what is coupled to a unit. A unit goes only if all the layers that write
    to its place have zero weights there. What is then left of it is a constant, of biases and
    normalisation: it is read off at each layer that listens, checked to be one, and added to
    that layer's bias, for Torch-Pruning itself would drop it. After each planned layer the model
    is compared with the masked one.

    `plan`: of units. Units that were zero before count as well. `example` (Tensor or tuple of
    Tensor): input or inputs; the dependencies are found by running them through the model.
    """
    pruning = extra("torch_pruning", "shrink_structurally", "structural")
    other = [layer.name for layer in plan.layers if layer.axis != "unit"]
    if other:
        raise InputError.parameter(
            "plan", "shrink_structurally", "of units", f"{plan.layers[0].axis}s of {other[0]}"
        )
    small = copy.deepcopy(model)
    apply_plan_(small.named_parameters(), plan)
    inputs = exact_inputs(example if isinstance(example, tuple) else (example,))
    checks = [inputs, _varied(inputs)]
    expected = [expected_outputs(small, x) for x in checks]
    if not all(x.isfinite().all() for x in expected[1]):  # outside of the model's domain
        checks, expected = checks[:1], expected[:1]
    mode = small.training
    modes = {name: module.training for name, module in small.named_modules()}
    grads = {name: p.requires_grad for name, p in small.named_parameters()}
    small.eval().requires_grad_(True)  # the graph is that of autograd
    graph = _graph(pruning, small, example)
    removed, left, difference = {}, {}, 0.0
    for layer in plan.layers:
        name = layer.name.rpartition(".")[0]
        units, stay = _removable(graph, name)
        if units:
            _cut(graph, name, units, checks)
            found = [_run(small, x, name) for x in checks]
            difference = max(
                check_same(f, e, small, name, "shrunk")
                for f, e in zip(found, expected, strict=True)
            )
        removed[name], left[name] = len(units), len(stay)
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(grads.get(name, True))
        parameter.grad = None
    for name, module in small.named_modules():
        module.training = modes.get(name, mode)
    return StructuralResult(
        small,
        difference,
        count_parameters(model),
        count_parameters(small),
        kept_of(small),
        removed=removed,
        left=left,
    )


def _varied(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Another input, so that nothing is taken for constant by chance; integers stay."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        3 * torch.randn(x.shape, generator=generator, dtype=x.dtype) if x.is_floating_point() else x
        for x in inputs
    )


def _graph(pruning: Any, model: nn.Module, example: Any) -> Any:
    given = example if isinstance(example, tuple) else (example,)
    try:
        with torch.enable_grad():
            return pruning.DependencyGraph().build_dependency(
                model,
                tuple(x.detach().clone() for x in given),
                verbose=False,
                forward_fn=lambda m, x: m(*x),
            )
    except Exception as error:  # tracing runs the model's own code
        raise UnsupportedModelError(
            f"`{type(model).__name__}` cannot be shrunk: its graph cannot be followed ({error}). "
            "Leave the zeros in place."
        ) from error


def _removable(graph: Any, name: str) -> tuple[list[int], list[int]]:
    """Zero units of a layer: those that can go, and those that must stay."""
    module = graph.model.get_submodule(name)
    if type(module) not in LAYERS or getattr(module, "groups", 1) != 1:
        _refuse(name, f"{type(module).__name__} of this kind is not supported")
    zero = _zero_rows(module).nonzero()[:, 0].tolist()
    go = zero
    if zero and not _can_go(graph, _group(graph, name, zero)):
        go = [unit for unit in zero if _can_go(graph, _group(graph, name, [unit]))]
    while go and not graph.check_pruning_group(_group(graph, name, go)):
        go = go[1:]  # no layer may lose all
    return go, sorted(set(zero) - set(go))


def _group(graph: Any, name: str, units: list[int]) -> Any:
    module = graph.model.get_submodule(name)
    cut = graph.get_pruner_of_module(module).prune_out_channels
    try:
        return graph.get_pruning_group(module, cut, idxs=list(units))
    except Exception as error:
        _refuse(name, f"what is coupled to it cannot be found ({error!r})", error)


def _zero_rows(module: Any) -> Tensor:
    return module.weight.detach().flatten(1).eq(0).all(1).cpu()


def _parts(graph: Any, group: Any) -> Iterator[tuple[Any, list[int], bool]]:
    """Modules with parameters in a group, their indices, and whether outputs are cut."""
    for item in group:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter) or any(True for _ in module.parameters()):
            yield module, list(item.idxs), graph.is_out_channel_pruning_fn(item.dep.handler)


def _tied(model: nn.Module) -> set[int]:
    """Identities of the parameters that more than one module owns."""
    owned = [id(p) for module in model.modules() for p in module.parameters(recurse=False)]
    return {one for one, count in Counter(owned).items() if count > 1}


def _can_go(graph: Any, group: Any) -> bool:
    """Whether all that writes to the places of a group writes nothing, or channel by channel."""
    tied = _tied(graph.model)
    for module, units, out in _parts(graph, group):
        if isinstance(module, CHANNELWISE):
            continue
        if type(module) not in LAYERS or id(module.weight) in tied:
            return False
        depthwise = getattr(module, "groups", 1) != 1
        if depthwise and module.groups != module.weight.shape[0]:
            return False
        if out and not depthwise and not _zero_rows(module)[units].all():
            return False
    return True


def _cut(graph: Any, name: str, units: list[int], checks: list[tuple[Tensor, ...]]) -> None:
    """Move constants into the biases that follow, then cut, in place."""
    model, group = graph.model, _group(graph, name, units)
    names = {module: own for own, module in model.named_modules()}
    listeners = {
        names[module]: places
        for module, places, out in _parts(graph, group)
        if not out and type(module) in LAYERS and getattr(module, "groups", 1) == 1
    }
    shifts = {}
    for own, seen in _seen_inputs(model, list(listeners), checks).items():
        shifts[own] = _shift(model.get_submodule(own), own, seen, listeners[own], name)
    for own, shift in shifts.items():
        module: Any = model.get_submodule(own)
        if not shift.any():
            continue
        old = 0.0 if module.bias is None else module.bias.detach().cpu().double()
        module.bias = nn.Parameter((old + shift).to(module.weight))
    try:
        group.prune(record_history=False)
    except Exception as error:
        _refuse(name, f"Torch-Pruning fails ({error!r})", error)


def _seen_inputs(
    model: nn.Module, names: list[str], checks: list[tuple[Tensor, ...]]
) -> dict[str, list[Tensor]]:
    """What layers are given, in float64, in all calls."""
    exact = copy.deepcopy(model).cpu().double()
    seen: dict[str, list[Tensor]] = {name: [] for name in names}
    for name in names:
        exact.get_submodule(name).register_forward_pre_hook(
            lambda _module, given, found=seen[name]: found.append(given[0].clone())
        )
    with torch.no_grad():
        for inputs in checks:
            exact(*(x.clone() for x in inputs))
    return seen


def _shift(module: Any, own: str, seen: list[Tensor], places: list[int], name: str) -> Tensor:
    """What constant inputs add to a layer's outputs."""
    weight = module.weight.detach().cpu().double()
    dim = -1 if isinstance(module, nn.Linear) else 1
    values = torch.cat([x.movedim(dim, 0)[places].flatten(1) for x in seen], 1)
    if not values.numel():
        return weight.new_zeros(len(weight))
    low, high = values.amin(1), values.amax(1)
    if not (high - low <= CONSTANT * (1 + high.abs())).all():
        _refuse(name, f"its pruned units are no constants at `{own}`, which reads them")
    value = values[:, 0]
    if pads_with_zeros(module) and value.any():
        _refuse(
            name,
            f"its pruned units have biases, which the zero padding of `{own}` cuts off at the "
            "borders; prune the biases too",
        )
    taps = weight[:, places].flatten(2).sum(2) if weight.ndim > 2 else weight[:, places]
    return taps @ value


def _run(model: nn.Module, inputs: tuple[Tensor, ...], name: str) -> list[Tensor]:
    try:
        return exact_outputs(model, inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        _refuse(name, f"the model does not run without its pruned units ({error})", error)


def _refuse(name: str, reason: str, cause: Exception | None = None) -> NoReturn:
    raise UnsupportedModelError(
        f"`{name}` cannot be shrunk: {reason}. Leave the zeros in place, or change the model."
    ) from cause
