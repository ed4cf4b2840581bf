# %% [markdown]
# # Pruning of least squares (Chang, Li, Oymak and Thrampoulidis 2020), from its equations
#
# Features x ~ N(0, diag(lam)), labels y = x . beta + sigma z, n samples, p > n features; least
# squares of minimum norm, then all but s coefficients set to zero. Everything below is numpy; the
# last cell compares it with prunable, to 1e-12. [What the paper says and what came
# out](../papers/chang2020.md).

# %%
import numpy as np
from scipy.special import ndtr

# %% [markdown]
# ## Two numbers describe what is learned
#
# xi solves sum 1 / (1 + 1/(xi lam)) = n; gamma, the risk of the dense solution, follows (definition
# 4). Every learned coefficient is then normal, with a mean and a variance of its own.


# %%
def bisect(f, low, high):
    """The root of an increasing function, to the last bit."""
    while True:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            return middle
        low, high = (low, middle) if f(middle) > 0 else (middle, high)


def fixed_point(lam, beta, sigma, n):
    """xi and gamma of Definition 4: gamma is the risk of the dense solution."""
    log_xi = bisect(lambda t: np.sum(1 / (1 + 1 / (np.exp(t) * lam))) - n, -60.0, 60.0)
    xi = np.exp(log_xi)
    kept = 1 / (1 + 1 / (xi * lam))
    bias = np.sum(lam * beta**2 / (1 + xi * lam) ** 2)
    return xi, (sigma**2 + bias) / (1 - np.sum(kept**2) / n)


def law(lam, beta, sigma, n):
    """Means and variances of the learned coefficients, each normal."""
    xi, gamma = fixed_point(lam, beta, sigma, n)
    shrunk = 1 / (1 + 1 / (xi * lam))
    return shrunk * beta, gamma / n / lam * shrunk**2, gamma


# %% [markdown]
# ## Risks after pruning
#
# Pruning by magnitude sets to zero what lies below a threshold at which s coefficients are expected
# to stay, so the risk is an integral of a normal law (corollary 1). Hessian pruning is the same in
# units of sqrt(lam). The oracle keeps the best features, which nobody knows.


# %%
def density(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def error_above(target, mean, var, t):
    """E (target - X 1{|X| >= t})^2 for X ~ N(mean, var).

    Inside the threshold the error is target^2; outside it is that of X, which is the whole
    second moment less the part between -t and t.
    """
    std = np.sqrt(var)
    a, b = (-t - mean) / std, (t - mean) / std
    inside = ndtr(b) - ndtr(a)
    e = target - mean
    part = (
        e**2 * inside
        - 2 * e * std * (density(a) - density(b))
        + var * (inside + a * density(a) - b * density(b))
    )
    return e**2 + var - part + target**2 * inside


def threshold(mean, var, s):
    """The t above which s coefficients are expected: the sum of P(|X_i| >= t) is s."""

    def below(t):
        std = np.sqrt(var)
        return s - np.sum(ndtr((mean - t) / std) + ndtr((-mean - t) / std))

    return bisect(below, 0.0, float(np.max(np.abs(mean) + 40 * np.sqrt(var))))


def magnitude_risk(lam, beta, sigma, n, s):
    """Corollary 1."""
    mean, var, _ = law(lam, beta, sigma, n)
    return sigma**2 + np.sum(lam * error_above(beta, mean, var, threshold(mean, var, s)))


def hessian_risk(lam, beta, sigma, n, s):
    """Equations 63 to 66: what is compared is sqrt(lam_i) |beta_i|."""
    mean, var, _ = law(lam, beta, sigma, n)
    root = np.sqrt(lam)
    t = threshold(root * mean, lam * var, s)
    return sigma**2 + np.sum(error_above(root * beta, root * mean, lam * var, t))


def oracle_risk(lam, beta, sigma, n, s):
    """The s features of largest saliency lam_i beta_i^2 stay."""
    mean, var, _ = law(lam, beta, sigma, n)
    order = np.argsort(-lam * beta**2, kind="stable")
    kept, gone = order[:s], order[s:]
    stays = np.sum(lam[kept] * ((beta[kept] - mean[kept]) ** 2 + var[kept]))
    return sigma**2 + stays + np.sum(lam[gone] * beta[gone] ** 2)


# %% [markdown]
# ## Simulation
#
# Data sets are drawn, solved and pruned.


# %%
def simulated(lam, beta, sigma, n, s, runs, rng):
    """Dense and magnitude-pruned risk of so many drawn data sets: means and standard errors."""
    found = []
    for _ in range(runs):
        x = rng.standard_normal((n, lam.size)) * np.sqrt(lam)
        y = x @ beta + sigma * rng.standard_normal(n)
        learned = np.linalg.pinv(x) @ y
        pruned = np.where(np.argsort(np.argsort(-np.abs(learned))) < s, learned, 0)
        found.append([sigma**2 + np.sum(lam * (b - beta) ** 2) for b in (learned, pruned)])
    found = np.array(found)
    return found.mean(0), found.std(0, ddof=1) / np.sqrt(runs)


# %% [markdown]
# ## Against the library
#
# Each number beside that of prunable.


# %%
def main():
    """Print each number beside that of prunable; raise if they differ by 1e-12."""
    from prunable import predict

    p, n, s, sigma = 60, 30, 12, 0.5
    lam = np.where(np.arange(p) < 10, 8.0, 1.0)
    beta = np.linspace(1.5, 0.5, p) / np.sqrt(p)
    problem = predict.problem_of(p, sigma, spectrum=lam, signal=beta)
    theirs = predict.lgp(n, s=s, problem=problem).to_dict()["risk"]
    ours = {
        "dense": fixed_point(lam, beta, sigma, n)[1],
        "magnitude": magnitude_risk(lam, beta, sigma, n, s),
        "hessian": hessian_risk(lam, beta, sigma, n, s),
        "oracle": oracle_risk(lam, beta, sigma, n, s),
    }
    for name, value in ours.items():
        print(f"{name:9} {value:.6f}")
        if abs(value - theirs[name]) > 1e-12 * value:
            raise SystemExit(f"{name}: prunable says {theirs[name]!r}, this says {value!r}")
    means, errors = simulated(lam, beta, sigma, n, s, 400, np.random.default_rng(0))
    for name, mean, error in zip(("dense", "magnitude"), means, errors, strict=True):
        print(f"simulated {name:9} {mean:.3f} +- {error:.3f}")


if __name__ == "__main__":
    main()
