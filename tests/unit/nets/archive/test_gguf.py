"""GGUF: every tensor as the package's own reader has it, and nothing beyond the file."""

import struct

import gguf
import numpy as np
import pytest

import prunable
from prunable.errors import DataIntegrityError, UnsupportedModelError
from prunable.nets.archive import open_archive
from prunable.nets.models.texts import tokenizer_of

QUANTISED = ("Q4_0", "Q4_1", "Q8_0", "BF16")


@pytest.fixture
def path(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_array("tokenizer.ggml.tokens", [f"token {place}" for place in range(50)])
    writer.add_float64("number", 0.5)
    matrix = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    writer.add_tensor("token_embd.weight", matrix)
    writer.add_tensor("plain.weight", matrix)
    writer.add_tensor("half.weight", matrix.astype(np.float16))
    writer.add_tensor("steps", np.arange(3, dtype=np.int32))
    writer.add_tensor("cube", matrix.reshape(2, 3, 64))
    for name in QUANTISED:
        kind = gguf.GGMLQuantizationType[name]
        writer.add_tensor(f"{name}.weight", gguf.quantize(matrix, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "m.gguf"


def test_tensors_are_those_of_the_package(path):
    theirs = {t.name: t for t in gguf.GGUFReader(path).tensors}
    with open_archive(path) as archive:
        assert archive.format == "gguf"
        ours = {t.name: t for t in archive.tensors}
        assert list(ours) == list(theirs)
        assert ours["cube"].shape == (2, 3, 64)
        assert ours["half.weight"].dtype == "float16"
        assert ours["BF16.weight"].dtype == "bfloat16"
        assert ours["steps"].load().tolist() == [0, 1, 2]
        for name in ("plain.weight", "half.weight", "cube", *(f"{n}.weight" for n in QUANTISED)):
            other = theirs[name]
            expected = gguf.dequantize(other.data, other.tensor_type)
            np.testing.assert_array_equal(ours[name].load(), expected.reshape(ours[name].shape))


def test_it_is_measured_from_a_file_and_a_folder(path):
    for place in (path, path.parent):
        layers = {layer.name: layer for layer in prunable.measure(place).layers}
        assert layers["Q4_0.weight"].shape == (6, 64)
        assert layers["token_embd.weight"].kind == "embedding"


def test_what_is_cut_off_or_claims_too_much_is_damaged(path, tmp_path):
    whole = path.read_bytes()
    cut = tmp_path / "cut.gguf"
    for content in (
        whole[:-40],
        whole[:30],
        b"GGUF" + whole[4:8] + (2**60).to_bytes(8, "little") + whole[16:],
        whole[:16] + (2**60).to_bytes(8, "little") + whole[24:],
    ):
        cut.write_bytes(content)
        with pytest.raises(DataIntegrityError, match=r"cut\.gguf"), open_archive(cut):
            pass
    cut.write_bytes(b"GGUF" + (9).to_bytes(4, "little") + whole[8:])
    with pytest.raises(UnsupportedModelError, match="version 9"), open_archive(cut):
        pass


def text(content):
    return struct.pack("<Q", len(content)) + content


def by_hand(*tensors, settings=(), shape=(64, 4)):
    """A file of float32 tensors, given as (name, offset), by the specification; 2048 bytes."""
    found = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings)) + b"".join(settings)
    for name, offset in tensors:
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        found += text(name) + sizes + struct.pack("<IQ", 0, offset)
    return found + bytes(-len(found) % 32) + np.arange(512, dtype="<f4").tobytes()


def alignment(value, kind=4, form="I"):
    return text(b"general.alignment") + struct.pack(f"<I{form}", kind, value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (by_hand((b"a", 0), (b"b", 0)), "a and b overlap"),
        (by_hand((b"b", 992), (b"a", 0)), "a and b overlap"),
        (by_hand((b"a", 0), (b"b", 1056)), "b reaches beyond"),
        (by_hand((b"a", 2**64 - 64)), "a reaches beyond"),
        (by_hand((b"a", 0), (b"b", 1028)), "b does not begin at a multiple of 32"),
        (by_hand((b"a", 0), (b"a", 1024)), "two tensors have one name"),
        (by_hand((b"a", 0), settings=[alignment(0)]), "an alignment of 0"),
        (by_hand((b"a", 0), settings=[alignment(48)]), "an alignment of 48"),
        (by_hand((b"a", 0), settings=[alignment(32.0, 6, "f")]), r"an alignment of 32\.0"),
        (by_hand((b"a", 0), settings=[alignment(32), alignment(8)]), "alignment stands twice"),
        (by_hand((b"a", 0), shape=(0, 2**63)), "has the shape"),
        (
            by_hand((b"a", 0), settings=[text(b"x") + struct.pack("<IIQ", 9, 8, 2**23)])
            + bytes(2**26),
            "an array of 8,388,608 texts",
        ),
    ],
)
def test_what_the_format_does_not_allow_is_damaged(tmp_path, content, says):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(DataIntegrityError, match=says), open_archive(tmp_path / "m.gguf"):
        pass


def test_what_is_damaged_is_refused_before_others_look_for_a_tokenizer(tmp_path):
    (tmp_path / "m.gguf").write_bytes(by_hand((b"a", 0), (b"b", 0)))
    with pytest.raises(DataIntegrityError, match="a and b overlap"):
        tokenizer_of(tmp_path / "m.gguf", "evaluate")


def test_tensors_lie_in_any_order_with_gaps(tmp_path):
    nested = text(b"x") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQI", 4, 1, 7)
    settings = [alignment(64), nested]
    content = by_hand((b"b", 1024), (b"a", 0), settings=settings, shape=(32, 2))
    whole = content[:-2048] + bytes(-(len(content) - 2048) % 64) + content[-2048:]
    (tmp_path / "m.gguf").write_bytes(whole)
    with open_archive(tmp_path / "m.gguf") as archive:
        found = {tensor.name: tensor.load().ravel().tolist() for tensor in archive.tensors}
    assert found == {"b": [*range(256, 320)], "a": [*range(64)]}
