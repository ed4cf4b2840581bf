"""What can be chosen in pruning, in the words of options and settings; this module is light."""

import re
from typing import Literal, get_args

from prunable import plugins
from prunable.errors import InputError, check_at_least, check_one_of, require

Scope = Literal["layer", "global"]

# How coupled units share a cost: as above, or by what the loss of each group does to the outputs.
Sharing = Literal["layer", "global", "sensitivity"]

# How the scores of the matrices that make or read a unit become one.
Aggregate = Literal["sum", "mean", "max"]

# What a target of pruning is a share of.
Cost = Literal["parameters", "macs", "ms"]

# What is pruned: single weights; rows (hidden units, filters); the columns of one input (input
# nodes, channels); the taps of one (output, input) pair; or singular values.
Axis = Literal["weight", "unit", "input", "kernel", "singular_value"]

# What weights compete with: all others of their layer, or those of their row.
Compared = Literal["layer", "row"]

# Strategies by name.
Method = Literal[
    "magnitude",
    "unit",
    "node",
    "kernel",
    "singular-value",
    "randomized",
    "random",
    "n:m",
    "wanda",
    "obs",
    "calibrated",
]


def methods() -> tuple[str, ...]:
    """Names of strategies: the package's, then those of plugins."""
    return (*get_args(Method), *plugins.added(plugins.STRATEGIES, get_args(Method)))


# Those that need to know what flows into the layers.
CALIBRATED: tuple[Method, ...] = ("wanda", "obs", "calibrated")

# What a layer pruned in order is fitted to: its own outputs, or those of the dense network.
Towards = Literal["layer", "network"]

# Those that divide a share of all layers by a rule.
DIVIDING: tuple[Method, ...] = ("magnitude", *CALIBRATED)


def pattern_of(text: str, where: str) -> tuple[int, int]:
    """The two numbers of a pattern n:m, n below m.

    >>> pattern_of("2:4", "prune")
    (2, 4)
    """
    found = re.fullmatch(r"(\d{1,4}):(\d{1,4})", text)
    n, m = (int(found[1]), int(found[2])) if found else (0, 0)
    require(0 < n < m, "n_m", where, "n:m with 0 < n < m, as 2:4", text)
    return n, m


# What pruned weights are set to.
Center = Literal["zero", "median"]

# Rules for `Keep(kappa, scope="global")`, by what the layers have in common:
# threshold: one threshold on |w|. relative: one threshold on |w| / ||w_l||, which keeps the
# summed squared relative errors of the layers smallest. common-eps: the same relative l_2 error
# in every layer. lamp: one threshold on w^2 over the sum of squares of the weights of the layer
# that are at least as large (Lee, Park, Mo, Ahn and Shin 2021). erk: shares of layers
# proportional to the sum over the product of their dimensions (Evci, Gale, Menick, Castro and
# Elsen 2020). tail: shares at which independent stable weights of each layer's estimated tail
# index would all have the same relative l_2 error, so that heavier tails keep less; it looks at
# the weights only through that index. owl, alpha, dlp, atp, optimum: with the numbers of their
# papers, or found; see `prunable.nets.prune.strategies.allocations`.
ShareRule = Literal[
    "threshold",
    "relative",
    "common-eps",
    "lamp",
    "erk",
    "tail",
    "owl",
    "alpha",
    "dlp",
    "atp",
    "optimum",
]

# What returns after a round of iterative pruning; see `iterate`.
Rewind = Literal["init", "step", "learning-rate", "none"]

# How a file holds zeros: as numbers, or as a bit a weight and the values that are left.
Storage = Literal["dense", "bitmask"]


def check_rewind(rewind: str, rewind_step: int, where: str) -> None:
    """Raise InputError unless the step to rewind to suits what is rewound."""
    check_one_of(rewind, get_args(Rewind), "rewind", where)
    check_at_least(rewind_step, 1 if rewind == "step" else 0, "rewind_step", where)
    if rewind_step and rewind not in ("step", "learning-rate"):
        raise InputError.parameter("rewind_step", where, f"0 with rewind {rewind!r}", rewind_step)


# What the outputs are by whose changes units are shared: scores of classes, or numbers as such.
Outputs = Literal["logits", "values"]
