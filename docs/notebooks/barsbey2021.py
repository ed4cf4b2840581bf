# %% [markdown]
# # Heavy tails and compressibility (Barsbey et al. 2021), from the definitions
#
# k-best terms, the tail index, theorem 5. Everything below is numpy; the last cell compares it with
# prunable, to 1e-12. [What the paper says and what came out](../papers/barsbey2021.md).

# %%
import numpy as np

# %% [markdown]
# ## Weights
#
# Symmetric alpha-stable: 2 is Gaussian, smaller is heavier.


# %%
def stable(alpha, shape, rng):
    """Symmetric alpha-stable draws, exp(-|t|^alpha), by Chambers, Mallows and Stuck."""
    angle = rng.uniform(-np.pi / 2, np.pi / 2, shape)
    wait = rng.exponential(size=shape)
    return (
        np.sin(alpha * angle)
        / np.cos(angle) ** (1 / alpha)
        * (np.cos((1 - alpha) * angle) / wait) ** ((1 - alpha) / alpha)
    )


# %% [markdown]
# ## Compressibility
#
# kappa(eps) is the smallest share of entries that leaves a relative l_p error of at most eps; of
# weights, of columns by their norms (theorem 4), of singular values (theorem 3).


# %%
def best_term_error(x, k, p):
    """||x^(k) - x||_p / ||x||_p: all but the k largest magnitudes are set to zero."""
    powers = np.sort(np.abs(np.ravel(x))) ** p
    return (powers[: powers.size - k].sum() / powers.sum()) ** (1 / p)


def kappa(x, eps, p):
    """Smallest share of entries with an error of at most eps, by trying every k upwards."""
    powers = np.sort(np.abs(np.ravel(x))) ** p
    errors = (np.append(0, np.cumsum(powers)) / powers.sum()) ** (1 / p)  # of 0, 1, ... pruned
    return (powers.size - (np.flatnonzero(errors <= eps)[-1])) / powers.size


def node_kappa(matrix, eps, p):
    """Theorem 4: columns go by their norms, and the error is that of the norms."""
    return kappa((np.abs(matrix) ** p).sum(axis=0) ** (1 / p), eps, p)


def singular_kappa(matrix, eps):
    """Theorem 3: the error of a truncated singular value decomposition, p = 2."""
    return kappa(np.linalg.svd(matrix, compute_uv=False), eps, 2)


# %% [markdown]
# ## Tail index
#
# Sums of K vectors grow like K^(1/alpha) (appendix A.1). The released procedure takes medians.


# %%
def tail_index(rows, block):
    """Appendix A.1: sums of K1 vectors grow like K1^(1/alpha); norms carry the guard of log 0."""
    sums = rows.reshape(-1, block, rows.shape[1]).sum(axis=1)

    def mean_log(vectors):
        return np.log(np.linalg.norm(vectors, axis=1) + np.spacing(1.0)).mean()

    return np.log(block) / (mean_log(sums) - mean_log(rows))


def released_procedure(rows, rng):
    """As the authors' code has it: medians over sizes of blocks, and over five orders of rows."""
    rows = rows / np.abs(rows).max()
    rows = rows - np.median(rows, axis=0)
    n = len(rows)
    sizes = [size for size in (2, 5, 10, 20, 50, 100, 500, 1000) if 2 * size <= n]
    divisors = [d for d in range(2, n + 1) if n % d == 0]
    blocks = {max((d for d in divisors if d <= size), default=1) for size in (*sizes, int(n**0.5))}
    orders = [rng.permutation(n) for _ in range(5)]
    medians = [np.median([tail_index(rows[o], k) for k in blocks - {1}]) for o in orders]
    return min(np.median(medians), 2.0)


# %% [markdown]
# ## Theorem 5
#
# What is added to the training error at a margin, for a network of which a share is kept.


# %%
def entropy(x):
    """Binary entropy in nats."""
    return -sum(v * np.log(v) for v in (x, 1 - x) if v > 0)


def eps_kappa(kept, n):
    """The surplus of Theorem 5: what it costs to say which weights are kept."""
    return (2 * entropy(kept) - kept * np.log(kept)) / np.log(n)


def theorem_5(kept, eps, radius, inputs, depth, d, n, margin):
    """Margin that must be met on the training set, and the term added to its error.

    `radius` bounds the norm of all weights and `inputs` that of an input; `margin` is tau.
    """
    lipschitz = np.sqrt(2) * inputs * depth * (2 * radius / np.sqrt(depth)) ** (depth - 1) / margin
    added = (12 * lipschitz * radius + np.sqrt(d)) * np.sqrt(
        (kept + eps_kappa(kept, n)) * np.log(n) / n
    )
    moved = np.sqrt(2) * inputs * (radius / np.sqrt(depth)) ** depth * ((1 + eps) ** depth - 1)
    return margin + moved, added


# %% [markdown]
# ## Against the library
#
# Each number beside that of prunable.


# %%
def main():
    """Print each number beside that of prunable; raise if they differ by 1e-12."""
    from prunable.numerics.tails.authors import authors_procedure
    from prunable.numerics.weights.compressibility import best_k_term_error, kappa_p

    rng = np.random.default_rng(0)

    def same(name, ours, theirs):
        print(f"{name:34} {ours:.6f}")
        if abs(ours - theirs) > 1e-12 * abs(ours):
            raise SystemExit(f"{name}: prunable says {theirs!r}, this says {ours!r}")

    for alpha in (1.5, 1.75, 2.0):
        matrix = stable(alpha, (200, 150), rng)
        same(
            f"alpha {alpha}: error of the 3,000 best",
            best_term_error(matrix, 3000, 2),
            best_k_term_error(matrix, 3000, 2),
        )
        same(f"alpha {alpha}: kappa(0.1), weights", kappa(matrix, 0.1, 2), kappa_p(matrix, 0.1, 2))
        same(f"alpha {alpha}: kappa(0.1), p = 1", kappa(matrix, 0.1, 1), kappa_p(matrix, 0.1, 1))
        norms = np.linalg.norm(matrix, axis=0)
        same(f"alpha {alpha}: kappa(0.1), nodes", node_kappa(matrix, 0.1, 2), kappa_p(norms, 0.1))
        values = np.linalg.svd(matrix, compute_uv=False)
        same(
            f"alpha {alpha}: kappa(0.1), singular v.",
            singular_kappa(matrix, 0.1),
            kappa_p(values, 0.1),
        )
        same(
            f"alpha {alpha}: estimated index, rows",
            released_procedure(matrix, np.random.default_rng(1)),
            authors_procedure(matrix, rng=np.random.default_rng(1), jackknife=False).alpha,
        )
    same_bound(same, rng)


def same_bound(same, rng):
    """Theorem 5 for layers of 400, 300 and 100 weights, of which a tenth is kept."""
    from prunable.certify.bounds.compressed_network import pruned_network_bound
    from prunable.certify.bounds.compression import Compression, NormBound, Observed

    n, radius, inputs, tau, eps = 5000, 2.0, 1.5, 0.7, 0.05
    margins = rng.uniform(-1, 4, n)
    pruned = Compression((400, 300, 100), (40, 30, 10), (eps,) * 3)
    seen = Observed(margins, pruned, input_norm=inputs, tau=tau)
    theirs = pruned_network_bound(seen, NormBound(radius))
    margin, added = theorem_5(0.1, eps, radius, inputs, 3, 800, n, tau)
    same("theorem 5: what is added", added, theirs.terms[1].value)
    same("theorem 5: the whole", (margins <= margin).mean() + added, theirs.value)


if __name__ == "__main__":
    main()
