"""Files of sketches: every bit back, every alteration named."""

import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.archive import load_tensors, save_tensors
from prunable.numerics.randomness import rng
from prunable.sketch.file import load_sketches, save_sketches

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]
INTEGERS = [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.bool]


def raw(tensor):
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8) if flat.numel() else flat


def assert_same_bits(found, wanted):
    assert sorted(found) == sorted(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(raw(found[name]), raw(tensor)), name


def pruned(shape, keep, seed=0):
    r = rng(seed, "pruned", str(shape))
    # not a product: that makes -0 of negative weights
    return torch.from_numpy(np.where(r.random(shape) < keep, r.standard_normal(shape), 0.0))


def checkpoint():
    """Sparse and dense, every type, hostile values, odd shapes and names."""
    tensors = {str(d): (40 * pruned((120, 150), 0.02)).to(d) for d in FLOATS + INTEGERS}
    special = pruned((100, 100), 0.01).float()
    special[3, 4], special[5, 6], special[7, 8] = float("nan"), float("inf"), -0.0
    special.view(torch.int32)[9, 9] = 0x7F800123  # a NaN with a payload
    codebook = torch.sign(pruned((200, 130), 0.03)).float() * 0.125
    tensors |= {
        "special": special,
        "codebook": codebook,
        "dense": pruned((30, 30), 1.0),
        "kernel": pruned((64, 32, 3, 3), 0.02).float(),
        "bias": torch.zeros(50),
        "row": pruned((1, 4000), 0.005).float(),
        "vector": pruned((4000,), 0.005).float(),
        "scalar": torch.tensor(3.5),
        "none": torch.zeros(0, 7),
        "zeros": torch.zeros(90, 90),
        "values::special": torch.ones(3),
        "plain::": torch.arange(4),
        "ünï": torch.ones(2),
    }
    return tensors


def test_round_trip_of_every_type(tmp_path):
    tensors, metadata = checkpoint(), {"architecture": '{"a": "b"}', "é": "ü"}
    reports = save_sketches(tmp_path / "s", tensors, metadata)
    found, header = load_sketches(tmp_path / "s")
    assert_same_bits(found, tensors)
    assert header == metadata
    stored = {r.name: r.stored for r in reports}
    sketched = ["torch.float64", "torch.float32", "special", "codebook", "kernel", "row", "zeros"]
    assert all(stored[name] == "sketch" for name in sketched)
    assert all(stored[name] == "plain" for name in ("dense", "scalar", "none", "ünï"))
    for report in reports:
        tensor = tensors[report.name]
        assert report.n == tensor.numel()
        if report.stored == "sketch":
            assert report.bytes < report.bytes_dense
            assert report.attempts >= 1
            # what sketches never are: as small as positions and values by their entropy
            assert report.n_nonzero == 0 or report.bytes > report.bytes_entropy
        else:
            assert report.bytes == report.bytes_dense
            assert report.reason
    assert json.loads(json.dumps([r.to_dict() for r in reports]))[0]["name"] == "torch.float64"


def test_asked_tensors_are_sketched_however_dense(tmp_path):
    tensors = {"a": pruned((20, 30), 1.0).float(), "b": pruned((100, 100), 0.01).float()}
    reports = save_sketches(tmp_path / "s", tensors, asked=lambda name: name == "a")
    assert [r.stored for r in reports] == ["sketch", "plain"]
    assert reports[1].reason == "not asked for"
    assert reports[0].bytes > reports[0].bytes_dense
    assert_same_bits(load_sketches(tmp_path / "s")[0], tensors)
    with pytest.raises(InputError, match=r"tensor 'none' \(float32, shape \(0, 3\)\)"):
        save_sketches(tmp_path / "t", {"none": torch.zeros(0, 3)}, asked=lambda _: True)
    assert not (tmp_path / "t").exists()


def test_the_same_seed_gives_the_same_file(tmp_path):
    tensors = {"a": pruned((100, 100), 0.02).float()}
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        save_sketches(tmp_path / name, tensors, seed=seed)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "three").read_bytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("share", [0.001, 0.5])
def test_negative_zeros_are_counted_and_kept(tmp_path, dtype, share):
    """Few are entries like others; many, as masks leave them, are a bit a weight."""
    weights = pruned((120, 120), 0.02)
    weights[(weights == 0) & torch.from_numpy(rng(0, "signs").random((120, 120)) < share)] = -0.0
    weights = weights.to(dtype)
    zeros = weights.double() == 0
    (report,) = save_sketches(tmp_path / "s", {"w": weights}, asked=lambda _: True)
    assert report.n_negative_zeros == int((zeros & torch.signbit(weights.double())).sum()) > 0
    assert report.n_nonzero == int((~zeros).sum())
    assert ("signs::w" in load_file(tmp_path / "s")) == (share == 0.5)
    assert_same_bits(load_sketches(tmp_path / "s")[0], {"w": weights})


