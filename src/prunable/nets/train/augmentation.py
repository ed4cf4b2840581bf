"""Random crops and mirror images of pictures."""

import torch
from torch.nn import functional

from prunable.errors import require
from prunable.numerics.randomness import child_seed

PADDING = 4


def augmented(x: torch.Tensor, *, seed: int, step: int, padding: int = PADDING) -> torch.Tensor:
    """Pad pictures (n, channels, height, width) with zeros, crop each at random, mirror half.

    Crops, to the size before, and mirrors are a function of seed and step, and of nothing else.
    """
    wanted = "pictures of shape (n, channels, height, width)"
    mend = "Choose a network that takes pictures, or do not augment."
    require(x.ndim == 4, "x", "augmented", wanted, f"shape {tuple(x.shape)}", mend)
    n, _, height, width = x.shape
    generator = torch.Generator()
    generator.manual_seed(child_seed(seed, "augment", step))
    top, left = torch.randint(2 * padding + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(n, width)
    columns = left + torch.where(mirrored, columns.flip(1), columns)
    padded = functional.pad(x, (padding,) * 4).permute(0, 2, 3, 1)
    places = (torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :])
    chosen = padded[tuple(place.to(x.device) for place in places)]
    return chosen.permute(0, 3, 1, 2).contiguous()
