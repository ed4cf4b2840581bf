"""Heavy-tailed noise composed onto any torch optimizer by a step hook.

After each `optimizer.step()` every noised parameter receives sigma * eta^(1/alpha) * X,
the last term of Eq. (2) of Wan, Zaidi and Simsekli (2023). The draw depends on the run
seed, the parameter's name and the step alone, so a resumed run repeats an uninterrupted
one bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch

from prunable.arguments import as_named, checked
from prunable.errors import InputError, require
from prunable.nets.train.sampling import Kind, add_stable_, sample_stable
from prunable.numerics.randomness import child_seed
from prunable.numerics.stable import check_alpha

__all__ = ["HeavyTailedNoise", "NoiseHandle", "attach_noise", "sample_stable", "validate"]

NoiseType = Literal["type1", "type2", "type3"]
Vectors = Literal["unit", "kernel"]

_KINDS: dict[NoiseType, Kind] = {"type1": "shared", "type2": "iid", "type3": "isotropic"}
_STATE_KEY = "heavy_tailed_noise"


@dataclass(frozen=True)
class HeavyTailedNoise:
    """The law of the injected noise; section 2.1 and Eq. (2) of Wan, Zaidi and Simsekli (2023).

    >>> import prunable
    >>> noise = prunable.HeavyTailedNoise("type1", alpha=2.0, sigma=3.0)
    >>> round(noise.scale(0.01), 12)
    0.3
    """

    kind: NoiseType  # one scalar for all weights of a unit; independent weights; rotation invariant
    # tail index, 0 < alpha <= 2. At alpha = 2 the noise is Gaussian of variance 2 sigma^2 eta
    alpha: float
    sigma: float  # noise level, >= 0
    # the optimizer's learning rate over eta: the width n for mean-field networks, whose learning
    # rate is eta * n, and 1 otherwise
    lr_multiplier: float = 1.0
    # what X is drawn for: all incoming weights of an output unit or filter (axis 0), or each kernel
    # of a convolution (axes 0 and 1), as in the authors' code
    vectors: Vectors = "unit"

    def __post_init__(self) -> None:
        where = "HeavyTailedNoise"
        check_alpha(self.alpha, where)
        for name, holds, constraint in (
            ("kind", self.kind in _KINDS, f"one of {tuple(_KINDS)}"),
            ("sigma", 0 <= self.sigma < math.inf, "finite and not negative"),
            ("lr_multiplier", 0 < self.lr_multiplier < math.inf, "finite and positive"),
            ("vectors", self.vectors in get_args(Vectors), f"one of {get_args(Vectors)}"),
        ):
            require(holds, name, where, constraint, getattr(self, name))

    def scale(self, lr: float) -> float:
        """Scale sigma * eta^(1/alpha) of the noise at learning rate `lr`."""
        eta = lr / self.lr_multiplier
        return self.sigma * eta ** (1 / self.alpha)


@dataclass(frozen=True)
class ParameterReport:
    """Whether one parameter is noised, and why not."""

    name: str
    shape: tuple[int, ...]
    noised: bool
    reason: str = ""

    def __str__(self) -> str:
        verdict = "noised" if self.noised else f"not noised, because {self.reason}"
        return f"{self.name} {list(self.shape)}: {verdict}"


def validate(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[ParameterReport, ...]:
    """Say for every parameter of a model whether `attach_noise` would noise it, and why not.

    InputError if the optimizer holds a parameter that is not the model's, as happens when it was
    built before the model was moved or rebuilt.
    """
    return _reports(dict(model.named_parameters()), optimizer, only=None)


@checked("attach_noise")
def attach_noise(
    optimizer: torch.optim.Optimizer,
    named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
    noise: HeavyTailedNoise,
    *,
    seed: int,
    only: Collection[str] | None = None,
    device: torch.device | str | None = None,
) -> NoiseHandle:
    """Add heavy-tailed noise after every step of an optimizer, Eq. (2) of Wan et al. (2023).

    The learning rate is read from the parameter group at each step, so schedulers and groups work;
    the names of parameters enter the seeds. The handle counts steps and can be removed. The count
    travels in `optimizer.state_dict()` and comes back with `optimizer.load_state_dict()`.

    InputError if nothing is left to noise, a name is unknown, the optimizer holds other
    parameters, or noise is attached to it already.

    >>> import torch, prunable
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> noise = prunable.HeavyTailedNoise("type1", alpha=1.8, sigma=0.1)
    >>> handle = prunable.attach_noise(optimizer, net.named_parameters(), noise, seed=0)
    >>> [report.name for report in handle.reports if report.noised]
    ['0.weight']

    Parameters
    ----------
    only : Names to noise in place of the default choice: matrices and convolutions, without the
        output layer, the first convolution and everything of fewer than two axes (theory of the
        paper and its authors' code).
    device : Where the draws are made; None is where each parameter lies. Generators of different
        devices draw different numbers from one seed: drawn on the CPU, the noise does not depend on
        where the model is trained.
    """
    child_seed(seed)  # refuses a bad seed here rather than at the first step
    named = as_named(named_parameters, "attach_noise")
    if _STATE_KEY in optimizer.state_dict():
        raise InputError(
            "`optimizer` of `attach_noise` has noise attached already; "
            "call `.remove()` on its handle first."
        )
    reports = _reports(named, optimizer, only)
    if not any(report.noised for report in reports):
        listing = "; ".join(map(str, reports))
        raise InputError(f"`attach_noise` finds no parameter to noise: {listing}. Name it in only.")
    return NoiseHandle(optimizer, named, noise, seed, reports, device)


class NoiseHandle:
    """Live connection between an optimizer and its noise.

    `reports` say what is noised and what is not; `step` counts the optimizer steps noised so far.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        named: dict[str, torch.nn.Parameter],
        noise: HeavyTailedNoise,
        seed: int,
        reports: tuple[ParameterReport, ...],
        device: torch.device | str | None = None,
    ) -> None:
        self._device = None if device is None else torch.device(device)
        self.noise, self.seed, self.reports, self.step = noise, seed, reports, 0
        self._targets = {id(named[report.name]): report.name for report in reports if report.noised}
        self._hooks = (
            optimizer.register_step_post_hook(self._add_noise),
            optimizer.register_state_dict_post_hook(self._save),
            optimizer.register_load_state_dict_pre_hook(self._load),
        )

    def remove(self) -> None:
        """Detach the noise; the optimizer behaves as before `attach_noise`."""
        for hook in self._hooks:
            hook.remove()

    def state_dict(self) -> dict[str, Any]:
        """Law, seed and step count, as stored in the optimizer's state."""
        return {**asdict(self.noise), "seed": self.seed, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the step count of a stored state of the same law and seed."""
        own = self.state_dict()
        differing = sorted(k for k in own if k != "step" and state.get(k) != own[k])
        if differing:
            pairs = ", ".join(f"{k}: stored {state.get(k)!r}, here {own[k]!r}" for k in differing)
            raise InputError(
                f"the optimizer state was saved with other noise ({pairs}). "
                "Attach the noise it was trained with before loading."
            )
        self.step = int(state["step"])

    def _add_noise(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        for group in optimizer.param_groups:
            scale = self.noise.scale(float(group["lr"]))
            for parameter in group["params"]:
                name = self._targets.get(id(parameter))
                if name is None:
                    continue
                tensor = parameter.detach()
                if self.noise.vectors == "kernel" and tensor.ndim > 2:
                    tensor = tensor.flatten(0, 1)
                elsewhere = self._device is not None and self._device.type != tensor.device.type
                target = torch.zeros_like(tensor, device=self._device) if elsewhere else tensor
                add_stable_(
                    target,
                    self.noise.alpha,
                    scale=scale,
                    kind=_KINDS[self.noise.kind],
                    seed=child_seed(self.seed, "noise", name, self.step),
                )
                if elsewhere:
                    tensor.add_(target.to(tensor.device))
        self.step += 1

    def _save(self, _: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        state[_STATE_KEY] = self.state_dict()

    def _load(self, _: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        if _STATE_KEY not in state:
            raise InputError(
                "the optimizer state was saved without heavy-tailed noise. "
                "Load it before `attach_noise`, or remove the noise first."
            )
        self.load_state_dict(state.pop(_STATE_KEY))


def _reports(
    named: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    only: Collection[str] | None,
) -> tuple[ParameterReport, ...]:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    strangers = len(held - {id(p) for p in named.values()})
    if strangers:
        raise InputError(
            f"`optimizer` holds {strangers} parameter(s) that are not the model's. "
            "Build the optimizer from the model's own parameters, after moving the model."
        )
    unknown = sorted(set(only or ()) - named.keys())
    wanted, mend = f"names among {sorted(named)}", "Correct the names."
    require(not unknown, "only", "attach_noise", wanted, unknown, mend)
    matrices = [name for name, p in named.items() if p.ndim >= 2]
    convolutions = [name for name in matrices if named[name].ndim > 2]
    output = matrices[-1] if len(matrices) > 1 else None
    first_convolution = convolutions[0] if len(convolutions) > 1 else None

    def reason(name: str, parameter: torch.nn.Parameter) -> str:
        if not parameter.requires_grad:
            return "it is frozen"
        if id(parameter) not in held:
            return "the optimizer does not hold it"
        if not parameter.is_floating_point():
            return f"its dtype {parameter.dtype} is not a floating-point one"
        if only is not None:
            return "" if name in only else "`only` does not name it"
        if parameter.ndim < 2:
            return "it is a bias or a per-unit scale"
        if name == output:
            return "it is the output layer"
        if name == first_convolution:
            return "it is the first convolution"
        return ""

    return tuple(
        ParameterReport(name, tuple(p.shape), not why, why)
        for name, p in named.items()
        for why in [reason(name, p)]
    )
