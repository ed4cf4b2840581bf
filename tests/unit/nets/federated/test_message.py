"""Messages of federated clients: real bytes, decoded bit for bit, damage named."""

import json
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prunable.errors import DataIntegrityError, InputError
from prunable.nets.federated.message import decode, encode

FORMS = ("dense", "bitmask", "gaps", "nodes")


def sparse(shape, density, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.standard_normal(shape) * (generator.random(shape) < density)
    return torch.from_numpy(values.astype(np.float32))


def bits(tensor):
    return tensor.numpy().view(np.uint32)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7),
        elements=st.one_of(
            st.just(0.0), st.floats(-60000, 60000, width=32), st.sampled_from([-0.0, 1e-40])
        ),
    ),
    st.sampled_from((*FORMS, "auto")),
    st.sampled_from(["float32", "float16"]),
)
def test_decoding_gives_the_rounded_values_bit_for_bit(array, form, precision):
    tensors = {"a": torch.from_numpy(array.copy()), "b.weight": sparse((5, 300), 0.02)}
    found = decode(encode(tensors, n_examples=7, form=form, precision=precision), like=tensors)
    assert found.n_examples == 7
    for name, tensor in tensors.items():
        expected = tensor.numpy().astype(precision).astype(np.float32) + np.float32(0)
        assert found.tensors[name].shape == tensor.shape
        assert np.array_equal(bits(found.tensors[name]), expected.view(np.uint32))


def test_lengths_are_what_the_layout_says():
    """Prefix 18, checksum 4, header, then positions and values, counted by hand."""
    tensor = torch.zeros(40, 100)
    tensor[3] = 1.0
    tensor[30, 5] = 2.0
    expected = {
        "dense": 4 * 4000,
        "bitmask": 4000 // 8 + 4 * 101,
        # 100 neighbours in row 3: the first at place 300 (two bytes), the others a byte each;
        # then place 3005, 2605 after place 399 (two bytes)
        "gaps": 2 + 99 + 2 + 4 * 101,
        "nodes": 2 + 4 * 200,
    }
    for form, size in expected.items():
        message = encode({"w": tensor}, n_examples=1, form=form)
        (header_size,) = struct.unpack_from("<I", message, 14)
        assert len(message) == 18 + header_size + size + 4
    auto = encode({"w": tensor}, n_examples=1)
    assert decode(auto).forms == {"w": "bitmask" if 500 < 103 else "gaps"}


@pytest.mark.parametrize(("density", "form"), [(0.9999, "dense"), (0.4, "bitmask"), (0.01, "gaps")])
def test_auto_takes_the_shortest(density, form):
    tensors = {"w": sparse((100, 200), density)}
    auto = encode(tensors, n_examples=1)
    assert decode(auto).forms["w"] == form
    assert len(auto) == min(len(encode(tensors, n_examples=1, form=form)) for form in FORMS)


def test_whole_rows_travel_as_nodes():
    tensor = torch.zeros(50, 80)
    tensor[[0, 17, 49]] = torch.randn(3, 80, generator=torch.Generator().manual_seed(0))
    message = encode({"w": tensor}, n_examples=1)
    assert decode(message).forms["w"] == "nodes"
    assert len(message) < 3 * 80 * 4 + 60


def test_float16_halves_the_values():
    tensors = {"w": sparse((200, 784), 0.1)}
    long = encode(tensors, n_examples=1, form="bitmask")
    short = encode(tensors, n_examples=1, form="bitmask", precision="float16")
    kept = int(tensors["w"].count_nonzero())
    assert len(long) - len(short) == 2 * kept


def test_every_single_byte_that_changes_is_noticed():
    tensors = {"w": sparse((6, 9), 0.3), "b": sparse((6,), 1.0)}
    message = encode(tensors, n_examples=3)
    for place in range(len(message)):
        altered = bytearray(message)
        altered[place] ^= 0x41
        with pytest.raises(DataIntegrityError, match="the message is damaged"):
            decode(bytes(altered))


