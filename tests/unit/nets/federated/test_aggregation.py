"""Aggregation, error feedback, pruning of updates, and local training."""

import numpy as np
import pytest
import torch

from prunable.errors import InputError
from prunable.nets.federated.aggregation import add_update, weighted_mean
from prunable.nets.federated.client import LocalTraining, train_locally
from prunable.nets.federated.message import decode, encode
from prunable.nets.federated.update_pruning import add_memory, prune_update, residual, top_k
from prunable.nets.models import Architecture, build
from prunable.nets.train.noise import HeavyTailedNoise

TWO_LAYERS = Architecture("two-layer", (6,), 3, 8)


def network(seed=0):
    return build(TWO_LAYERS, generator=torch.Generator().manual_seed(seed))


def state(seed):
    return {name: tensor.clone() for name, tensor in network(seed).state_dict().items()}


def blobs(n=60, seed=0):
    generator = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = generator.standard_normal((n, 6)) + 2 * np.eye(6)[y]
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)


def test_weighted_mean_is_numpys():
    states = [state(seed) for seed in range(4)]
    weights = [10, 1, 0, 5]
    mean = weighted_mean(states, weights)
    for name, tensor in mean.items():
        expected = np.average([s[name].double().numpy() for s in states], axis=0, weights=weights)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6, atol=1e-9)
        assert tensor.dtype == torch.float32


def test_mean_of_updates_added_is_mean_of_models():
    """FedAvg by updates and FedAvg by models are the same average."""
    start, ends, weights = state(9), [state(1), state(2)], [3.0, 4.0]
    by_updates = add_update(start, weighted_mean([residual(e, start) for e in ends], weights))
    by_models = weighted_mean(ends, weights)
    for name in start:
        torch.testing.assert_close(by_updates[name], by_models[name], rtol=1e-5, atol=1e-6)


