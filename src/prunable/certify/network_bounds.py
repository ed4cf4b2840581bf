"""Every bound of a torch network, from its layers and its outputs on the training set."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from prunable.certify.bounds.arora2018 import measure_stability
from prunable.certify.bounds.base import BoundResult
from prunable.certify.bounds.facts import FloatArray, NetworkFacts, check_margins
from prunable.certify.bounds.matrix_facts import check_matrix, fold_biases, network_facts
from prunable.certify.bounds.of_network import all_bounds
from prunable.certify.bounds.random_pruning import Draws, Strength, choose_strength
from prunable.certify.bounds.sketched_network import Constants
from prunable.certify.bounds.stable_weights import StableLaws
from prunable.certify.layer_maps import (
    LayerMap,
    LinearMap,
    chain_of,
    facts_of,
    layers_of,
    log_path_norms_of,
)
from prunable.errors import InputError, UnsupportedModelError, require
from prunable.nets.networks.views import to_numpy
from prunable.nets.train.training import EVALUATED_AT_ONCE, predict
from prunable.numerics.randomness import rng
from prunable.numerics.tails.base import Status
from prunable.numerics.tails.ecf import fit_stable

# Jacobians between all pairs of layers: seconds for so many examples at width 1,000.
STABILITY_EXAMPLES = 32


def bounds_of_model(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    pruned: nn.Module | None = None,
    *,
    delta: float = 0.05,
    gamma: float | None = None,
    d: float | None = None,
    fold: bool = False,
    input_bound: float | None = None,
    stability_examples: int = STABILITY_EXAMPLES,
    constants: Constants | None = None,
    tickets: bool = False,
) -> tuple[BoundResult, ...]:
    """Evaluate every bound of a chain of linear layers and convolutions; see `chain_of`.

    Matrices of other networks are bounded by `all_bounds` of their `network_facts`, which says what
    the other parameters are. Raises UnsupportedModelError if the model is no such chain.

    Parameters
    ----------
    x, y : (n, ...) and (n,) tensors. The training set.
    pruned : The model after pruning, of the same form.
    fold : Whether biases become weights of a constant input; not those of convolutions.
    input_bound : Norm that no possible input exceeds.
    stability_examples : Examples on which noise stability is measured; 0 leaves that bound out, as
        do convolutions and biases that are not folded.
    """
    facts = facts_of_model(model, x, y, pruned, fold=fold, input_bound=input_bound)
    modules = chain_of(model)
    layers = list(layers_of(modules).values())
    weights = [_array(layer.weight) for layer in layers]
    stability = None
    dense = all(isinstance(layer, nn.Linear) for layer in layers)
    relus = sum(isinstance(module, nn.ReLU) for module in modules)
    if dense and relus == len(layers) - 1 and stability_examples > 0 and not facts.biases:
        matrices, inputs = weights, _array(x[:stability_examples].flatten(1))
        if any(layer.bias is not None for layer in layers):
            inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
            matrices = fold_biases(matrices, [_bias(layer) for layer in layers])
        stability = measure_stability(matrices, inputs)
    return all_bounds(
        facts,
        delta=delta,
        gamma=gamma,
        d=d,
        pruned_margins=None if pruned is None else margins_of(pruned, x, y),
        stability=stability,
        constants=constants,
        laws=_stable_laws(weights),
        tickets=tickets,
    )


def facts_of_model(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    pruned: nn.Module | None = None,
    *,
    fold: bool = False,
    input_bound: float | None = None,
) -> NetworkFacts:
    """Measure what the bounds ask about a model; parameters and errors as in `bounds_of_model`."""
    modules = chain_of(model)
    layers = layers_of(modules)
    places = list(layers)
    names = {i: f"layer {k}" for k, i in enumerate(places, 1)}
    for i, layer in layers.items():  # before their outputs are NaN too
        check_matrix(names[i], _array(layer.weight.flatten(1)))
    margins = margins_of(model, x, y)
    gains, output_norm, shapes = _walk(modules, x, fold)
    maps = {i: LayerMap(names[i], layer, shapes[i]) for i, layer in layers.items()}
    others = maps if pruned is None else _as(maps, chain_of(pruned), len(modules))
    flat = _array(x.flatten(1))
    biases = [_bias(layers[i]) for i in places]
    if all(isinstance(layer, nn.Linear) for layer in layers.values()):
        facts = network_facts(
            [maps[i].matrix for i in places],
            margins,
            flat,
            pruned=[others[i].matrix for i in places],
            names=[names[i] for i in places],
            output_norm=output_norm,
            input_bound=input_bound,
            biases=biases,
            pruned_biases=[_bias(others[i].module) for i in places],
            fold=fold,
        )
    elif fold and any(b is not None for b in biases):
        wanted = "False for convolutions with biases"
        raise InputError.parameter("fold", "facts_of_model", wanted, True)
    else:
        norms = np.linalg.norm(flat, axis=1)
        path_l1, path_l2 = log_path_norms_of(modules, maps, tuple(x.shape[1:]))
        facts = NetworkFacts(
            layers=tuple(facts_of(maps[i], others[i]) for i in places),
            margins=margins,
            input_norm=float(norms.max()),
            input_rms=float(np.sqrt(np.mean(norms**2))),
            input_max=float(np.abs(flat).max()),
            output_norm=output_norm,
            path_l1=path_l1,
            path_l2_squared=path_l2,
            input_bound=input_bound,
            biases=sum(len(b) for b in biases if b is not None),
        )
    measured = [
        replace(layer, contraction=min(1.0, gain / layer.spectral) if layer.spectral > 0 else None)
        for layer, gain in zip(facts.layers, gains, strict=True)
    ]
    return replace(facts, layers=tuple(measured))


def margins_of(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> FloatArray:
    """Logit of the true class minus the largest other, (n,), of inputs (n, ...)."""
    wanted, sizes = "a non-empty training set as long as `y`", f"{len(x)} and {len(y)}"
    require(0 < len(x) == len(y), "x", "margins_of", wanted, sizes)
    logits = predict(model, x).double()
    chosen = y.view(-1, 1)
    true = logits.gather(1, chosen).ravel()
    others = logits.scatter(1, chosen, -math.inf).max(dim=1).values
    return check_margins((true - others).cpu().numpy(), "margins_of")


def choose_pruning(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, *, seed: int
) -> tuple[Strength, tuple[FloatArray, ...]]:
    """Choose the strength of randomized magnitude pruning by the smallest training margin.

    Gives the strength, and the layers of a chain of dense layers pruned at it. The masks of a seed
    grow with the strength. Weights at (i, i) stay, as in the paper; not so in the released code.
    The rest is as in `choose_strength`.
    """
    facts = facts_of_model(model, x, y)
    if not all(layer.dense for layer in facts.layers):
        raise UnsupportedModelError("The choice of `d` knows dense layers, not convolutions.")
    matrices = [_array(layer.weight) for layer in layers_of(chain_of(model)).values()]
    draws = Draws.of(matrices, rng(seed, "masks"))
    strength = choose_strength(facts, draws)
    return strength, draws.pruned(strength.d)


@torch.no_grad()
def with_layers(model: nn.Module, matrices: Sequence[FloatArray]) -> nn.Module:
    """Copy a chain with other weights in its dense layers."""
    copied = copy.deepcopy(model)
    for layer, matrix in zip(layers_of(chain_of(copied)).values(), matrices, strict=True):
        layer.weight.copy_(torch.from_numpy(matrix))
    return copied


@torch.no_grad()
def _walk(
    modules: list[nn.Module], x: torch.Tensor, fold: bool
) -> tuple[list[float], float, dict[int, tuple[int, ...]]]:
    """Largest ||A x|| / ||x|| of every layer, largest norm of the outputs, shapes of inputs.

    With folded biases A and x are those of `fold_biases`.
    """
    gains: dict[int, float] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    output_norm, last = 0.0, max(layers_of(modules))
    for batch in x.split(EVALUATED_AT_ONCE):
        state = batch
        for i, module in enumerate(modules):
            if isinstance(module, LinearMap):
                shapes[i] = tuple(state.shape[1:])
                out = LayerMap("", module, shapes[i]).apply(state)
                bias, plain = module.bias, out
                if bias is not None:
                    out = out + (bias if isinstance(module, nn.Linear) else bias[:, None, None])
                before = state.flatten(1).norm(dim=1)
                after = (out if fold else plain).flatten(1).norm(dim=1)
                if fold:
                    before = torch.hypot(before, torch.ones(()))
                    after = torch.hypot(after, torch.ones(())) if i < last else after
                ratio = torch.where(before > 0, after / before, torch.zeros_like(after))
                gains[i] = max(gains.get(i, 0.0), float(ratio.max()))
                state = out
            elif not isinstance(module, nn.Dropout):
                state = module(state)
        output_norm = max(output_norm, float(state.flatten(1).norm(dim=1).max()))
    return [gains[i] for i in sorted(gains)], output_norm, shapes


def _as(maps: dict[int, LayerMap], modules: list[nn.Module], length: int) -> dict[int, LayerMap]:
    """See the layers of the pruned model at the places of the dense one's."""
    layers = layers_of(modules)
    same = len(modules) == length and layers.keys() == maps.keys()
    same = same and all(
        isinstance(layers[i], type(m.module)) and layers[i].weight.shape == m.module.weight.shape
        for i, m in maps.items()
    )
    wanted, found = "of the model's form", "other layers or shapes"
    mend = "Pruned weights must be zeros in place: bounds compare matrices of one shape."
    require(same, "pruned", "facts_of_model", wanted, found, mend)
    return {i: LayerMap(m.name, layers[i], m.shape) for i, m in maps.items()}


def _stable_laws(weights: Sequence[FloatArray]) -> StableLaws | None:
    """Tail indices and scales of the layers, if all lie inside (1, 2) as the corollaries ask."""
    fits = [fit_stable(weight.ravel()) for weight in weights]
    if all(fit.estimate.status == Status.OK and 1 < fit.alpha < 2 for fit in fits):
        return StableLaws(tuple(fit.alpha for fit in fits), tuple(fit.scale for fit in fits))
    return None


def _bias(layer: LinearMap) -> FloatArray | None:
    return None if layer.bias is None else _array(layer.bias)


def _array(tensor: torch.Tensor) -> FloatArray:
    return np.asarray(to_numpy(tensor), dtype=np.float64)
