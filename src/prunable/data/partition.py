"""Which client holds which examples: disjoint index sets that cover the data."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prunable.errors import InputError, check_between

Parts = list[NDArray[np.int64]]
ATTEMPTS = 1000


def iid_parts(n_examples: int, clients: int, generator: np.random.Generator) -> Parts:
    """Deal examples out at random, in parts whose sizes differ by at most one.

    Gives the increasing indices of each client.
    """
    check_between(clients, 1, n_examples, "clients", "iid_parts")
    order = generator.permutation(n_examples)
    return [np.sort(part) for part in np.array_split(order, clients)]


def dirichlet_parts(
    labels: NDArray[np.integer[Any]],
    clients: int,
    concentration: float,
    generator: np.random.Generator,
    *,
    at_least: int = 10,
) -> Parts:
    """Deal each class out in random shares, so that clients hold different classes.

    Raises InputError if an argument is out of range, or 1000 draws leave some client with too few.

    Parameters
    ----------
    concentration : Of the symmetric Dirichlet law of each class's shares, > 0; the smaller the
        fewer clients hold most of a class, and large values are close to equal shares.
    at_least : Examples every client must have; all shares are drawn anew until it holds.

    Notes
    -----
    Section 4 of Yurochkin et al. (2019): for class k the shares of the clients are
    p_k ~ Dir_J(concentration).
    """
    where = "dirichlet_parts"
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError.parameter(
            "labels", where, "a vector of integers", f"{labels.dtype} of shape {labels.shape}"
        )
    check_between(clients, 1, labels.size, "clients", where)
    if not (math.isfinite(concentration) and concentration > 0):
        raise InputError.parameter("concentration", where, "finite and positive", concentration)
    check_between(at_least, 0, labels.size // clients, "at_least", where)
    # the order within a class is drawn once, the shares at each attempt
    classes = [generator.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)]
    for _ in range(ATTEMPTS):
        shares = generator.dirichlet(np.full(clients, concentration), size=len(classes))
        cuts = [
            np.floor(np.cumsum(share)[:-1] * len(members) + 0.5).astype(np.int64)
            for share, members in zip(shares, classes, strict=True)
        ]
        split = [np.split(m, np.minimum(c, len(m))) for m, c in zip(classes, cuts, strict=True)]
        parts = [np.sort(np.concatenate(pieces)) for pieces in zip(*split, strict=True)]
        if min(part.size for part in parts) >= at_least:
            return parts
    raise InputError(
        f"{ATTEMPTS} draws of `dirichlet_parts` with concentration {concentration} left some of "
        f"{clients} clients with fewer than {at_least} examples. Raise the concentration, or "
        "take fewer clients."
    )


def class_counts(labels: NDArray[np.integer[Any]], parts: Parts) -> NDArray[np.int64]:
    """Count the examples of each class 0 to k - 1 at each client, (clients, k)."""
    k = int(labels.max(initial=-1)) + 1
    return np.array([np.bincount(labels[part], minlength=k) for part in parts], dtype=np.int64)
