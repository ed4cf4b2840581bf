# %% [markdown]
# # Noisy SGD and columns that can go (Wan, Zaidi and Simsekli 2023), from the equations
#
# A network of one hidden layer, f(x) = (1/n) sum_i c_i h(<theta_i, x>), is trained by gradient
# steps to which heavy-tailed noise is added. Everything below is numpy; the last cell compares it
# with prunable, to 1e-12. [What the paper says and what came out](../papers/wan2023.md).

# %%
import math

import numpy as np

# %% [markdown]
# ## Stable noise, section 2.1
#
# Two uniforms make a draw: `t`, the distance of an angle to its pole, and `w`, whose size makes an
# exponential variable and whose sign the draw's. Symmetric draws have E exp(iuX) = exp(-|u|^alpha);
# positive ones, of index a < 1, E exp(-sA) = exp(-s^a).


# %%
def symmetric(t, w, alpha):
    """Chambers, Mallows and Stuck (1976), 1 < alpha < 2."""
    angle, wait = math.pi / 2 * (1 - t), -np.log(np.abs(w))
    tail = (np.cos((1 - alpha) * angle) / wait) ** ((1 - alpha) / alpha)
    return np.sign(w) * np.sin(alpha * angle) / np.cos(angle) ** (1 / alpha) * tail


def positive(t, w, a):
    """Kanter (1975)."""
    angle, wait = math.pi * (1 - t), -np.log(1 - np.abs(w))
    numerator = np.sin(a * angle) ** (a / (1 - a)) * np.sin((1 - a) * angle)
    return (numerator / np.sin(angle) ** (1 / (1 - a)) / wait) ** ((1 - a) / a)


def noise(kind, n, p, alpha, rng):
    """One vector of dimension p a column's neuron, n of them: types I, II and III."""
    if kind == "III":  # rotation invariant, exp(-||u||^alpha): a Gaussian of random variance
        a = np.ones(n)  # alpha = 2: N(0, 2)
        if alpha < 2:
            a = positive(rng.uniform(size=n), rng.uniform(-1, 1, n), alpha / 2)
        return np.sqrt(2 * a)[:, None] * rng.standard_normal((n, p))
    shape = (n, 1) if kind == "I" else (n, p)  # one number for all coordinates, or one each
    draws = symmetric(rng.uniform(size=shape), rng.uniform(-1, 1, shape), alpha)
    return np.broadcast_to(draws, (n, p))


# %% [markdown]
# ## The step, equations (2) to (5)
#
# theta_i moves by eta n times the gradient of the risk, since f has the factor 1/n: that is the
# drift b(theta_i, mu), which sees the others through f alone. The noise has the scale sigma
# eta^(1/alpha).


# %%
def outputs(theta, c, x):
    """f of every example: (examples, classes)."""
    return np.tanh(x @ theta.T) @ c / len(theta)


def drift(theta, c, x, y):
    """b(theta_i, mu) for half the squared error: -E[(f - y) . c_i h'(<theta_i, x>) x]."""
    pull = (outputs(theta, c, x) - y) @ c.T * (1 - np.tanh(x @ theta.T) ** 2)
    return -pull.T @ x / len(x)


def train(theta, c, x, y, eta, increments):
    """Equation (2), with the noise of each step given, its scale included."""
    for increment in increments:
        theta = theta + eta * drift(theta, c, x, y) + increment
    return theta


def numerical_drift(theta, c, x, y, i, j, h=1e-6):
    """n times minus the derivative of the empirical risk by a weight, from differences."""

    def risk(move):
        moved = theta.copy()
        moved[i, j] += move
        return 0.5 * np.mean(np.sum((outputs(moved, c, x) - y) ** 2, axis=1))

    return -len(theta) * (risk(h) - risk(-h)) / (2 * h)


# %% [markdown]
# ## Pruned columns, theorem 3.1
#
# Neurons go by their norms. The theorem is about ||pruned - whole||_F / ||whole||_F; the tables of
# the paper compare its square with 0.1, which is another number: at 0.1 the columns of a network
# that was not trained could hardly go at all.


