"""Seeds and generators derived from a root seed and a path of names.

Deriving a seed from *what it is for* instead of from *when it is asked* makes every
random number of a run independent of the order of calls, of the number of workers and
of interruptions.
"""

import hashlib

import numpy as np

from prunable.errors import InputError

SEED_BITS = 63


def child_seed(root: int, *path: str | int) -> int:
    """Derive a seed in [0, 2**63) from a root seed in that range and a path.

    The path says what the seed is for, such as ``("noise", "hidden.weight", 17)``. The types
    count: ``1`` and ``"1"`` give different seeds.
    """
    if not 0 <= root < 2**SEED_BITS:
        raise InputError.parameter(
            "seed", "child_seed", "an integer in [0, 2**63)", root, "Choose a non-negative seed."
        )
    digest = hashlib.blake2b(digest_size=8)
    # The length prefix keeps ("ab", "c") and ("a", "bc") apart.
    for part in (root, *path):
        token = f"{type(part).__name__}:{part}".encode()
        digest.update(len(token).to_bytes(4, "little") + token)
    return int.from_bytes(digest.digest(), "little") >> (64 - SEED_BITS)


def rng(seed: int, *path: str | int) -> np.random.Generator:
    """Make a fresh PCG64 generator for one purpose; equal arguments give equal streams."""
    return np.random.default_rng(child_seed(seed, *path))
