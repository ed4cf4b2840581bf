"""GGUF: every tensor as the package's own reader has it, and nothing beyond the file."""

import gguf
import numpy as np
import pytest

import prunable
from prunable.errors import DataIntegrityError, UnsupportedModelError
from prunable.nets.archive import open_archive

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
