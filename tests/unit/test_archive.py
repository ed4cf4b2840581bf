"""Every format of model file, whole and damaged."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.archive import open_archive

STATE = {
    "first.weight": torch.arange(12.0).view(3, 4),
    "first.bias": torch.ones(3),
    "second.weight": torch.arange(6.0).view(2, 3).double(),
}


def contents(path, **options):
    with open_archive(path, **options) as archive:
        return {t.name: t.load() for t in archive.tensors}


def assert_state(path, **options):
    found = contents(path, **options)
    assert set(found) == set(STATE)
    for name, value in STATE.items():
        np.testing.assert_array_equal(found[name], value.numpy())


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "m.safetensors")
    assert_state(tmp_path / "m.safetensors")
    with open_archive(tmp_path / "m.safetensors") as archive:
        assert archive.format == "safetensors"
        assert not archive.ordered
        assert {t.name: (t.shape, t.dtype) for t in archive.tensors}["second.weight"] == (
            (2, 3), "float64",
        )  # fmt: skip


def test_told_by_content(tmp_path):
    save_file(STATE, tmp_path / "no_suffix")
    torch.save(STATE, tmp_path / "strange.weights")
    assert_state(tmp_path / "no_suffix")
    assert_state(tmp_path / "strange.weights")


def test_a_tensor_can_be_loaded_again(tmp_path):
    save_file(STATE, tmp_path / "m.safetensors")
    with open_archive(tmp_path / "m.safetensors") as archive:
        tensor = archive.tensors[0]
        first = tensor.load()
        np.testing.assert_array_equal(first, tensor.load())


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.bool,
     torch.int64, torch.uint8],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_types(tmp_path, dtype, suffix):
    value = torch.tensor([[0.0, 1.0, 2.0], [0.5, 4.0, 1.0]]).to(dtype)
    state = {"w": value, "number": torch.tensor(3.0), "empty": torch.zeros(0, 3)}
    path = tmp_path / f"m.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    found = contents(path)
    expected = value.float() if value.is_floating_point() else value
    np.testing.assert_array_equal(found["w"], expected.numpy())
    assert found["w"].dtype == (np.float32 if value.is_floating_point() else expected.numpy().dtype)
    assert found["number"].shape == ()
    assert found["empty"].shape == (0, 3)


def shard(tmp_path, names=("a.safetensors", "b.safetensors")):
    save_file({"first.weight": STATE["first.weight"], "first.bias": STATE["first.bias"]},
              tmp_path / names[0])  # fmt: skip
    save_file({"second.weight": STATE["second.weight"]}, tmp_path / names[1])
    weight_map = {"second.weight": names[1], "first.weight": names[0], "first.bias": names[0]}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def test_shards(tmp_path):
    index = shard(tmp_path)
    assert_state(index)
    assert_state(tmp_path)
    with open_archive(index) as archive:
        assert archive.tensors[0].name == "second.weight"


@pytest.mark.parametrize(
    "outside", ["../b.safetensors", "/etc/passwd", "x/y.safetensors", "..", ""]
)
def test_shards_lie_beside_their_index(tmp_path, outside):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": outside}}))
    with pytest.raises(DataIntegrityError, match="beside their index"):
        contents(index)


def test_missing_shards_and_tensors_are_named(tmp_path):
    index = shard(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(DataIntegrityError, match=r"b\.safetensors is missing.*second\.weight"):
        contents(index)
    save_file({"other": torch.ones(1)}, tmp_path / "b.safetensors")
    with pytest.raises(DataIntegrityError, match=r"lacks the tensor second\.weight"):
        contents(index)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": 3}'])
def test_broken_index(tmp_path, text):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(DataIntegrityError, match=r"index\.json"):
        contents(index)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state"])
def test_torch_files(tmp_path, legacy, wrapper):
    path = tmp_path / "m.pth"
    content = STATE if wrapper is None else {
        wrapper: STATE, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(3, 4)}}},
    }  # fmt: skip
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    assert_state(path)
    with open_archive(path) as archive:
        assert archive.ordered
        assert [t.name for t in archive.tensors] == list(STATE)
        if wrapper:
            assert dict(archive.skipped).keys() == {"epoch", "optimizer"}


def test_torch_bare_tensors(tmp_path):
    torch.save(torch.ones(2, 2), tmp_path / "one.pt")
    assert list(contents(tmp_path / "one.pt")) == ["tensor"]
    torch.save([torch.ones(2, 2), torch.zeros(3)], tmp_path / "list.pt")
    assert list(contents(tmp_path / "list.pt")) == ["0", "1"]
    torch.save({"layer": {"weight": torch.ones(2)}}, tmp_path / "deep.pt")
    assert list(contents(tmp_path / "deep.pt")) == ["weight"]


def test_torch_tensors_without_plain_values(tmp_path):
    torch.save(
        {"w": torch.ones(2, 2), "sparse": torch.eye(3).to_sparse(), "c": torch.ones(2) * 1j,
         "meta": torch.ones(2, device="meta")},
        tmp_path / "m.pt",
    )  # fmt: skip
    with open_archive(tmp_path / "m.pt") as archive:
        assert [t.name for t in archive.tensors] == ["w"]
        reasons = dict(archive.skipped)
    assert "sparse" in reasons["sparse"]
    assert "complex" in reasons["c"]
    assert "meta" in reasons["meta"]


def test_torch_shards(tmp_path):
    torch.save({k: v for k, v in STATE.items() if "first" in k}, tmp_path / "a.bin")
    torch.save({"second.weight": STATE["second.weight"]}, tmp_path / "b.bin")
    weight_map = {k: "a.bin" if "first" in k else "b.bin" for k in STATE}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_state(tmp_path)
    torch.save({}, tmp_path / "b.bin")
    with pytest.raises(DataIntegrityError, match=r"lacks the tensor second\.weight"):
        contents(tmp_path)


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_does_not_run(tmp_path, legacy):
    trace = tmp_path / "ran"
    torch.save({"w": torch.ones(2, 2), "x": Bomb(trace)}, tmp_path / "m.pt",
               _use_new_zipfile_serialization=not legacy)  # fmt: skip
    with pytest.raises(InputError, match=r"would run code.*--unpickle"):
        contents(tmp_path / "m.pt")
    assert not trace.exists()
    assert "w" in contents(tmp_path / "m.pt", unpickle=True)
    assert trace.exists()


def test_plain_pickle_does_not_run(tmp_path):
    trace = tmp_path / "ran"
    (tmp_path / "m.pt").write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises((InputError, DataIntegrityError)):
        contents(tmp_path / "m.pt")
    assert not trace.exists()


def test_pickled_module(tmp_path):
    torch.save(torch.nn.Linear(4, 3), tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear.*would run code"):
        contents(tmp_path / "m.pt")
    assert set(contents(tmp_path / "m.pt", unpickle=True)) == {"weight", "bias"}


def test_torchscript_is_refused(tmp_path):
    torch.save(STATE, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt", "a") as archive:
        archive.writestr("m/code/__torch__.py", "")
    with pytest.raises(UnsupportedModelError, match="TorchScript"):
        contents(tmp_path / "m.pt")


def test_folders(tmp_path):
    with pytest.raises(DataIntegrityError, match="holds no weights; looked for"):
        contents(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataIntegrityError, match="holds no weights"):
        contents(tmp_path)
    torch.save(STATE, tmp_path / "a.pt")
    assert_state(tmp_path)
    torch.save(STATE, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"several models \(a\.pt, b\.pth\); name one"):
        contents(tmp_path)
    save_file(STATE, tmp_path / "model.safetensors")
    assert_state(tmp_path)
    save_file({"another": torch.ones(2)}, tmp_path / "other.safetensors")
    assert_state(tmp_path)


def test_folder_of_parts(tmp_path):
    shard(tmp_path).unlink()
    assert_state(tmp_path)
    save_file({"first.bias": torch.ones(3)}, tmp_path / "c.safetensors")
    with pytest.raises(DataIntegrityError, match=r"repeats the tensor first\.bias"):
        contents(tmp_path)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(DataIntegrityError, match="is missing"):
        contents(tmp_path / "none.safetensors")
    (tmp_path / "empty.safetensors").touch()
    with pytest.raises(DataIntegrityError, match="is empty"):
        contents(tmp_path / "empty.safetensors")
    (tmp_path / "text.txt").write_text("these are not the weights")
    with pytest.raises(DataIntegrityError, match="no safetensors, torch or ONNX file"):
        contents(tmp_path / "text.txt")


def test_damaged_safetensors(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(STATE, path)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    for damaged in (
        whole[:-1],
        whole[: 8 + header],
        whole[:20],
        whole[:3],
        (2**40).to_bytes(8, "little") + whole[8:],
        (2**63).to_bytes(8, "little") + whole[8:],
        whole[:8] + b"x" + whole[9:],
        whole.replace(b'"F32"', b'"F99"', 1),
        whole.replace(b"[3,4]", b"[9,9]", 1),
    ):
        path.write_bytes(damaged)
        with pytest.raises(DataIntegrityError, match=r"m\.safetensors"):
            contents(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_torch_files(tmp_path, legacy):
    path = tmp_path / "m.pt"
    torch.save(STATE, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataIntegrityError, match=r"m\.pt"):
            contents(path)


onnx = pytest.importorskip("onnx")


def model(nodes, initializers, outputs=("y",), inputs=("x",)):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(i, kind, None) for i in inputs],
        [helper.make_tensor_value_info(o, kind, None) for o in outputs], initializers,
    )  # fmt: skip
    return helper.make_model(graph)


def initializer(name, array):
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def test_onnx(tmp_path):
    node = onnx.helper.make_node
    a, b, c, e = (np.arange(n * m, dtype=np.float32).reshape(n, m)
                  for n, m in ((3, 4), (4, 5), (5, 6), (7, 3)))  # fmt: skip
    constant = onnx.helper.make_node("Constant", [], ["k"], value=initializer("k", c))
    graph = model(
        [
            node("Gather", ["table", "x"], ["g"]),
            node("MatMul", ["g", "a"], ["m"]),
            node("Gemm", ["m", "b"], ["n"], transB=1),
            constant,
            node("Transpose", ["k"], ["kt"]),
            node("MatMul", ["n", "kt"], ["y"]),
        ],
        [initializer("table", e), initializer("a", a), initializer("b", b),
         initializer("half", np.ones((2, 2), np.float16)), initializer("text", np.array(["s"]))],
    )  # fmt: skip
    onnx.save(graph, tmp_path / "m.onnx")
    with open_archive(tmp_path / "m.onnx") as archive:
        found = {t.name: t for t in archive.tensors}
        assert archive.ordered
        assert [(found[n].consumer, found[n].transposed) for n in ("table", "a", "b", "k")] == [
            ("Gather", False), ("MatMul", True), ("Gemm", False), ("MatMul", False),
        ]  # fmt: skip
        np.testing.assert_array_equal(found["k"].load(), c)
        assert found["half"].load().dtype == np.float32
        assert dict(archive.skipped) == {"text": "text"}


def test_onnx_branches_and_clashing_names(tmp_path):
    node = onnx.helper.make_node
    bodies = [
        onnx.helper.make_graph(
            [node("MatMul", ["x", "w"], ["o"])], "b", [],
            [onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)],
            [initializer("w", np.full((2, 2), value, np.float32))],
        )
        for value in (1, 2)
    ]  # fmt: skip
    graph = model(
        [node("If", ["x"], ["y"], then_branch=bodies[0], else_branch=bodies[1])],
        [initializer("w", np.zeros((2, 2), np.float32))],
    )
    onnx.save(graph, tmp_path / "m.onnx")
    found = contents(tmp_path / "m.onnx")
    assert {name: value[0, 0] for name, value in found.items()} == {"w": 0, "w#2": 2, "w#3": 1}


def test_onnx_values_in_other_files(tmp_path):
    node = onnx.helper.make_node
    values = np.arange(4000, dtype=np.float32).reshape(40, 100)
    graph = model([node("MatMul", ["x", "w"], ["y"])], [initializer("w", values)])
    onnx.save(graph, tmp_path / "m.onnx", save_as_external_data=True, location="m.data")
    np.testing.assert_array_equal(contents(tmp_path / "m.onnx")["w"].ravel(), np.arange(4000.0))
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(DataIntegrityError, match="tensor w"):
        contents(tmp_path / "m.onnx")
    loaded = onnx.load(str(tmp_path / "m.onnx"), load_external_data=False)
    loaded.graph.initializer[0].external_data[0].value = "../secret"
    (tmp_path / "m.onnx").write_bytes(loaded.SerializeToString())
    with pytest.raises(DataIntegrityError, match="outside its own folder"):
        contents(tmp_path / "m.onnx")


def test_damaged_onnx(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x01garbage" * 20)
    with pytest.raises(DataIntegrityError, match=r"m\.onnx"):
        contents(path)


def test_onnx_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    (tmp_path / "m.onnx").write_bytes(b"\x08\x01")
    with pytest.raises(InputError, match=r"prunable\[onnx\]"):
        contents(tmp_path / "m.onnx")