def test_every_truncation_and_appendix_is_noticed():
    message = encode({"w": sparse((6, 9), 0.3)}, n_examples=3)
    for length in range(len(message)):
        with pytest.raises(DataIntegrityError, match="the message is damaged"):
            decode(message[:length])
    with pytest.raises(DataIntegrityError, match="the message is damaged"):
        decode(message + b"\0")


def forged(header, payload=b"", width=4, version=1):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = struct.pack("<4sBBQI", b"PFLU", version, width, 1, len(text)) + text + payload
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (forged(b"not json"), "header is not readable"),
        (forged(b"[" * 100_000), "header is not readable"),
        (forged([["w", [2**30], "gaps", 0, 0]]), "more than its bytes can mean"),
        (forged([[str(k), [2**23], "gaps", 0, 0] for k in range(9)]), "more than its bytes"),
        (forged([["w", [2**24], "bitmask", 0, 1]], bytes(1)), "bitmask of 'w' has 1 bytes"),
        (forged([["w", [2]]]), "header is not readable"),
        (forged([["w", [2], "zip", 2, 0]], bytes(8)), "describes 'w'"),
        (forged([["w", [-2], "dense", 2, 0]], bytes(8)), "describes 'w'"),
        (forged([["w", [2**20, 2**20], "gaps", 0, 0]]), "describes 'w'"),
        (forged([["w", [2], "dense", 2, 0]] * 2, bytes(16)), "names a tensor twice"),
        (forged([["w", [2], "dense", 3, 0]], bytes(12)), "has 3 values"),
        (forged([["w", [2], "dense", 2, 0]], bytes(4)), "ends within 'w'"),
        (forged([["w", [2], "dense", 2, 0]], bytes(9)), "1 bytes follow"),
        (forged([["w", [9], "bitmask", 0, 1]], bytes(1)), "bitmask of 'w' has 1 bytes"),
        (forged([["w", [9], "bitmask", 1, 2]], b"\0\1" + bytes(4)), "does not mark 1"),
        (forged([["w", [9], "gaps", 1, 1]], b"\x09" + bytes(4)), "no place 9"),
        (forged([["w", [9], "gaps", 1, 1]], b"\x89" + bytes(4)), "not 1 distances"),
        (forged([["w", [2, 2], "nodes", 1, 1]], b"\x02" + bytes(8)), "no place 2"),
        (forged([["w", [2], "dense", 2, 0]], bytes(16), width=8), "8 bytes instead"),
        (forged([["w", [2], "dense", 2, 0]], bytes(8), version=9), "version is 9"),
        (b"PK" + bytes(40), "begins with"),
        (b"", "has 0 bytes"),
    ],
)
def test_malformed_messages_with_a_right_checksum_are_named(message, what):
    with pytest.raises(DataIntegrityError, match=what):
        decode(message)


@given(st.binary(max_size=60), st.binary(max_size=40))
def test_no_forged_bytes_raise_anything_else(header, payload):
    with pytest.raises(DataIntegrityError):
        decode(forged(header or b"{", payload))


@pytest.mark.parametrize("other", [{"w": torch.zeros(3, 2)}, {"v": torch.zeros(2, 3)}, {}])
def test_a_message_of_another_model_is_refused(other):
    message = encode({"w": torch.zeros(2, 3)}, n_examples=1)
    with pytest.raises(DataIntegrityError, match=r"of another model: '[vw]'"):
        decode(message, like=other)


@pytest.mark.parametrize(
    ("tensor", "options", "message"),
    [
        (torch.tensor([1.0, float("nan")]), {}, "`w` of `encode` must be finite; got 1 NaN"),
        (torch.tensor([float("inf")]), {}, "finite"),
        (torch.tensor([1]), {}, "floating-point"),
        (torch.tensor([1e5]), {"precision": "float16"}, "range of float16"),
        (torch.tensor([1.0]), {"precision": "float8"}, "`precision`"),
        (torch.tensor([1.0]), {"form": "zip"}, "`form`"),
        (torch.tensor([1.0]), {"n_examples": -1}, "`n_examples`"),
    ],
)
def test_what_cannot_be_sent_is_named(tensor, options, message):
    with pytest.raises(InputError, match=message):
        encode({"w": tensor}, **({"n_examples": 1} | options))
