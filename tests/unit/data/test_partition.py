"""Partitions of examples among clients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunable.data.partition import class_counts, dirichlet_parts, iid_parts
from prunable.errors import InputError


def covers(parts, n):
    return np.array_equal(np.sort(np.concatenate(parts)), np.arange(n))


@given(st.integers(1, 200), st.integers(1, 30), st.integers(0, 10))
def test_iid_parts_are_disjoint_cover_all_and_have_equal_sizes(n, clients, seed):
    clients = min(clients, n)
    parts = iid_parts(n, clients, np.random.default_rng(seed))
    assert covers(parts, n)
    sizes = [len(part) for part in parts]
    assert len(parts) == clients
    assert max(sizes) - min(sizes) <= 1
    assert all((np.diff(part) > 0).all() for part in parts)


@given(
    st.lists(st.integers(0, 4), min_size=40, max_size=200),
    st.integers(1, 4),
    st.sampled_from([0.1, 1.0, 50.0]),
)
def test_dirichlet_parts_are_disjoint_and_cover_all(labels, clients, concentration):
    labels = np.array(labels)
    parts = dirichlet_parts(labels, clients, concentration, np.random.default_rng(0), at_least=0)
    assert covers(parts, len(labels))
    assert class_counts(labels, parts).sum() == len(labels)


def test_equal_seeds_give_equal_parts():
    labels = np.arange(1000) % 10
    one, two = (dirichlet_parts(labels, 5, 0.3, np.random.default_rng(3)) for _ in range(2))
    other = dirichlet_parts(labels, 5, 0.3, np.random.default_rng(4))
    assert all(map(np.array_equal, one, two))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.statistical
@pytest.mark.parametrize("concentration", [0.3, 3.0])
def test_shares_have_the_moments_of_the_dirichlet_law(concentration):
    """Share of a class at the first client: mean 1/J, variance (J-1) / (J^2 (J c + 1)).

    1000 independent classes; both within 5 standard errors, of the variance estimated from the
    sample: false alarm below 1e-5 for each. Rounding to 1/400 shifts the variance by at most
    (1/400)^2 / 12 about, far below the error.
    """
    J, classes, members = 5, 1000, 400
    labels = np.repeat(np.arange(classes), members)
    parts = dirichlet_parts(labels, J, concentration, np.random.default_rng(1), at_least=0)
    share = class_counts(labels, parts)[0] / members
    variance = (J - 1) / (J**2 * (J * concentration + 1))
    assert abs(share.mean() - 1 / J) < 5 * (variance / classes) ** 0.5
    squares = (share - 1 / J) ** 2
    assert abs(squares.mean() - variance) < 5 * squares.std() / classes**0.5


def test_small_concentration_separates_classes_and_large_does_not():
    labels = np.arange(5000) % 10

    def largest(concentration):
        parts = dirichlet_parts(labels, 10, concentration, np.random.default_rng(0), at_least=0)
        counts = class_counts(labels, parts)
        return (counts.max(axis=0) / counts.sum(axis=0)).mean()

    assert largest(0.05) > 0.6
    assert largest(1000.0) < 0.15


def test_every_client_has_the_least_number():
    labels = np.arange(2000) % 10
    parts = dirichlet_parts(labels, 10, 0.3, np.random.default_rng(0), at_least=40)
    assert min(map(len, parts)) >= 40


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: iid_parts(5, 6, g), "`clients` of `iid_parts`"),
        (lambda g: iid_parts(5, 0, g), "`clients` of `iid_parts`"),
        (lambda g: dirichlet_parts(np.arange(9) % 3, 0, 1.0, g), "`clients`"),
        (lambda g: dirichlet_parts(np.arange(90) % 3, 3, 0.0, g), "`concentration`"),
        (lambda g: dirichlet_parts(np.arange(90) % 3, 3, np.nan, g), "`concentration`"),
        (lambda g: dirichlet_parts(np.ones(90), 3, 1.0, g), "`labels`"),
        (lambda g: dirichlet_parts(np.arange(90) % 3, 3, 1.0, g, at_least=31), "`at_least`"),
        (lambda g: dirichlet_parts(np.arange(90) % 3, 9, 1e-3, g), "Raise the concentration"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call(np.random.default_rng(0))