def test_masked_weights_are_sketched(tmp_path):
    weights = torch.from_numpy(rng(0, "dense").standard_normal((200, 200))).float()
    weights *= torch.from_numpy(rng(0, "mask").random((200, 200)) < 0.02)
    (report,) = save_sketches(tmp_path / "s", {"w": weights})
    assert report.stored == "sketch"
    assert report.n_negative_zeros > 15_000
    assert_same_bits(load_sketches(tmp_path / "s")[0], {"w": weights})


def test_float8_without_negative_zero(tmp_path):
    """There the pattern of the sign alone is NaN; it is kept all the same."""
    bits = torch.zeros(60, 60, dtype=torch.uint8)
    bits[::2] = 0x80
    weights = {"w": bits.view(torch.float8_e4m3fnuz)}
    save_sketches(tmp_path / "s", weights)
    assert_same_bits(load_sketches(tmp_path / "s")[0], weights)


@pytest.fixture
def sketched(tmp_path):
    path = tmp_path / "s.sketch"
    tensors = {"w": pruned((100, 100), 0.02).float(), "bias": torch.arange(9.0)}
    save_sketches(path, tensors, {"key": "text"})
    return path


@pytest.mark.parametrize(
    ("part", "tensor"), [("values::w", "w"), ("tags::w", "w"), ("plain::bias", "bias")]
)
def test_altered_tensors_are_named(sketched, part, tensor):
    stored, header = load_tensors(sketched)
    flat = stored[part].reshape(-1).view(torch.uint8)
    for place in (0, flat.numel() // 2, flat.numel() - 1):
        flat[place] ^= 1
        save_tensors(sketched, stored, header)
        with pytest.raises(DataIntegrityError, match=f"tensor '{tensor}' of {sketched}"):
            load_sketches(sketched)
        flat[place] ^= 1
    save_tensors(sketched, stored, header)
    load_sketches(sketched)


def test_truncated_files_are_named(sketched):
    content = sketched.read_bytes()
    for length in (0, 5, 100, len(content) // 2, len(content) - 1):
        sketched.write_bytes(content[:length])
        with pytest.raises(DataIntegrityError, match=str(sketched)):
            load_sketches(sketched)


def test_every_altered_byte_is_found(sketched):
    content = bytearray(sketched.read_bytes())
    for place in rng(0, "bytes").integers(0, len(content), 60):
        altered = content.copy()
        altered[place] ^= 1 << int(place % 8)
        sketched.write_bytes(altered)
        try:
            found = load_sketches(sketched)
        except DataIntegrityError as error:
            assert str(sketched) in str(error)  # noqa: PT017 - either outcome is right
        else:  # spaces of the container's header, which mean nothing
            sketched.write_bytes(content)
            assert_same_bits(found[0], load_sketches(sketched)[0])


def test_an_altered_header_and_other_files_are_refused(sketched, tmp_path):
    stored, header = load_tensors(sketched)
    save_tensors(sketched, stored, header | {"sketch": header["sketch"].replace("text", "tex!")})
    with pytest.raises(DataIntegrityError, match=f"header of {sketched} was altered"):
        load_sketches(sketched)
    save_tensors(tmp_path / "plain", {"a": torch.ones(2)})
    with pytest.raises(DataIntegrityError, match="is no file of sketches"):
        load_sketches(tmp_path / "plain")
    with pytest.raises(DataIntegrityError, match="missing"):
        load_sketches(tmp_path / "nothing")


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [10**15, 10**15]},
        {"shape": [-3, 5]},
        {"shape": "x"},
        {"dtype": "nothing"},
        {"dtype": "float16"},
        {"m": [1, 1]},
        {"m": None},
        {"delta": [0, 0]},
        {"seed": -1},
        {"seed": "x"},
        {"shape": [10**9, 10**9]},
        {"m": [10**18, 10**18]},
    ],
)
def test_headers_that_lie_are_refused(sketched, change):
    """With a digest that fits: written by somebody, not damaged."""
    stored, header = load_tensors(sketched)
    document = json.loads(header["sketch"])
    document["tensors"]["w"] |= change
    text = json.dumps(document)
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    save_tensors(sketched, stored, header | {"sketch": text, "digest": digest})
    with pytest.raises(DataIntegrityError, match=str(sketched)):
        load_sketches(sketched)


