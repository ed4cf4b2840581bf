"""Wall-clock times that compare: the candidates take turns, so that drift hits all alike."""

from collections.abc import Callable, Mapping
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import check_at_least

SAMPLE = 1e-3  # seconds; shorter calls are repeated within a sample, which steadies it
MOST_CALLS = 50


def interleaved_seconds(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 15
) -> dict[str, NDArray[np.float64]]:
    """Time functions side by side, so that drift hits all alike.

    Each is called once to warm up and then in rounds, every second round in reverse order. Returns
    seconds a call, by round; the i-th numbers of all functions were taken one after another.
    """
    check_at_least(repeats, 1, "repeats", "interleaved_seconds")
    counts = {}
    for name, call in calls.items():
        call()
        once = _seconds(call, 1)
        counts[name] = min(MOST_CALLS, max(1, round(SAMPLE / once)))
    found = {name: np.empty(repeats) for name in calls}
    names = list(calls)
    for i in range(repeats):
        for name in names if i % 2 == 0 else reversed(names):
            found[name][i] = _seconds(calls[name], counts[name])
    return found


def _seconds(call: Callable[[], object], count: int) -> float:
    _wait()
    started = perf_counter()
    for _ in range(count):
        call()
    _wait()
    return max(perf_counter() - started, 1e-9) / count


def _wait() -> None:
    """Let an accelerator finish what was handed to it."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
