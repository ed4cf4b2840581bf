"""Decisions near a tie, taken in part for the runner-up: less noise of a draw of inputs.

Which of two nearly equal logits is larger is chance, and counts whole in a mean over few inputs.
Weighing both classes by a smooth function of the gap is what a kernel estimate of a distribution
does; a kernel of fourth order leaves no bias of second order in its width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from prunable.numerics.arrays import FloatArray

# Widths are the least of these shares of what pruning moves gaps by, and of the gaps themselves, at
# `INPUTS` inputs; for others they shrink as is best for a kernel of this order.
OF_CHANGE, OF_GAPS, INPUTS, RATE = 0.5, 0.3, 256, 1 / 9


def near_ties(dense: FloatArray, pruned: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """The two classes of largest pruned logits, shape (n, 2), and the weight of each.

    Weights of an input sum to 1; where the gap is far wider than what pruning moved they are 1 and
    0, and networks that are alike have no others. The kernel's order makes a few slightly negative.
    """
    order = np.argpartition(-pruned, 1, axis=1)[:, :2]
    values = np.take_along_axis(pruned, order, 1)
    swap = values[:, 1] > values[:, 0]
    order[swap] = order[swap, ::-1]
    # Ties go to the first class, as in every decision.
    first = pruned.argmax(1)
    tied = order[:, 0] != first
    order[tied] = order[tied, ::-1]
    order[:, 0] = first
    gaps = np.abs(values[:, 0] - values[:, 1])
    ahead, behind = np.take_along_axis(dense, order, 1).T
    before = ahead - behind
    scale = float(before @ before)
    moved = gaps - before * (float(gaps @ before) / scale if scale else 0.0)
    change = float(np.sqrt(np.mean(moved**2)))
    width = min(OF_CHANGE * change, OF_GAPS * float(gaps.std())) * (INPUTS / len(gaps)) ** RATE
    if width <= 1e-9 * float(np.abs(gaps).max(initial=1e-300)):
        return order, np.tile([1.0, 0.0], (len(gaps), 1))
    weight = 2 * ndtr(gaps / width) - ndtr(gaps / (width * np.sqrt(2)))
    return order, np.column_stack([weight, 1 - weight])