def test_other_readers_see_a_safetensors_file(sketched):
    stored = load_file(sketched)
    assert sorted(stored) == ["plain::bias", "tags::w", "values::w"]
    m1, m2 = stored["values::w"].shape
    assert stored["tags::w"].shape == (m1 * m2, 5)


def derived(root, *path):
    """Seeds as docs/sketch.md defines them."""
    digest = hashlib.blake2b(digest_size=8)
    for part in (root, *path):
        token = f"{type(part).__name__}:{part}".encode()
        digest.update(len(token).to_bytes(4, "little") + token)
    return int.from_bytes(digest.digest(), "little") >> 1


def drawn(n, m, delta, seed):
    """Columns of A or B: words of PCG64 modulo the rows left; repeated columns drawn anew."""
    source = np.random.PCG64(seed)

    def column(words):
        left = list(range(m))
        return tuple(sorted(left.pop(int(word) % len(left)) for word in words))

    columns = [column(words) for words in source.random_raw(n * delta).reshape(n, delta)]
    while len(set(columns)) < n:
        again = [k for k in range(n) if columns[k] in columns[:k]]
        words = source.random_raw(len(again) * delta).reshape(-1, delta)
        for k, its in zip(again, words, strict=True):
            columns[k] = column(its)
    return columns


def mixed(word):
    word = (word + 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def test_the_format_is_that_of_the_documentation(sketched):
    """Both channels anew in Python integers, by the letter of docs/sketch.md."""
    stored, header = load_tensors(sketched)
    record = json.loads(header["sketch"])["tensors"]["w"]
    (m1, m2), (delta1, delta2) = record["m"], record["delta"]
    assert record["seed"] == derived(0, "sketch", "w", 1)
    left = drawn(100, m1, delta1, derived(record["seed"], "left"))
    right = drawn(100, m2, delta2, derived(record["seed"], "right"))
    weights = load_sketches(sketched)[0]["w"].numpy().view(np.uint32)
    values, tags = [0] * (m1 * m2), [0] * (m1 * m2)
    for row, col in np.argwhere(weights):
        value = int(weights[row, col])
        check = mixed(mixed(int(row) << 32 ^ int(col)) ^ value) >> (64 - 26)  # 7 + 7 + 26 bits
        tag = int(row) | int(col) << 7 | check << 14
        for a in left[row]:
            for b in right[col]:
                values[a * m2 + b] += value
                tags[a * m2 + b] += tag
    found = stored["values::w"].numpy().view(np.uint32).ravel()
    assert found.tolist() == [value % 2**32 for value in values]
    found = [int.from_bytes(bytes(row.tolist()), "little") for row in stored["tags::w"]]
    assert found == [tag % 2**40 for tag in tags]
