"""Running mean of the iterates of training."""

from collections.abc import Iterable, Mapping

import torch

from prunable.errors import InputError


class IterateAverage:
    """Arithmetic mean of parameters over the steps at which `update` was called.

    The mean is kept in float64, one tensor per parameter, and `count` says of how many iterates:
    memory does not grow with them.

    Barsbey et al. (2021), section 5, average the last iterates; start calling `update`
    where the average shall start.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, torch.Tensor]]) -> None:
        self._live = dict(named_parameters)
        self._mean = {
            name: torch.zeros_like(p, dtype=torch.float64).detach()
            for name, p in self._live.items()
        }
        self.count = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take the current parameters into the mean."""
        self.count += 1
        for name, parameter in self._live.items():
            self._mean[name].lerp_(parameter.double(), 1 / self.count)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The mean, float64, by parameter name."""
        if self.count == 0:
            raise InputError("no iterate was averaged yet. Call `update` during training first.")
        return dict(self._mean)

    @torch.no_grad()
    def copy_to(self, model: torch.nn.Module) -> None:
        """Overwrite a model's parameters by the mean, in their own dtype."""
        means = self.tensors()
        targets = dict(model.named_parameters())
        if targets.keys() != means.keys():
            differing = sorted(targets.keys() ^ means.keys())
            raise InputError.parameter(
                "model", "IterateAverage.copy_to", "one of the averaged architecture", differing
            )
        for name, parameter in targets.items():
            parameter.copy_(means[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Means by parameter name, and the count under the key `count`."""
        return {"count": torch.tensor(self.count), **self._mean}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over a stored mean and count."""
        for name, mean in self._mean.items():
            if name not in state or state[name].shape != mean.shape:
                found = tuple(state[name].shape) if name in state else "nothing"
                raise InputError.parameter(
                    name, "IterateAverage.load_state_dict", f"of shape {tuple(mean.shape)}", found
                )
        for name, mean in self._mean.items():
            mean.copy_(state[name])
        self.count = int(state["count"])