# %%
def largest_pruned_share(theta, eps):
    """Largest share of neurons that can go at a relative Frobenius error of eps."""
    squares = np.sort(np.sum(theta**2, axis=1))
    return np.sum(np.cumsum(squares) <= eps**2 * squares.sum()) / len(squares)


def keep(theta, kappa):
    """The floor(kappa n) neurons of largest norm; the others are zero."""
    order = np.argsort(-np.sum(theta**2, axis=1), kind="stable")
    kept = np.zeros(len(theta), dtype=bool)
    kept[order[: math.floor(kappa * len(theta))]] = True
    return np.where(kept[:, None], theta, 0)


# %% [markdown]
# ## Constants
#
# P(|X| > x) ~ C x^-alpha. The largest of n magnitudes grows like n^(1/alpha), of which Frechet's
# law gives the constant (lemma B.1 prints 8 C + 1, which is too small below alpha 1.118). Theorem
# 3.1 wants steps of at most n^(-alpha/2 - 1).


# %%
def tail_constant(alpha):
    return 2 * math.gamma(alpha) * math.sin(math.pi * alpha / 2) / math.pi


def expected_maximum(alpha, n):
    return math.gamma(1 - 1 / alpha) * (tail_constant(alpha) * n) ** (1 / alpha)


def largest_step(n, alpha):
    return n ** (-alpha / 2 - 1)


# %% [markdown]
# ## The claim
#
# More neurons, more of them can go. Networks of growing width move by the noise of a training of
# length t = 1, in ten steps; the drift is that of a small regression. Medians of 11 draws.


# %%
def shares_by_width(widths, alpha, sigma, eps, rng, draws=11, steps=10):
    x = rng.standard_normal((40, 5))
    y = np.sin(x[:, :1])
    shares = []
    for n in widths:
        found = []
        for _ in range(draws):
            theta, c = rng.standard_normal((n, 5)), rng.choice([-1.0, 1.0], (n, 1))
            scale = sigma * (1 / steps) ** (1 / alpha)
            drawn = (scale * noise("III", n, 5, alpha, rng) for _ in range(steps))
            found.append(largest_pruned_share(train(theta, c, x, y, 1 / steps, drawn), eps))
        shares.append(np.median(found))
    return shares


def growing(rng):
    widths = (100, 1000, 10_000)
    for alpha in (1.5, 1.8, 2.0):
        shares = shares_by_width(widths, alpha, 1.0, 0.5, rng)
        told = ", ".join(f"{s:.3f} of {n:,}" for s, n in zip(shares, widths, strict=True))
        print(f"alpha {alpha}: at an error of 0.5 can go {told}")


growing(np.random.default_rng(1))

# %% [markdown]
# ## Against the library


# %%
def main():
    """Print each number beside that of prunable; raise if they differ by 1e-12."""
    from prunable.numerics.dynamics import compression
    from prunable.numerics.stable import StableLaw, positive_transform, symmetric_transform

    rng = np.random.default_rng(0)
    t, w = rng.uniform(0.01, 1, 1000), rng.uniform(-1, 1, 1000)
    for alpha in (1.75, 1.8, 1.9):
        name, half = f"alpha {alpha}:", alpha / 2
        same(f"{name} symmetric draws", symmetric(t, w, alpha), symmetric_transform(t, w, alpha))
        same(f"{name} positive draws", positive(t, w, half), positive_transform(t, w, half))
        same(f"{name} C of the tail", tail_constant(alpha), StableLaw(alpha).tail_constant)
        theirs = compression.expected_maximum_limit(alpha, 1000)
        same(f"{name} largest of 1,000", expected_maximum(alpha, 1000), theirs)
        theirs = compression.largest_step(2000, alpha)
        same(f"{name} largest step at n = 2,000", largest_step(2000, alpha), theirs)
    same_training(rng)
    same_network(rng)


