"""What calibrated pruning does beside choosing weights: biases and statistics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunable.errors import InputError
from prunable.nets.calibration.calibrating import layers_of


@dataclass(frozen=True)
class Finishing:
    """Which steps are taken beside."""

    biases: bool = False  # the mean of what a layer's outputs lose goes into its bias
    recalibrate: bool = False  # BatchNorm statistics are estimated again

    @classmethod
    def of(
        cls,
        model: Any,
        names: Collection[str],
        *,
        calibrated: bool,
        usual: bool,
        bias_correction: bool | None,
        recalibrate: bool | None,
    ) -> Finishing:
        """The steps asked for; None stands for yes where that is usual and has an effect.

        Raises InputError for a step that has no effect on this model, or no inputs.
        """
        module = isinstance(model, nn.Module)
        reasons = {
            "bias_correction": None
            if module and biases_of(model, names)
            else "no layer that is pruned has a bias",
            "recalibrate": None
            if module and has_statistics(model)
            else "no BatchNorm layer keeps statistics",
        }
        taken = []
        for name, asked in {"bias_correction": bias_correction, "recalibrate": recalibrate}.items():
            if asked and not calibrated:
                raise InputError(f"`{name}` of `prune` needs inputs: give `calibration`.")
            if asked and reasons[name] is not None:
                raise InputError(
                    f"`{name}` of `prune` has no effect on `{type(model).__name__}`: "
                    f"{reasons[name]}. Leave it out."
                )
            taken.append(usual and reasons[name] is None if asked is None else asked)
        return cls(*taken)


def has_statistics(model: nn.Module) -> bool:
    """Whether there is a BatchNorm layer that keeps statistics."""
    return any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in model.modules())


def biases_of(model: nn.Module, names: Collection[str]) -> dict[str, str]:
    """The bias of each layer of these weights that multiplies and has one, by names."""
    parameters = {id(p): name for name, p in model.named_parameters()}
    found = {}
    for module, name in layers_of(model, names).items():
        bias = getattr(module, "bias", None)
        if bias is not None and name not in found:
            found[name] = parameters[id(bias)]
    return found
