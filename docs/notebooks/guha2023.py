# %% [markdown]
# # Random pruning and sketches (Guha, Dubey and Huo 2023), from the equations
#
# Weights are pruned by lot, small ones more often; what is left is a sparse matrix that a small
# dense sketch determines; the sketch's numbers are counted, and bound the risk. Everything below is
# numpy; the last cell compares it with prunable, to 1e-12. [What the paper says and what came
# out](../papers/guha2023.md).

# %%
import math

import numpy as np

# %% [markdown]
# ## Algorithm 1
#
# A weight w of variance psi goes with probability exp(-w^2 / (d psi)); diagonal ones stay.


# %%
def prune(matrix, d, uniforms):
    """The matrix after pruning of strength d; one uniform number a weight decides."""
    goes = uniforms < np.exp(-(matrix**2) / (d * matrix.var()))
    np.fill_diagonal(goes, False)
    return np.where(goes, 0, matrix)


# %% [markdown]
# ## Lemma 4.1
#
# How much of a Gaussian weight goes: with r = d / (d + 2), a share sqrt(r) of the weights, and of
# the change a second moment psi r^(3/2) and a fourth of 3 psi^2 r^(5/2). Here as integrals, which
# the trapezoidal rule finds to the last digits.


# %%
def moment(power, d, psi):
    """E[w^power 1{pruned}] of w ~ N(0, psi)."""
    step = math.sqrt(psi * d / (d + 2)) / 64  # in units of the integrand's width
    w = step * np.arange(-2560, 2561)
    density = np.exp(-(w**2) / (2 * psi)) / math.sqrt(2 * math.pi * psi)
    return np.sum(w**power * density * np.exp(-(w**2) / (d * psi))) * step


def kept_share(d):
    """Chi."""
    return 1 - moment(0, d, 1)


# %% [markdown]
# ## Lemmas 4.2 to 4.4
#
# Latala's inequality bounds the mean spectral norm of the change by Gamma, Markov's the norm
# itself. Lemma B.2 says what changes of the layers do to the outputs, if each is at most ||A_l|| /
# L. Rounding the J weights that are left to multiples of rho costs a layer at most rho J more.


# %%
def gamma(shape, psi, d):
    """Gamma_l, with the universal constant C = 1."""
    rows, columns = shape
    deviation = math.sqrt(moment(2, d, psi))
    fourth = (rows * columns * moment(4, d, psi)) ** 0.25
    return deviation * (math.sqrt(rows) + math.sqrt(columns)) + fourth


def output_change(matrices, changes, input_norm, factors):
    """e ||x|| prod(kappa_l ||A_l||) sum(change_l / ||A_l||); the factors kappa_l may be 1."""
    norms = [np.linalg.norm(a, 2) for a in matrices]
    relative = sum(change / norm for change, norm in zip(changes, norms, strict=True))
    return math.e * input_norm * math.prod(norms) * math.prod(factors) * relative


def contraction(shape, per_layer):
    """Lemma C.1: layers that narrow shrink typical inputs, by t sqrt(outputs).

    `per_layer` is the count of events, over 0.01, that t has to hold for.
    """
    outputs, inputs = shape
    return min(1, math.sqrt(math.log(per_layer) / inputs * outputs)) if outputs < inputs else 1


# %% [markdown]
# ## Section 5: sketches
#
# Y = A X B^T with matrices of zeros and a few ones a column. X is found again as the matrix of
# smallest l1 norm with that sketch, by alternating projection and shrinkage; the entries found are
# then solved for exactly. The text says few ones a row; with these nothing is found.


# %%
def sketch_matrix(m, n, ones, rng):
    """Zeros, and so many ones in every column."""
    matrix = np.zeros((m, n))
    for column in range(n):
        matrix[rng.choice(m, ones, replace=False), column] = 1
    return matrix


