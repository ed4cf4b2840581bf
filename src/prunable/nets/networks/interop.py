"""Masks of torch.nn.utils.prune: read where they are stored, and handed over."""

from collections.abc import Mapping

import torch
from torch.nn.utils import prune as torch_prune

from prunable.errors import InputError
from prunable.nets.prune.masks import masks_of, matrix_shape
from prunable.nets.prune.plan import PruningPlan

ORIGINAL, MASK = "_orig", "_mask"


def masked_names(names: Mapping[str, object] | set[str]) -> dict[str, tuple[str, str]]:
    """Names of original and mask of the parameters that torch.nn.utils.prune has split in two."""
    return {
        name.removesuffix(ORIGINAL): (name, name.removesuffix(ORIGINAL) + MASK)
        for name in names
        if name.endswith(ORIGINAL) and name.removesuffix(ORIGINAL) + MASK in names
    }


def merge_masks(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Put originals and masks of torch.nn.utils.prune together, under the parameter's own name."""
    split = masked_names(set(state))
    masks = {mask for _, mask in split.values()}
    by_original = {original: name for name, (original, _) in split.items()}
    merged = {}
    for name, value in state.items():
        if name in masks:
            continue
        target = by_original.get(name)
        if target is None:
            merged[name] = value
        else:
            pruned = state[split[target][1]].to(value.device) == 0
            merged[target] = value.detach().masked_fill(pruned, 0)
    return merged


def hand_over_(model: torch.nn.Module, plan: PruningPlan) -> None:
    """Prune a model through torch.nn.utils.prune, which keeps the weights beside their masks.

    Each planned parameter becomes NAME_orig, with a buffer NAME_mask. Raises InputError if a
    planned parameter is missing or has another shape, or the plan is of singular values or medians.
    Then nothing is changed.
    """
    parameters = dict(model.named_parameters())
    for layer in plan.layers:
        if layer.axis == "singular_value":
            raise InputError(f"{layer.name}: singular values have no mask over weights.")
        if layer.fill is not None:
            raise InputError(f"{layer.name}: masks set weights to 0, the plan to medians.")
        found = parameters.get(layer.name)
        if found is None or matrix_shape(layer, tuple(found.shape)) != layer.shape:
            raise InputError.parameter(
                layer.name,
                "hand_over_",
                f"a parameter of the model that fits {layer.shape}",
                "none" if found is None else f"shape {tuple(found.shape)}",
            )
    for name, mask in masks_of(plan, parameters.items()).items():
        owner, _, own = name.rpartition(".")
        torch_prune.custom_from_mask(model.get_submodule(owner), own, mask)
