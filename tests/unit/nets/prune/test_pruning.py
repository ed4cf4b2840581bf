"""`prunable.prune` on modules and state dicts, and files of pruned weights."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

import prunable
from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import load_tensors, save_tensors
from prunable.nets.prune.plan import Error, Keep
from prunable.nets.prune.pruning import prune
from prunable.nets.prune.sparse_file import load_sparse, save_sparse
from prunable.nets.prune.strategies import (
    MagnitudePruning,
    NodePruning,
    RandomPruning,
    SingularValuePruning,
)


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.Flatten(),
        torch.nn.Linear(50, 20),
        torch.nn.Linear(20, 4),
    )


def test_global_magnitude_is_one_threshold():
    model, before = network(), network()
    result = prunable.prune(model, MagnitudePruning(), Keep(0.2, scope="global"))
    names = [layer.name for layer in result.plan.layers]
    old = torch.cat([before.get_parameter(n).detach().flatten().abs() for n in names])
    new = torch.cat([model.get_parameter(n).detach().flatten() for n in names])
    threshold = old.sort(descending=True)[0][int(np.ceil(0.2 * old.numel())) - 1]
    assert torch.equal(new != 0, old >= threshold)
    assert torch.equal(new[new != 0].abs(), old[new != 0])
    for name, parameter in before.named_parameters():
        if "bias" in name:
            assert torch.equal(parameter, model.get_parameter(name))
    assert result.n_parameters == sum(p.numel() for p in model.parameters())
    assert result.n_nonzero == sum(int((p != 0).sum()) for p in model.parameters())
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.parametrize("kappa", [0.2, 0.98])
def test_zeros_that_are_kept_are_not_counted(kappa):
    model = network()
    with torch.no_grad():
        model[0].weight[:, ::3] = 0
    result = prunable.prune(model, MagnitudePruning(), Keep(kappa, scope="global"))
    assert result.n_nonzero == sum(int((p != 0).sum()) for p in model.parameters())


def test_weights_that_lie_in_one_another_are_counted_as_they_are():
    weights = torch.randn(8, 9, generator=torch.Generator().manual_seed(1))
    named = {"all": weights, "some": weights[:5]}
    result = prunable.prune(named, MagnitudePruning(), Keep(0.3))
    assert result.n_nonzero == sum(int((p != 0).sum()) for p in named.values())


def test_same_masks_as_torch():
    """Against torch.nn.utils.prune, layer by layer."""
    from torch.nn.utils import prune as peer

    ours, theirs = network(1), network(1)
    prune(ours, MagnitudePruning(), Keep(0.3))
    for module in (theirs[0], theirs[2], theirs[3]):
        n = module.weight.numel()
        peer.l1_unstructured(module, "weight", amount=n - int(np.ceil(round(0.3 * n, 9))))
        peer.remove(module, "weight")
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, theirs.get_parameter(name))


@pytest.mark.parametrize("axis", ["unit", "input", "kernel"])
def test_structures_go_whole(axis):
    model = network()
    result = prune(model, NodePruning(axis=axis), Keep(0.5), only=["0.weight"])
    w = model[0].weight.detach()
    norms = {"unit": (1, 2, 3), "input": (0, 2, 3), "kernel": (2, 3)}[axis]
    alive = w.abs().amax(dim=norms) > 0
    assert int(alive.sum()) == result.plan.layers[0].n_kept
    assert result.plan.n_parameters_kept == int((w != 0).sum())


@pytest.mark.parametrize("eps", [0.1, 0.5])
def test_singular_values_leave_the_best_matrix_of_their_rank(eps):
    model, before = network(), network()
    result = prune(model, SingularValuePruning(), Error(eps))
    for layer in result.plan.layers:
        old = before.get_parameter(layer.name).detach().double().flatten(1)
        new = model.get_parameter(layer.name).detach().double().flatten(1)
        assert int(torch.linalg.matrix_rank(new, rtol=1e-5)) == layer.n_kept
        assert float((new - old).norm() / old.norm()) == pytest.approx(layer.eps, rel=1e-4)
        assert layer.eps <= eps
        assert layer.n_parameters_kept == layer.n_kept * (sum(layer.shape) + 1)


def test_dry_run_changes_nothing_and_counts_the_same():
    model, untouched = network(), network()
    planned = prune(model, MagnitudePruning(), Error(0.3), dry_run=True)
    for name, parameter in untouched.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name))
    done = prune(model, MagnitudePruning(), Error(0.3))
    assert planned.to_dict() == done.to_dict()


def test_patterns():
    model = network()
    result = prune(model, MagnitudePruning(), Keep(0.5), only=["*.weight"], exclude=["3.*"])
    assert [layer.name for layer in result.plan.layers] == ["0.weight", "2.weight"]
    assert (model[3].weight != 0).all()
    for options, name in (({"only": ["nothing"]}, "only"), ({"exclude": ["0.bias"]}, "exclude")):
        with pytest.raises(InputError, match=f"`{name}` of `prune`.*0.weight"):
            prune(model, MagnitudePruning(), Keep(0.5), **options)
    with pytest.raises(InputError, match="leaves no weight matrix"):
        prune(model, MagnitudePruning(), Keep(0.5), exclude=["*"])


def test_a_layer_pruned_to_nothing_is_refused_and_named():
    model, untouched = network(), network()
    with pytest.raises(InputError, match=r"nothing of 0\.weight, 2\.weight, 3\.weight"):
        prune(model, MagnitudePruning(), Keep(0))
    assert torch.equal(model[0].weight, untouched[0].weight)
    assert prune(model, MagnitudePruning(), Keep(0), force=True).plan.kappa == 0


def test_equal_weights_keep_the_first():
    state = {"w": torch.ones(4, 5)}
    prune(state, MagnitudePruning(), Keep(0.35))
    assert state["w"].flatten().tolist() == [1.0] * 7 + [0.0] * 13


def test_tied_weights_are_pruned_once():
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(6, 6), "b": torch.nn.Linear(6, 6)})
    model["b"].weight = model["a"].weight
    result = prune(model, MagnitudePruning(), Keep(0.5))
    assert [layer.name for layer in result.plan.layers] == ["a.weight"]
    assert int((model["b"].weight != 0).sum()) == 18


def test_seed_decides_random_pruning():
    masks = []
    for seed in (0, 0, 1):
        state = {"w": torch.ones(30, 30)}
        prune(state, RandomPruning(), Keep(0.5), seed=seed)
        masks.append(state["w"])
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("kappa", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range(kappa):
    with pytest.raises(InputError, match="`kappa` of `Keep` must be between 0 and 1"):
        Keep(kappa)


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8]


@given(st.integers(0, 2**32 - 1), st.sampled_from(DTYPES), st.floats(0, 1))
def test_sparse_files_give_back_every_bit(seed, dtype, share):
    import tempfile

    generator = torch.Generator().manual_seed(seed)
    shape = tuple(int(n) for n in torch.randint(0, 9, (3,), generator=generator))
    w = (10 * torch.randn(shape, generator=generator)).to(dtype)
    w[torch.rand(shape, generator=generator) < share] = 0
    state = {"w": w, "bias": torch.ones(3), "number": torch.tensor(0.0)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.safetensors"
        save_sparse(path, state)
        found = load_sparse(path)
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def test_sparse_files_are_smaller_and_readable_by_others(tmp_path):
    state = {"w": torch.randn(500, 400, generator=torch.Generator().manual_seed(0))}
    prune(state, MagnitudePruning(), Keep(0.1))
    save_tensors(tmp_path / "dense.safetensors", state)
    save_sparse(tmp_path / "sparse.safetensors", state)
    dense, sparse = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("dense", "sparse"))
    assert dense / sparse > 7  # 32 bits against 1 + 3.2
    # as the docstring says, with safetensors and NumPy alone
    with safe_open(tmp_path / "sparse.safetensors", framework="np") as archive:
        shape = json.loads(archive.metadata()["shapes"])["w"]
        bits = np.unpackbits(archive.get_tensor("w::mask"))[: np.prod(shape)].astype(bool)
        rebuilt = np.zeros(np.prod(shape), np.float32)
        rebuilt[bits] = archive.get_tensor("w::values")
    np.testing.assert_array_equal(rebuilt.reshape(shape), state["w"].numpy())
    assert load_sparse(tmp_path / "dense.safetensors")["w"].equal(state["w"])


def test_loader_of_the_documentation(tmp_path):
    page = (Path(__file__).parents[4] / "docs" / "pruned-files.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(code.splitlines()) <= 25
    names = {}
    exec(compile(code, "pruned-files.md", "exec"), names)
    state = network().state_dict()
    prune(state, MagnitudePruning(), Keep(0.2))
    save_sparse(tmp_path / "m.safetensors", state)
    found = names["load"](tmp_path / "m.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.numpy())


def test_damaged_sparse_files(tmp_path):
    state = {"w": torch.zeros(40, 40)}
    state["w"][3, 3] = 1.0
    path = tmp_path / "m.safetensors"
    save_sparse(path, state)
    stored, metadata = load_tensors(path)
    for broken, changed in (
        ({k: v for k, v in stored.items() if "mask" not in k}, metadata),
        (stored | {"w::values": torch.ones(7)}, metadata),
        (stored | {"w::mask": torch.zeros(3, dtype=torch.uint8)}, metadata),
        (stored, metadata | {"shapes": "{"}),
        (stored, metadata | {"shapes": '{"w": [-1, 3]}'}),
        (stored, {"format": "bitmask-1"}),
    ):
        save_tensors(path, broken, changed)
        with pytest.raises(DataIntegrityError, match=r"m\.safetensors"):
            load_sparse(path)


def test_models_without_numbers_are_named():
    with pytest.raises(InputError, match=r"shape \(4, 3\) is on the meta device"):
        prune(torch.nn.Linear(3, 4, device="meta"), MagnitudePruning(), Keep(0.5))


def test_output_units_stay_unless_they_are_named():
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    result = prune(model, NodePruning(axis="unit"), Keep(0.5), dry_run=True)
    assert [layer.name for layer in result.plan.layers] == ["0.weight"]
    named = prune(model, NodePruning(axis="unit"), Keep(0.5), only=["2.weight"], dry_run=True)
    assert [layer.name for layer in named.plan.layers] == ["2.weight"]