def recover(y, a, b, rounds=3000):
    """The X of smallest l1 norm with A X B^T = Y."""
    back_a, back_b = np.linalg.pinv(a), np.linalg.pinv(b)
    x = back_a @ y @ back_b.T
    step, z = 0.1 * np.abs(x).max(), x.copy()
    for _ in range(rounds):  # Douglas and Rachford
        x = z - back_a @ (a @ z @ b.T - y) @ back_b.T
        other = 2 * x - z
        z += np.sign(other) * np.maximum(np.abs(other) - step, 0) - x
    rows, columns = np.nonzero(np.abs(x) > 1e-4 * np.abs(x).max())
    system = np.stack(
        [np.outer(a[:, i], b[:, j]).ravel() for i, j in zip(rows, columns, strict=True)]
    )
    found = np.zeros_like(x)
    found[rows, columns] = np.linalg.lstsq(system.T, y.ravel(), rcond=None)[0]
    return found


# %% [markdown]
# ## Theorem 5.2
#
# The sketch of a layer has max(d_1 j_r, d_2 j_c) ln^2(p) numbers, j the fullest row and column and
# p the larger side. Lemma 5.1 bounds the count in the mean by 3 lambda chi d_1 d_2, in which lambda
# is Markov's. Each number takes ln(1/rho) nats. The released code leaves out 3, lambda and the
# nats.


# %%
def released_bound(matrices, pruned, d, margins, input_norm):
    """The bound as the authors' code evaluates it."""
    n = len(margins)
    changes = [np.linalg.norm(p - a, 2) for a, p in zip(matrices, pruned, strict=True)]
    factors = [contraction(a.shape, 100 * n) for a in matrices]
    needed = output_change(matrices, changes, input_norm, factors)
    numbers = sum(a.size * kept_share(d) * math.log(max(a.shape)) ** 2 for a in matrices)
    return np.mean(margins < needed) + math.sqrt(numbers / n)


def bound(matrices, d, delta, margins, input_norm):
    """As stated: margins that training must leave, and what is added; with constants 1.

    The failure probability is that of 1/lambda + 1/eps of every layer, of lines fuller than the
    lemma says, of sketches that are not unique (p^-2), and of inputs that do not contract.
    """
    n, depth = len(margins), len(matrices)
    narrow = any(a.shape[0] < a.shape[1] for a in matrices)
    failure = sum(a.shape[0] ** (-1 / 3) + a.shape[1] ** (-1 / 3) for a in matrices)
    failure += sum(max(a.shape) ** -2.0 for a in matrices) + 0.01 * narrow
    markov = 2 * depth / (delta - failure if failure < delta else delta / 2)
    changes, nats = [], 0
    for a in matrices:
        norm, error = np.linalg.norm(a, 2), markov * gamma(a.shape, a.var(), d)
        left = math.ceil(markov * kept_share(d) * a.size)
        rho = (norm / depth - error) / left / 2  # half of what lemma 4.4 allows
        if rho <= 0:
            return math.inf
        changes.append(error + rho * left)
        entries = 3 * markov * kept_share(d) * a.size
        nats += entries * math.log(max(a.shape)) ** 2 * math.log(1 / rho)
    factors = [contraction(a.shape, 100 * n * a.shape[0]) for a in matrices]
    needed = output_change(matrices, changes, input_norm, factors)
    return np.mean(margins <= needed) + math.sqrt(nats / n)


# %% [markdown]
# ## Appendix D: plain counting
#
# Networks that are masks and kept values, each of 1/rho steps, are J in number, and the risk of one
# of them exceeds its error by at most sqrt(ln(J/delta) / (2n)).


# %%
def counting_bound(sizes, left, rho, delta, margins, needed):
    """Lemma D.1 in theorem D.1."""
    nats = sum(
        math.log(math.comb(d, j)) + j * math.log(1 / rho) for d, j in zip(sizes, left, strict=True)
    )
    return np.mean(margins <= needed) + math.sqrt((nats + math.log(1 / delta)) / (2 * len(margins)))


# %% [markdown]
# ## Whether it helps
#
# A matrix is its own sketch: counting a sketch pays only where chi ln^2(p) is below 1, which for p
# = 784 asks for a chi below 0.023, a strength above 40.


# %%
for d in (0.1, 1, 10, 40, 100):
    share = kept_share(d)
    counted = share * math.log(784) ** 2
    print(
        f"d = {d:5}: {share:.4f} of the weights are left, {counted:6.2f} numbers counted a weight"
    )

# %% [markdown]
# ## Against the library