def test_counters_that_an_update_does_not_name_are_kept():
    found = add_update({"w": torch.ones(2), "steps": torch.tensor(7)}, {"w": torch.ones(2)})
    assert found["steps"] == 7
    assert found["w"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: weighted_mean([], []), "`weights` of `weighted_mean`"),
        (lambda s: weighted_mean([s], [1, 2]), "1 for|2 for"),
        (lambda s: weighted_mean([s], [0]), "not all 0"),
        (lambda s: weighted_mean([s], [-1]), "not negative"),
        (lambda s: weighted_mean([s], [float("nan")]), "finite"),
        (lambda s: weighted_mean([s, {}], [1, 1]), "`update 1`"),
        (lambda s: add_update(s, {"stranger": torch.ones(1)}), "stranger"),
        (lambda s: add_update(s, {"0.weight": torch.ones(1)} | {}), "update"),
        (lambda s: prune_update(s, 1.5), "kappa"),
        (lambda s: prune_update(s, 0.5, "filter"), "`axis` of `prune_update`"),
        (lambda _: prune_update({"b": torch.ones(3)}, 0.5), "with a matrix"),
        (lambda s: top_k(s, -0.1), "kappa"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call(state(0))


@pytest.mark.parametrize("kappa", [0.0, 0.03, 0.5, 1.0])
def test_top_k_keeps_the_largest_of_all_tensors(kappa):
    update = state(3)
    kept = top_k(update, kappa)
    flat = np.concatenate([t.numpy().ravel() for t in update.values()])
    count = int(np.ceil(kappa * flat.size - 1e-9))
    best = np.sort(np.abs(flat))[::-1][:count]
    found = np.concatenate([t.numpy().ravel() for t in kept.values()])
    np.testing.assert_array_equal(np.sort(np.abs(found[found != 0]))[::-1], best)


def test_error_feedback_loses_nothing():
    """Everything sent, and the memory, add up to all updates: the telescoping sum."""
    generator = torch.Generator().manual_seed(0)
    memory, sent_sum, update_sum = None, torch.zeros(50, 20), torch.zeros(50, 20)
    for _ in range(30):
        update = {"w": torch.randn(50, 20, generator=generator)}
        wanted = add_memory(update, memory)
        message = encode(top_k(wanted, 0.05), n_examples=1, precision="float16")
        sent = decode(message).tensors
        memory = residual(wanted, sent)
        sent_sum += sent["w"]
        update_sum += update["w"]
    torch.testing.assert_close(sent_sum + memory["w"], update_sum, rtol=0, atol=2e-5)
    assert memory["w"].norm() > 1


def test_pruned_weights_are_the_largest_of_all_matrices_and_biases_stay():
    update = state(5)
    pruned = prune_update(update, 0.25)
    matrices = [name for name, t in update.items() if t.ndim == 2]
    values = np.concatenate([update[name].numpy().ravel() for name in matrices])
    threshold = np.sort(np.abs(values))[-round(0.25 * values.size)]
    for name, tensor in update.items():
        expected = tensor if tensor.ndim < 2 else tensor * (tensor.abs() >= threshold)
        assert torch.equal(pruned[name], expected)


def test_pruned_units_are_rows_of_hidden_layers_alone():
    update = state(5)
    hidden, output = (name for name, t in update.items() if t.ndim == 2)
    pruned = prune_update(update, 0.25, "unit")
    norms = update[hidden].norm(dim=1)
    best = set(norms.argsort(descending=True)[:2].tolist())
    assert set(pruned[hidden].abs().sum(dim=1).nonzero().ravel().tolist()) == best
    assert all(torch.equal(pruned[hidden][i], update[hidden][i]) for i in best)
    assert torch.equal(pruned[output], update[output])


def test_local_training_learns_and_is_a_function_of_its_seed():
    x, y = blobs()
    training = LocalTraining(lr=0.3, epochs=8, batch_size=10)
    one, two, other = (
        train_locally(network(), state(0), x, y, training, seed=seed) for seed in (1, 1, 2)
    )
    assert one.status == "done"
    assert one.loss < 0.7  # ln 3 = 1.1 is guessing
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    assert not all(torch.equal(one.state[name], other.state[name]) for name in one.state)


@pytest.mark.parametrize("alpha", [1.2, 1.7, 2.0])
def test_heavy_tailed_clients_add_the_stated_noise_to_hidden_units_alone(alpha):
    """One full-batch step: the difference to plain SGD is sigma lr^(1/alpha) Z, a row each.

    Z depends on the seed alone, so the power of the step size is that between two steps.
    """
    x, y = blobs()
    sigma = 0.5

    def added(lr):
        plain, heavy = (
            train_locally(network(), state(0), x, y, LocalTraining(lr, 1, 100, law), seed=5).state
            for law in (None, HeavyTailedNoise("type1", alpha, sigma))
        )
        weight = next(name for name in plain if plain[name].ndim == 2)
        assert all(torch.equal(heavy[name], plain[name]) for name in plain if name != weight)
        return (heavy[weight] - plain[weight]).double()

    large, small = added(0.1), added(0.025)
    assert large.abs().min() > 0
    torch.testing.assert_close(large, large[:, :1].expand_as(large), rtol=1e-4, atol=1e-6)
    ratio = (large.sum(dim=1) / small.sum(dim=1)).numpy()
    np.testing.assert_allclose(ratio, 4 ** (1 / alpha), rtol=2e-3)


def test_a_diverging_client_is_reported():
    x, y = blobs()
    outcome = train_locally(
        network(), state(0), x, y, LocalTraining(lr=1e30, epochs=3, batch_size=10), seed=0
    )
    assert outcome.status == "diverged"
    assert outcome.reason


@pytest.mark.parametrize(
    "options", [{"lr": 0.0}, {"lr": float("nan")}, {"epochs": 0}, {"batch_size": 0}]
)
def test_bad_training_is_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        LocalTraining(**({"lr": 0.1, "epochs": 1, "batch_size": 10} | options))


def test_a_client_without_examples_is_named():
    with pytest.raises(InputError, match="must not be empty"):
        train_locally(
            network(),
            state(0),
            torch.zeros(0, 6),
            torch.zeros(0, dtype=torch.int64),
            LocalTraining(0.1, 1, 10),
            seed=0,
        )
