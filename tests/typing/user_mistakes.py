"""Mistakes in a user's code that mypy finds: one that it missed would be an unused ignore."""

from pathlib import Path

import torch
from torch import nn

import prunable
from prunable.budgets import Energy, Error, Keep
from prunable.strategies import MagnitudePruning, NodePruning, Strategy


def share_as_text(model: nn.Module) -> None:
    prunable.prune(model, MagnitudePruning(), Keep("half"))  # type: ignore[arg-type]


def budget_is_a_number(model: nn.Module) -> None:
    prunable.prune(model, MagnitudePruning(), 0.5)  # type: ignore[arg-type]


def no_such_scope() -> list[Keep | Error | Energy]:
    return [Keep(0.5, "everywhere")]  # type: ignore[arg-type]


def strategy_by_name(model: nn.Module) -> None:
    prunable.prune(model, "magnitude", Keep(0.5))  # type: ignore[arg-type]


def class_for_an_instance(model: nn.Module) -> None:
    prunable.prune(model, MagnitudePruning, Keep(0.5))  # type: ignore[arg-type]


def no_such_axis() -> NodePruning:
    return NodePruning("channel")  # type: ignore[arg-type]


def one_eps(path: Path) -> None:
    prunable.measure(path, eps=0.1)  # type: ignore[arg-type]


def unknown_option(path: Path) -> None:
    prunable.measure(path, epsilon=(0.1,))  # type: ignore[call-arg]


def result_is_no_model(model: nn.Module, example: torch.Tensor) -> torch.Tensor:
    cut = prunable.shrink(model, prunable.prune(model, NodePruning(), Keep(0.5)), example)
    return cut(example)  # type: ignore[operator, no-any-return]


def noise_without_seed(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    noise = prunable.HeavyTailedNoise("type4", alpha=1.8, sigma=0.1)  # type: ignore[arg-type]
    prunable.attach_noise(optimizer, model.named_parameters(), noise)  # type: ignore[call-arg]


def alpha_is_a_number(path: Path) -> str:
    return prunable.measure(path).layers[0].alpha  # type: ignore[return-value]


def results_are_frozen(path: Path) -> None:
    prunable.measure(path).model = "another"  # type: ignore[misc]


class NoStrategy:
    """It lacks `axis`, and takes no generator."""

    def plan(self, views: object, budget: object) -> tuple[object, object]:
        return views, budget


def own_strategy() -> Strategy:
    return NoStrategy()  # type: ignore[return-value]
