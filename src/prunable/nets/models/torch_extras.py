"""Optional packages that import torch: torchvision may have been built for another one."""

from functools import cache
from typing import Any

import torch

from prunable.extras import extra

# The operators whose names torchvision needs when it is imported; its networks use neither.
OPERATORS = ("nms", "qnms")


def torch_extra(package: str, where: str, group: str = "vision") -> Any:
    """The module of torchvision, timm or what imports them; see `prunable.extras.extra`.

    torchvision built for another torch (with CUDA beside one without) stops at its import because
    two operators for boxes are missing. Their names are declared then, which is all that building
    a network takes; calling them is still an error.
    """
    try:
        return extra(package, where, group)
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare()
        return extra(package, where, group)


@cache
def _declare() -> Any:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # the operators live as long as this does
