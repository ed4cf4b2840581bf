"""Wall-clock times that compare: the candidates take turns, so that drift hits all alike."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import torch
from numpy.typing import NDArray

from prunable.errors import check_at_least

SAMPLE = 1e-3  # seconds; shorter calls are repeated within a sample, which steadies it
MOST_CALLS = 50
TICKS = Path("/proc/stat")  # Linux: what all cores did since it started
SHORTEST = 0.25  # seconds over which its hundredths tell what others do
CONTENDED = 0.2  # cores


@dataclass(frozen=True)
class Machine:
    """What else ran while something was timed.

    `others` is how many of all `cores` other programs kept at work on average, None where the
    system does not tell; the machine is `busy` if that leaves fewer than this process's `threads`.
    """

    cores: int
    threads: int
    others: float | None

    @property
    def busy(self) -> bool:
        """Whether times are longer than they would be on an idle machine."""
        own = min(self.threads, self.cores)
        return self.others is not None and self.others + own > self.cores + CONTENDED


def watched_machine() -> Callable[[], Machine]:
    """Watch from now on what other programs do; the result, called once, says what they did."""
    began, ours, all_ = perf_counter(), _own_seconds(), _busy_seconds()

    def seen() -> Machine:
        sleep(max(0.0, began + SHORTEST - perf_counter()))
        took, own, busy = perf_counter() - began, _own_seconds() - ours, _busy_seconds()
        others = None if busy is None or all_ is None else max(0.0, (busy - all_ - own) / took)
        return Machine(os.cpu_count() or 1, torch.get_num_threads(), others)

    return seen


def _own_seconds() -> float:
    """What this process had of the cores."""
    spent = os.times()
    return spent.user + spent.system


def _busy_seconds() -> float | None:
    """What all programs had of all cores, other machines on this one included."""
    try:
        first = TICKS.read_text(encoding="ascii").partition("\n")[0].split()
    except OSError:
        return None
    # user nice system idle iowait irq softirq steal; guests are part of the first two
    ticks = [int(number) for number in first[1:9]]
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")


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
