"""Masks of torch.nn.utils.prune: read where they are stored."""

from collections.abc import Mapping

import torch

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