def same(name, ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    print(f"{name:40} {np.linalg.norm(ours):.6e}")
    if np.abs(ours - theirs).max() > 1e-12 * np.abs(ours).max():
        raise SystemExit(f"{name}: prunable says {theirs!r}, this says {ours!r}")


def problem_of(rng):
    """Thirty examples of two targets, and fifty neurons."""
    x, theta, c = (rng.standard_normal(shape) for shape in ((30, 4), (50, 4), (50, 2)))
    return x, np.stack([np.sin(x[:, 0]), x[:, 1] * x[:, 2]], axis=1), theta, c


def same_training(rng):
    """Twenty steps of the particle system, on the increments that prunable draws."""
    import torch

    from prunable.nets.simulate.particles import MeanFieldProblem, StableDrive, System, simulate
    from prunable.numerics.randomness import child_seed

    x, y, theta, c = problem_of(rng)
    slope = numerical_drift(theta, c, x, y, 3, 1)
    if abs(slope - drift(theta, c, x, y)[3, 1]) > 1e-6:
        raise SystemExit(f"drift: differences say {slope!r}")
    problem = MeanFieldProblem(torch.from_numpy(x), torch.from_numpy(y), outputs=2)
    start, readout = torch.from_numpy(theta)[None], torch.from_numpy(c)[None]
    same("drift", drift(theta, c, x, y), problem.drift(start, readout)[0][0].numpy())
    for kind in ("type1", "type2", "type3"):
        drive, steps, eta = StableDrive(1.8, 0.15, kind), 20, 0.02
        (theirs,) = simulate(
            problem, drive, [System(50)], start, readout, eta=eta, steps=steps, seed=7
        )
        drawn = torch.zeros((steps, *start.shape), dtype=torch.float64)
        drive.add_increments_(drawn, eta, child_seed(7, "noise", 0))
        ours = train(theta, c, x, y, eta, drawn[:, 0].numpy())
        same(f"{kind}: after {steps} steps", ours, theirs[0].numpy())


def same_network(rng):
    """The same by an optimizer of torch with noise attached; then its neurons go."""
    import torch

    import prunable
    from prunable.nets.train.noise import HeavyTailedNoise
    from prunable.nets.train.sampling import add_stable_
    from prunable.numerics.randomness import child_seed
    from prunable.numerics.weights.compressibility import kappa_p

    (x, y, theta, c), eta, alpha, sigma = problem_of(rng), 0.02, 1.75, 0.15
    n = len(theta)
    net = torch.nn.Sequential(torch.nn.Linear(4, n, bias=False), torch.nn.Tanh()).double()
    net[0].weight.data = torch.from_numpy(theta.copy())
    optimizer = torch.optim.SGD(net.parameters(), lr=eta * n)
    law = HeavyTailedNoise("type3", alpha, sigma, lr_multiplier=n)
    prunable.attach_noise(optimizer, net.named_parameters(), law, seed=3)
    drawn = []
    for step in range(20):
        optimizer.zero_grad()
        f = net(torch.from_numpy(x)) @ torch.from_numpy(c) / n
        (0.5 * (f - torch.from_numpy(y)).square().sum(dim=1).mean()).backward()
        optimizer.step()
        own = torch.zeros((n, 4), dtype=torch.float64)
        seed = child_seed(3, "noise", "0.weight", step)
        add_stable_(own, alpha, scale=1.0, kind="isotropic", seed=seed)
        drawn.append(sigma * eta ** (1 / alpha) * own.numpy())
    trained = train(theta, c, x, y, eta, drawn)
    same("type3: by an optimizer of torch", trained, net[0].weight.detach().numpy())
    norms = np.linalg.norm(trained, axis=1)
    for eps, words in ((0.1, "error of 0.1"), (math.sqrt(0.1), "squared error of 0.1")):
        share = largest_pruned_share(trained, eps)
        same(f"share that can go, {words}", share, 1 - kappa_p(norms, eps))
    node = prunable.strategies.NodePruning(rounding="floor")
    prunable.prune(net, node, prunable.budgets.Keep(0.31, scope="layer"))
    same("the floor(0.31 n) largest neurons", keep(trained, 0.31), net[0].weight.detach().numpy())


if __name__ == "__main__":
    main()