# %%
def same(name, ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    print(f"{name:40} {np.linalg.norm(ours):.6e}")
    if (
        not np.array_equal(ours, theirs)
        and np.abs(ours - theirs).max() > 1e-12 * np.abs(ours).max()
    ):
        raise SystemExit(f"{name}: prunable says {theirs!r}, this says {ours!r}")


def main():
    """Print each number beside that of prunable; raise if they differ by 1e-12."""
    from prunable.certify.bounds import pruning_moments as moments
    from prunable.certify.bounds.matrix_facts import network_facts
    from prunable.certify.bounds.naive_counting import masks_bound
    from prunable.certify.bounds.random_pruning import Draws
    from prunable.certify.bounds.sketched_network import needed_margin, sketched_bound

    for d in (0.05, 1.0, 20.0):
        same(f"d = {d}: chi", kept_share(d), moments.kept_share(d))
        same(f"d = {d}: second moment", moment(2, d, 0.3), moments.second_moment(d, 0.3))
        same(f"d = {d}: fourth moment", moment(4, d, 0.3), moments.fourth_moment(d, 0.3))
        theirs = moments.layer_error((30, 50), 0.3, d).value
        same(f"d = {d}: Gamma of 30 x 50", gamma((30, 50), 0.3, d), theirs)

    rng, d = np.random.default_rng(0), 0.4
    matrices = [rng.normal(0, 0.2, shape) for shape in ((40, 60), (40, 40), (5, 40))]
    again, uniforms = np.random.default_rng(1), np.random.default_rng(1)
    pruned = [prune(a, d, uniforms.random(a.shape)) for a in matrices]
    for i, (ours, theirs) in enumerate(
        zip(pruned, Draws.of(matrices, again).pruned(d), strict=True), 1
    ):
        same(f"layer {i} pruned", ours, theirs)
    x = rng.standard_normal((400, 60))
    margins, longest = rng.uniform(-50, 4000, 400), np.linalg.norm(x, axis=1).max()
    facts = network_facts(matrices, margins, x, pruned=pruned)
    changes = [np.linalg.norm(p - a, 2) for a, p in zip(matrices, pruned, strict=True)]
    theirs = needed_margin(facts, changes, contractions=False)
    same("change of the outputs", output_change(matrices, changes, longest, [1] * 3), theirs)
    theirs = sketched_bound(facts, d, variant="authors-code").value
    same(
        "theorem 5.2, released code", released_bound(matrices, pruned, d, margins, longest), theirs
    )
    sizes, left = [a.size for a in matrices], [np.count_nonzero(p) for p in pruned]
    theirs = masks_bound(margins, sizes, left, [0.01] * 3, gamma=240.0).value
    ours = counting_bound(sizes, left, 0.01, 0.05, margins, 240.0)
    same("lemma D.1, masks and values", ours, theirs)
    weak = 1e-6  # stronger pruning moves these layers by more than ||A_l|| / L
    theirs = sketched_bound(facts, weak, delta=0.05).value
    same("theorem 5.2", bound(matrices, weak, 0.05, margins, longest), theirs)
    same_sketch(rng)


def same_sketch(rng):
    """A sketch of a matrix of two entries a line, and its recovery."""
    from prunable.sketch.recovery.ensembles import Ensemble
    from prunable.sketch.recovery.entries import Entries
    from prunable.sketch.recovery.peeling import peel
    from prunable.sketch.recovery.sketching import sketch

    n, m, ones = 40, 26, 4
    x = np.zeros((n, n))
    for _ in range(2):
        x[np.arange(n), rng.permutation(n)] = rng.standard_normal(n)
    a, b = sketch_matrix(m, n, ones, rng), sketch_matrix(m, n, ones, rng)
    left, right = (Ensemble(m, np.argsort(-s, axis=0, kind="stable")[:ones].T) for s in (a, b))
    y = a @ x @ b.T
    same(f"sketch of {m} x {m} numbers", y, sketch(Entries.of(x), left, right))
    theirs = peel(y, left, right)
    same("recovered", recover(y, a, b), theirs.entries.dense())
    same("what was sketched", recover(y, a, b), x)


if __name__ == "__main__":
    main()
