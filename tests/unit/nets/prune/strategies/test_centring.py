"""Pruning about medians: against the rule written out for each kind of candidate."""

import numpy as np
import pytest
import torch

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.networks.views import views_of
from prunable.nets.prune.iterative import iterate
from prunable.nets.prune.masks import apply_plan_
from prunable.nets.prune.plan import Keep, plan_from_json, plan_to_json
from prunable.nets.prune.strategies import (
    MagnitudePruning,
    MedianCentred,
    NodePruning,
    SingularValuePruning,
)
from prunable.numerics.randomness import rng


def pruned(weights: np.ndarray, strategy, kappa: float) -> np.ndarray:
    parameter = torch.nn.Parameter(torch.from_numpy(weights.copy()))
    named = [("w", parameter)]
    plan = MedianCentred(strategy).plan(views_of(named), Keep(kappa), rng=rng(0))
    apply_plan_(named, plan_from_json(plan_to_json(plan)))
    return parameter.detach().numpy()


def shifted(*shape):
    return 0.7 + np.random.default_rng(3).standard_t(3, shape)


def test_weights_become_the_median_of_the_layer():
    w = shifted(9, 11)
    found = pruned(w, MagnitudePruning(), 0.25)
    median = np.median(w)
    far = np.sort(np.abs(w - median).ravel())[-25]
    np.testing.assert_array_equal(found, np.where(np.abs(w - median) >= far, w, median))


def test_inputs_become_the_medians_of_their_rows():
    w = shifted(6, 10)
    found = pruned(w, NodePruning(axis="input"), 0.5)
    centres = np.median(w, axis=1, keepdims=True)
    norms = np.linalg.norm(w - centres, axis=0)
    kept = norms >= np.sort(norms)[5]
    np.testing.assert_array_equal(found, np.where(kept[np.newaxis], w, centres))


def test_kernels_become_the_median_kernel():
    w = shifted(4, 5, 3, 3)
    found = pruned(w, NodePruning(axis="kernel"), 0.4)
    centre = np.median(w.reshape(-1, 9), axis=0)
    norms = np.linalg.norm(w.reshape(-1, 9) - centre, axis=1)
    kept = norms >= np.sort(norms)[20 - 8]
    expected = np.where(kept[:, np.newaxis], w.reshape(-1, 9), centre).reshape(w.shape)
    np.testing.assert_array_equal(found, expected)


def test_singular_values_are_those_about_the_medians_of_columns():
    w = shifted(8, 6)
    found = pruned(w, SingularValuePruning(), 0.5)
    centres = np.median(w, axis=0)
    u, s, v = np.linalg.svd(w - centres, full_matrices=False)
    np.testing.assert_allclose(found, (u[:, :3] * s[:3]) @ v[:3] + centres, atol=1e-12)


def test_half_precision_stays_half_precision():
    w = shifted(5, 7).astype(np.float16)
    assert pruned(w, MagnitudePruning(), 0.5).dtype == np.float16


def test_tickets_know_no_medians():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    strategy = MedianCentred(MagnitudePruning())
    with pytest.raises(InputError, match="one that sets single weights to 0"):
        iterate(model, lambda *_: 0.0, strategy=strategy, rounds=1, kappa=0.5)


@pytest.mark.parametrize("broken", ["{}", "[]", "not json", '{"method": 1, "layers": []}'])
def test_broken_plans_are_named(broken):
    with pytest.raises(DataIntegrityError, match="pruning plan cannot be read"):
        plan_from_json(broken)


def test_a_plan_with_a_short_mask_is_refused():
    model = torch.nn.Linear(4, 3)
    plan = MagnitudePruning().plan(views_of([("w", model.weight)]), Keep(0.5), rng=rng(0))
    with pytest.raises(DataIntegrityError, match="1 bytes for 12 candidates of w"):
        plan_from_json(plan_to_json(plan).replace('"kept": "', '"kept": "AA==", "was": "'))
