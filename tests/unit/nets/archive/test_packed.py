"""GPTQ, AWQ and scales of 8-bit tensors, against packers of bits one by one."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import prunable
from prunable.cli.app import app
from prunable.errors import DataIntegrityError, InputError, PrunableError, UnsupportedModelError
from prunable.nets.archive import open_archive
from prunable.nets.archive.packed import refuse_packed, unpacked

OUT, IN, GROUP = 64, 96, 32
LOWEST_FIRST = {"gptq": range(8), "awq": (0, 2, 4, 6, 1, 3, 5, 7)}


def words(numbers, bits):
    """A row of numbers as words of 32 bits, by way of one whole number of all their bits."""
    total = sum(int(x) << bits * i for i, x in enumerate(numbers))
    found = [total >> 32 * i & 0xFFFFFFFF for i in range(len(numbers) * bits // 32)]
    return [x - 2**32 if x >= 2**31 else x for x in found]


def matrix_of_words(rows, bits, method="gptq"):
    order = LOWEST_FIRST[method]
    if method == "awq":
        rows = [[row[8 * (i // 8) + order[i % 8]] for i in range(len(row))] for row in rows]
    return torch.tensor([words(row, bits) for row in rows], dtype=torch.int32)


def layer(method, bits=4, *, act_order=False, offset=None, seed=0):
    """Parts of one layer, and the weights (out, in) that they stand for."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(2**bits, size=(OUT, IN))
    zeros = rng.integers(2**bits, size=(IN // GROUP, OUT))
    scales = (rng.random((IN // GROUP, OUT)) + 0.5).astype(np.float16)
    group = np.arange(IN) // GROUP
    if act_order:
        group = rng.permutation(group)
    offset = int(method == "gptq") if offset is None else offset
    stored = (zeros - offset) % 2**bits
    if method == "gptq":  # along the inputs: rows are words of one output each
        qweight = matrix_of_words(numbers, bits).T.contiguous()
    else:
        qweight = matrix_of_words(numbers.T, bits, "awq")
    parts = {
        "qweight": qweight,
        "qzeros": matrix_of_words(stored, bits, method),
        "scales": torch.from_numpy(scales),
    }
    if act_order:
        parts["g_idx"] = torch.from_numpy(group.astype(np.int32))
    exact = scales.astype(np.float64)[group].T * (numbers - zeros[group].T)
    return parts, exact


def saved(place, parts, name="model.layers.0.up_proj", **config):
    place.mkdir(exist_ok=True)
    more = {f"{name}.bias": torch.zeros(OUT), "norm.weight": torch.ones(IN)}
    save_file({f"{name}.{part}": x for part, x in parts.items()} | more, place / "m.safetensors")
    if config:
        (place / "config.json").write_text(json.dumps({"quantization_config": config}))
    return place


def read(place):
    with open_archive(place) as archive:
        return {tensor.name: tensor.load() for tensor in unpacked(archive).tensors}


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_is_what_was_packed(tmp_path, bits, act_order):
    parts, exact = layer("gptq", bits, act_order=act_order)
    found = read(saved(tmp_path / "model", parts))
    assert sorted(found) == [
        "model.layers.0.up_proj.bias",
        "model.layers.0.up_proj.weight",
        "norm.weight",
    ]
    # a product of 11 and 9 bits is exact in float32
    np.testing.assert_array_equal(found["model.layers.0.up_proj.weight"], exact)


def test_zeros_are_as_the_config_says(tmp_path):
    parts, exact = layer("gptq", offset=0)
    how = {"quant_method": "gptq", "bits": 4, "group_size": GROUP}
    found = read(saved(tmp_path / "v2", parts, **how, checkpoint_format="gptq_v2"))
    np.testing.assert_array_equal(found["model.layers.0.up_proj.weight"], exact)
    found = read(saved(tmp_path / "v1", parts, **how))
    assert not np.array_equal(found["model.layers.0.up_proj.weight"], exact)


def test_awq_is_what_was_packed(tmp_path):
    parts, exact = layer("awq")
    found = read(saved(tmp_path / "model", parts, quant_method="awq", version="gemm"))
    np.testing.assert_array_equal(found["model.layers.0.up_proj.weight"], exact)


def test_parts_in_two_shards_are_one_weight(tmp_path):
    parts, exact = layer("gptq", act_order=True)
    place, names = tmp_path / "model", list(parts)
    place.mkdir()
    places = {}
    for shard, some in enumerate((names[:2], names[2:])):
        save_file({f"up.{n}": parts[n] for n in some}, place / f"{shard}.safetensors")
        places |= {f"up.{n}": f"{shard}.safetensors" for n in some}
    (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    np.testing.assert_array_equal(read(place)["up.weight"], exact)


def test_it_is_measured_as_the_plain_weights_are(tmp_path):
    parts, exact = layer("awq")
    name = "model.layers.0.up_proj"
    packed = prunable.measure(saved(tmp_path / "packed", parts, name))
    plain = saved(tmp_path / "plain", {"weight": torch.from_numpy(exact).float()}, name)
    (found,), (wanted,) = packed.layers, prunable.measure(plain).layers
    assert found.to_dict() == wanted.to_dict()
    assert found.name == f"{name}.weight"


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8])
@pytest.mark.parametrize("shape", [(), (1,), (200,), (200, 1), (2, 3)])
def test_scales_are_applied(tmp_path, kind, shape):
    torch.manual_seed(0)
    stored = (torch.randn(200, 300) * 20).to(kind)
    scale = torch.rand(shape) + 0.5
    end = "weight_scale_inv" if len(shape) == 2 else "weight_scale"
    save_file({"up.weight": stored, f"up.{end}": scale}, tmp_path / "m.safetensors")
    wide = scale.reshape(shape if len(shape) == 2 else (-1, 1))
    if shape == (2, 3):  # blocks of 128
        wide = wide.repeat_interleave(128, 0)[:200].repeat_interleave(128, 1)[:, :300]
    wanted = stored.float() * wide
    with open_archive(tmp_path / "m.safetensors") as archive:
        (tensor,) = unpacked(archive).tensors
        np.testing.assert_array_equal(tensor.load(), wanted.numpy())
        if tensor.codes is not None:
            codes = tensor.codes()
            np.testing.assert_array_equal(codes.decode(codes.raw), wanted.numpy())
    (found,) = prunable.measure(tmp_path / "m.safetensors", spectrum="none").layers
    (other,) = prunable.measure({"up.weight": wanted}, spectrum="none").layers
    assert found.kappa == other.kappa
    if tensor.codes is None:
        assert found.stable_fit == other.stable_fit
    else:  # another sample; five standard errors of 2^15 weights near alpha = 2 are about .02
        assert abs(found.stable_fit.alpha - other.stable_fit.alpha) < 0.02


def test_pruning_refuses_it(tmp_path):
    parts, _ = layer("gptq")
    scaled = {"weight": torch.ones(8, 8).to(torch.int8), "weight_scale": torch.ones(8, 1)}
    for number, found in enumerate((parts, scaled)):
        place = saved(tmp_path / str(number), found)
        how = ["--keep", "0.5", "--scope", "global", "--out", str(tmp_path / "out.safetensors")]
        done = CliRunner().invoke(app, ["prune", str(place / "m.safetensors"), *how])
        assert done.exit_code == 4, done.output
        assert "quantised" in done.output
        assert not (tmp_path / "out.safetensors").exists()


def test_sizes_that_contradict_each_other_are_one_message(tmp_path):
    parts, _ = layer("gptq", act_order=True)
    wrong = {
        "qzeros": (parts["qzeros"][:2], parts["qzeros"][:, :5], parts["qzeros"][0]),
        "scales": (parts["scales"][:2], parts["scales"].int(), parts["scales"][:0]),
        "g_idx": (parts["g_idx"][:5], parts["g_idx"] + 1, parts["g_idx"] - 1),
        "qweight": (parts["qweight"][:5], parts["qweight"][:, :0]),
    }
    for part, values in wrong.items():
        for value in values:
            place = saved(tmp_path / "m", parts | {part: value.contiguous()})
            with pytest.raises(DataIntegrityError, match=r"up_proj.* of .*m\.safetensors"):
                prunable.measure(place)
    short, _ = layer("gptq")
    short |= {"scales": torch.ones(5, OUT).half(), "qzeros": short["qzeros"][:1].repeat(5, 1)}
    place = saved(tmp_path / "m", short)
    with pytest.raises(DataIntegrityError, match="5 groups"):
        prunable.measure(place)
    with pytest.raises(UnsupportedModelError, match="no layout"):
        prunable.measure(
            saved(tmp_path / "m", parts | {"qweight": parts["qweight"][:, :5].contiguous()})
        )
    with pytest.raises(UnsupportedModelError, match="no layout"):
        prunable.measure(saved(tmp_path / "n", parts, checkpoint_format="marlin"))
    with pytest.raises(DataIntegrityError, match="config says otherwise"):
        prunable.measure(saved(tmp_path / "n", parts, quant_method="awq"))


def test_scales_of_layouts_that_are_not_read_are_no_weights(tmp_path):
    parts, _ = layer("gptq")
    packed, scales = parts["qweight"], parts["scales"]
    for found, says in (
        ({**parts, "scales": None}, "qweight without scales"),
        ({**parts, "qzeros": None}, "qweight without qzeros"),
        ({"weight_packed": packed, "weight_scale": scales}, "weight_packed without qweight and"),
        ({"weight": packed.view(torch.uint8), "weight_scale": scales}, "weight of uint8, with"),
    ):
        place = saved(tmp_path / "m", {n: x for n, x in found.items() if x is not None})
        with pytest.raises(UnsupportedModelError, match=says):
            prunable.measure(place)
        refused = pytest.raises(UnsupportedModelError, match="cannot be written pruned")
        with refused, open_archive(place) as archive:
            refuse_packed(archive)


def test_damage_is_one_message(tmp_path):
    """Headers and configs changed at random: numbers, or one of our own errors."""
    good = load_file(
        Path(saved(tmp_path / "m", layer("gptq", act_order=True)[0])) / "m.safetensors"
    )
    rng = np.random.default_rng(0)
    for _ in range(150):
        changed = {}
        for name, tensor in good.items():
            found = tensor
            if rng.random() < 0.3:
                axis = int(rng.integers(found.ndim))
                found = found.narrow(axis, 0, int(rng.integers(found.shape[axis] + 1)))
            if rng.random() < 0.1:
                found = found.flatten()
            if rng.random() < 0.1:
                kinds = (torch.int8, torch.int32, torch.float16, torch.float8_e5m2, torch.bool)
                found = found.to(kinds[rng.integers(len(kinds))])
            changed[name] = found.contiguous()
        save_file(changed, tmp_path / "m" / "m.safetensors")
        values = ("gptq", "gptq_v2", "awq", 0, -1, None, [128, 128], {}, 2**60, "")
        keys = ("quant_method", "checkpoint_format", "group_size", "weight_block_size")
        config = {key: values[rng.integers(len(values))] for key in keys if rng.random() < 0.5}
        (tmp_path / "m" / "config.json").write_text(json.dumps({"quantization_config": config}))
        with suppress(PrunableError), open_archive(tmp_path / "m") as archive:
            for tensor in unpacked(archive).tensors:
                assert tensor.load().shape == tensor.shape


@pytest.mark.parametrize(
    "scale", [torch.full((2, 16), float("inf")), torch.full((2, 16), 1e300, dtype=torch.float64)]
)
def test_scales_that_are_not_finite_are_told_of_in_one_message(tmp_path, scale):
    words = torch.arange(64, dtype=torch.int32).reshape(4, 16)
    parts = {"qweight": words, "qzeros": words[:2, :2].clone(), "scales": scale.double()}
    scaled = {"w": torch.ones(4, 4).to(torch.float8_e4m3fn), "w_scale": scale[:1, 0].double()}
    for number, kept in enumerate(({f"u.{part}": x for part, x in parts.items()}, scaled)):
        path = tmp_path / f"{number}.safetensors"
        save_file(kept, path)
        with pytest.raises(InputError, match="must be finite"):
            prunable.measure(path)  # warnings are errors here
