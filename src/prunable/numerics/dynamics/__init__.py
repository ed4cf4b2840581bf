"""Dynamics behind the theorems: tail index of SGD, fitted rates, independence, compression."""

from prunable.numerics.dynamics.compression import (
    asymptotic_errors,
    asymptotic_exponent,
    expected_maximum_bound,
    expected_maximum_limit,
    largest_weights_limit,
    mean_limit_constant,
    simulated_errors,
    tail_supremum,
)
from prunable.numerics.dynamics.fitted_rates import (
    Agreement,
    Claim,
    FittedRate,
    compare,
    fit_exponent,
)
from prunable.numerics.dynamics.independence import (
    IndependenceTest,
    distance_covariance,
    energy_distance,
    hsic,
)
from prunable.numerics.dynamics.sgd_chain import (
    IndexEstimate,
    hill_index,
    monte_carlo_index,
    simulate_norms,
    stationary_steps,
)
from prunable.numerics.dynamics.sgd_tail import (
    LinearRegressionSgd,
    critical_step,
    log_moment_function,
    lyapunov_exponent,
    tail_index,
)

__all__ = [
    "Agreement",
    "Claim",
    "FittedRate",
    "IndependenceTest",
    "IndexEstimate",
    "LinearRegressionSgd",
    "asymptotic_errors",
    "asymptotic_exponent",
    "compare",
    "critical_step",
    "distance_covariance",
    "energy_distance",
    "expected_maximum_bound",
    "expected_maximum_limit",
    "fit_exponent",
    "hill_index",
    "hsic",
    "largest_weights_limit",
    "log_moment_function",
    "lyapunov_exponent",
    "mean_limit_constant",
    "monte_carlo_index",
    "simulate_norms",
    "simulated_errors",
    "stationary_steps",
    "tail_index",
    "tail_supremum",
]
