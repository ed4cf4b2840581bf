"""Checkpoints of every format are listed and read tensor by tensor, or refused in one sentence."""

import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prunable.errors import DataIntegrityError, InputError, UnsupportedModelError
from prunable.nets.archive import open_archive

LEGACY = {"_use_new_zipfile_serialization": False}
LAYERS = {"first.weight": torch.arange(6.0).reshape(2, 3), "first.bias": torch.tensor([1.5, -2.0])}


def read(path, **options):
    with open_archive(path, **options) as archive:
        return {tensor.name: tensor.load() for tensor in archive.tensors}


def same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), strict=True)


def saved(path, content, **options):
    torch.save(content, path, **options)
    return path


def safetensors_bytes(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# All formats ---------------------------------------------------------------------------------

# Stored bits of 1, -2, 0.75, the largest finite number and the smallest positive one, with the
# values that the definitions of the formats give.
NARROW = {
    "bfloat16": (
        np.array([0x3F80, 0xC000, 0x3F40, 0x7F7F, 0x0001], "<u2"),
        [1, -2, 0.75, (2 - 2**-7) * 2.0**127, 2.0**-133],
    ),
    "float16": (
        np.array([0x3C00, 0xC000, 0x3A00, 0x7BFF, 0x0001], "<u2"),
        [1, -2, 0.75, 65504, 2.0**-24],
    ),
    "float8_e4m3fn": (np.array([0x38, 0xC0, 0x34, 0x7E, 0x01], "u1"), [1, -2, 0.75, 448, 2.0**-9]),
    "float8_e5m2": (np.array([0x3C, 0xC0, 0x3A, 0x7B, 0x01], "u1"), [1, -2, 0.75, 57344, 2.0**-16]),
}
CODES = {"bfloat16": "BF16", "float16": "F16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}


def narrow_file(tmp_path, kind, dtype):
    bits = NARROW[dtype][0]
    if kind == "safetensors":
        path = tmp_path / "m.safetensors"
        entry = {"dtype": CODES[dtype], "shape": [5], "data_offsets": [0, bits.nbytes]}
        path.write_bytes(safetensors_bytes({"w": entry}, bits.tobytes()))
        return path
    if kind == "onnx":
        onnx = pytest.importorskip("onnx")
        code = dtype.upper().replace("_", "")
        tensor = onnx.TensorProto(
            name="w", dims=[5], data_type=getattr(onnx.TensorProto, code), raw_data=bits.tobytes()
        )
        return onnx_file(tmp_path, [], [tensor])
    tensor = torch.from_numpy(bits.view("i2" if bits.itemsize == 2 else "i1"))
    return saved(tmp_path / "m.pt", {"w": tensor.view(getattr(torch, dtype))})


@pytest.mark.parametrize("kind", ["safetensors", "torch", "onnx"])
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_floats_come_exact_as_float32(tmp_path, kind, dtype):
    with open_archive(narrow_file(tmp_path, kind, dtype)) as archive:
        (tensor,) = archive.tensors
        assert (tensor.name, tensor.shape, tensor.dtype) == ("w", (5,), dtype)
        expected = np.array(NARROW[dtype][1])
        assert tensor.load().dtype == np.float32
        np.testing.assert_array_equal(tensor.load().astype(np.float64), expected)


@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy"])
def test_other_types_and_shapes_come_as_they_are(tmp_path, kind):
    numbers = torch.tensor([[0, 1], [3, 100]])
    types = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
    tensors = {name: numbers.to(getattr(torch, name)) for name in types}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}
    path = tmp_path / "m.bin"
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, **(LEGACY if kind == "legacy" else {}))
    with open_archive(path) as archive:
        assert archive.path == path
        assert (archive.format, archive.ordered) == (
            ("safetensors", False) if kind == "safetensors" else ("torch", True)
        )
        assert archive.skipped == ()
        stored = {tensor.name: tensor for tensor in archive.tensors}
        assert all(stored[name].dtype == name for name in types)
        assert all(stored[name].shape == tuple(tensors[name].shape) for name in tensors)
        assert all(t.consumer is None and not t.transposed for t in archive.tensors)
        same({name: stored[name].load() for name in tensors}, tensors)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_loaded_arrays_share_nothing(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(LAYERS, path)
    before = path.read_bytes()
    with open_archive(path) as archive:
        tensor = next(t for t in archive.tensors if t.name == "first.weight")
        array = tensor.load()
        array[:] = -1
        np.testing.assert_array_equal(tensor.load(), LAYERS["first.weight"].numpy())
    assert path.read_bytes() == before
    assert (array == -1).all()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_ten_thousand_tensors(tmp_path, suffix):
    tensors = {f"layer.{i}.weight": torch.full((1, 2), float(i)) for i in range(10_000)}
    path = tmp_path / f"m.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(tensors, path)
    found = read(path)
    assert len(found) == 10_000
    assert all(found[name][0, 1] == tensor[0, 1] for name, tensor in tensors.items())


@pytest.mark.parametrize("kind", ["safetensors", "torch", "legacy"])
def test_content_tells_the_format_not_the_suffix(tmp_path, kind):
    for suffix in ("safetensors", "pt", "onnx", "weights"):
        path = tmp_path / f"{kind}.{suffix}"
        if kind == "safetensors":
            save_file(LAYERS, path)
        else:
            torch.save(LAYERS, path, **(LEGACY if kind == "legacy" else {}))
        found = read(path)
        same({name: found[name] for name in LAYERS}, LAYERS)


@pytest.mark.parametrize("length", [0x80 + 256, 0x80 + 512, 0x4B50, 0x3C, 0x08 + 256])
def test_a_safetensors_header_may_have_any_length(tmp_path, length):
    # Lengths whose bytes begin like a pickle, a zip file, a web page and an ONNX file.
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).ljust(length).encode()
    assert len(text) == max(length, len(json.dumps(header)))
    path = tmp_path / "weights"
    path.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<f", 2.5))
    assert read(path)["w"].tolist() == [2.5]


def test_errors_of_the_reader_of_an_archive_pass(tmp_path):
    path = saved(tmp_path / "m.pt", LAYERS)
    with pytest.raises(ZeroDivisionError), open_archive(path):
        _ = 1 / 0


# Paths ---------------------------------------------------------------------------------------


def test_paths_without_weights_are_named(tmp_path):
    (tmp_path / "empty.pt").touch()
    with pytest.raises(DataIntegrityError, match=r"empty\.pt is empty"):
        read(tmp_path / "empty.pt")
    with pytest.raises(DataIntegrityError, match=r"absent\.pt is missing"):
        read(tmp_path / "absent.pt")
    with pytest.raises(InputError, match="cannot read"):
        read("a\0b")
    with pytest.raises(InputError, match="cannot read"):
        read("x" * 5000)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        read(tmp_path / "pipe.pt")


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "m.pt", LAYERS)

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"m\.pt: permission denied"):
        read(path)


@pytest.mark.parametrize(
    ("start", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"nothing that anybody knows", "no known format"),
    ],
)
def test_files_taken_for_weights_are_recognised(tmp_path, start, match):
    (tmp_path / "model.weights").write_bytes(start)
    with pytest.raises(DataIntegrityError, match=match):
        read(tmp_path / "model.weights")


# Safetensors ---------------------------------------------------------------------------------


def test_damaged_safetensors_are_named(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file(LAYERS, path)
    whole = path.read_bytes()
    outside = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4000]}}
    damages = {
        "truncated": whole[:-3],
        "within the header": whole[:20],
        "within the length": whole[:5],
        "header longer than the file": struct.pack("<Q", 10**6) + whole[8:],
        "absurd header": struct.pack("<Q", 2**63) + whole[8:],
        "flipped header": whole[:10] + bytes([whole[10] ^ 0xFF]) + whole[11:],
        "offsets outside": safetensors_bytes(outside, bytes(8)),
    }
    for content in damages.values():
        path.write_bytes(content)
        with pytest.raises(DataIntegrityError, match=r"m\.safetensors"):
            read(path)


def test_safetensors_without_numbers_to_read(tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"w": torch.ones(2), "z": torch.tensor([1 + 2j])}, path)
    with open_archive(path) as archive:
        assert [tensor.name for tensor in archive.tensors] == ["w"]
        ((name, reason),) = archive.skipped
        assert name == "z"
        assert "complex64" in reason
    save_file({}, path)
    with pytest.raises(DataIntegrityError, match="holds no tensors"):
        read(path)


# Shards and folders --------------------------------------------------------------------------


def sharded(folder, kind):
    suffix = "safetensors" if kind == "safetensors" else "bin"
    stem = "model" if kind == "safetensors" else "pytorch_model"
    weight_map = {}
    for number, (name, tensor) in enumerate(LAYERS.items(), 1):
        shard = f"{stem}-0000{number}-of-00002.{suffix}"
        (save_file if kind == "safetensors" else torch.save)({name: tensor}, folder / shard)
        weight_map[name] = shard
    index = folder / f"{stem}.{suffix}.index.json"
    # Writers sort the names; the order of the model is that of the shards.
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, sort_keys=True))
    return index, weight_map


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_shards_are_joined(tmp_path, kind):
    index, _ = sharded(tmp_path, kind)
    for path in (index, tmp_path):
        with open_archive(path) as archive:
            assert (archive.format, archive.ordered) == (kind, kind == "torch")
            assert archive.path == path
            found = {tensor.name: tensor.load() for tensor in archive.tensors}
        if kind == "torch":
            same(found, LAYERS)
        same({name: found[name] for name in LAYERS}, LAYERS)


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_incomplete_shards_are_named(tmp_path, kind):
    index, weight_map = sharded(tmp_path, kind)
    first, second = weight_map.values()
    index.write_text(json.dumps({"weight_map": weight_map | {"first.extra": first}}))
    with pytest.raises(DataIntegrityError, match=r"first\.extra") as caught:
        read(index)
    assert first in str(caught.value)
    index.write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / second).unlink()
    with pytest.raises(DataIntegrityError, match="missing") as caught:
        read(tmp_path)
    assert second in str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
@pytest.mark.parametrize("shard", ["../x", "/etc/passwd", "sub/x", "..", ".", "", 7, "a\0b"])
def test_shards_stay_in_their_folder(tmp_path, kind, shard):
    save_file(LAYERS, tmp_path / "x")
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    save_file(LAYERS, folder / "sub" / "x")
    index, weight_map = sharded(folder, kind)
    index.write_text(json.dumps({"weight_map": weight_map | {"first.bias": shard}}))
    with pytest.raises(DataIntegrityError, match=r"index\.json"):
        read(index)


@pytest.mark.parametrize("name", ["a" * 5000, "é" * 200])
def test_shards_whose_name_no_file_can_have(tmp_path, name):
    index, weight_map = sharded(tmp_path, "safetensors")
    weight_map |= dict.fromkeys(weight_map, name)
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(DataIntegrityError, match=r"index\.json") as caught:
        read(index)
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', "[" * 10**5, "\xff"]
)
def test_malformed_index_is_named(tmp_path, text):
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataIntegrityError, match=r"index\.json"):
        read(index)


def test_folder_prefers_safetensors(tmp_path):
    with pytest.raises(DataIntegrityError, match=r"holds no weights; looked for .*\.safetensors"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    saved(tmp_path / "pytorch_model.bin", {"torch": torch.ones(1)})
    assert list(read(tmp_path)) == ["torch"]
    save_file({"part": torch.ones(1)}, tmp_path / "a.safetensors")
    assert list(read(tmp_path)) == ["part"]
    save_file({"other": torch.ones(1)}, tmp_path / "b.safetensors")
    assert sorted(read(tmp_path)) == ["other", "part"]
    save_file({"whole": torch.ones(1)}, tmp_path / "model.safetensors")
    assert list(read(tmp_path)) == ["whole"]


def test_folder_leaves_no_doubt(tmp_path):
    for name in ("a.pt", "b.pth"):
        saved(tmp_path / name, LAYERS)
    with pytest.raises(InputError, match=r"a\.pt, b\.pth"):
        read(tmp_path)
    for name in ("a.safetensors", "b.safetensors"):
        save_file(LAYERS, tmp_path / name)
    with pytest.raises(DataIntegrityError, match=r"first\.(weight|bias)"):
        read(tmp_path)


# Torch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, LEGACY])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state", "model_state_dict"])
def test_training_checkpoint_yields_the_model(tmp_path, options, wrapper):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 3,
        wrapper: OrderedDict(LAYERS),
        "optimizer_state_dict": optimizer.state_dict(),
        "losses": [0.5] * 1000,
    }
    path = saved(tmp_path / "m.ckpt", content, **options)
    same(read(path), LAYERS)
    with open_archive(path) as archive:
        skipped = dict(archive.skipped)
    assert len(archive.skipped) == 3  # one entry for the losses, not one a number
    assert "int" in skipped["epoch"]
    assert any(n.startswith("optimizer_state_dict") and "optimizer" in skipped[n] for n in skipped)


def test_nested_mappings_keep_what_tells_them_apart(tmp_path):
    content = {"actor": {"w": torch.ones(1)}, "model": {"w": torch.zeros(2)}}
    path = saved(tmp_path / "m.pt", content)
    same(read(path), {"actor.w": torch.ones(1), "model.w": torch.zeros(2)})


def test_names_are_unique(tmp_path):
    content = {"a": {"b": torch.zeros(1)}, "a.b": torch.ones(1), "c": torch.ones(2)}
    path = saved(tmp_path / "m.pt", content)
    with open_archive(path) as archive:
        names = [tensor.name for tensor in archive.tensors]
        assert len(set(names)) == 3
        assert [float(t.load().sum()) for t in archive.tensors] == [0, 1, 2]


def test_bare_tensors(tmp_path):
    with open_archive(saved(tmp_path / "m.pt", torch.arange(3))) as archive:
        assert [tensor.load().tolist() for tensor in archive.tensors] == [[0, 1, 2]]
    path = saved(tmp_path / "m.pt", [torch.ones(1), torch.zeros(2)])
    same(read(path), {"0": torch.ones(1), "1": torch.zeros(2)})


def test_views_and_shared_tensors(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    content = {"turned": whole.T, "part": whole[1:, ::2], "tied": whole, "again": whole}
    path = saved(tmp_path / "m.pt", content)
    same(read(path), {name: tensor.contiguous() for name, tensor in content.items()})


@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_numbers_are_skipped(tmp_path):
    # Building the quantised and sparse tensors warns; reading them is checked to be silent below.
    content = {
        "plain": torch.ones(2),
        "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.ones(2, device="meta"),
        "complex": torch.tensor([1j]),
        "none": None,
    }
    path = saved(tmp_path / "m.pt", content)
    with open_archive(path) as archive:
        assert [tensor.name for tensor in archive.tensors] == ["plain"]
        skipped = dict(archive.skipped)
    assert sorted(skipped) == sorted(set(content) - {"plain"})
    assert all(skipped.values())


def test_file_without_tensors_says_what_it_holds(tmp_path):
    path = saved(tmp_path / "m.pt", {"epoch": 3})
    with pytest.raises(DataIntegrityError, match=r"m\.pt holds no tensors.*epoch"):
        read(path)


def test_objects_that_contain_themselves_end(tmp_path):
    loop = {"w": torch.ones(1)}
    loop["self"] = loop
    bomb = [torch.zeros(1)]
    for _ in range(60):  # 2 ** 60 leaves, for a reader that follows every path
        bomb = [bomb, bomb]
    found = read(saved(tmp_path / "m.pt", {"loop": loop, "bomb": bomb}))
    assert "loop.w" in found


class Saboteur:
    """Creates a folder when it is unpickled."""

    def __init__(self, path, by_text=False):
        self.path, self.by_text = str(path), by_text

    def __reduce__(self):
        if self.by_text:
            return exec, (f"import os; os.mkdir({self.path!r})",)
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("options", [{}, LEGACY])
@pytest.mark.parametrize(("by_text", "culprit"), [(True, "exec"), (False, "posix.mkdir")])
def test_pickled_code_does_not_run(tmp_path, options, by_text, culprit):
    victim = tmp_path / "it_ran"
    content = {"w": torch.ones(2), "config": Saboteur(victim, by_text)}
    path = saved(tmp_path / "m.pt", content, **options)
    with pytest.raises(InputError, match="--unpickle") as caught:
        read(path)
    assert not victim.exists()
    assert culprit in str(caught.value)
    assert "\n" not in str(caught.value)
    # The file is as dangerous as it claims to be: with the user's word it runs.
    assert list(read(path, unpickle=True)) == ["w"]
    assert victim.exists()


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_whole_modules_need_trust(tmp_path, options):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    path = saved(tmp_path / "m.pt", module, **options)
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.container\.Sequential"):
        read(path)
    same(read(path, unpickle=True), module.state_dict())
    path = saved(tmp_path / "n.pt", {"model": module, "epoch": 1}, **options)
    same(read(path, unpickle=True), module.state_dict())


def test_class_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Saboteur, "__reduce__", object.__reduce__)
    monkeypatch.setattr(Saboteur, "__module__", "a_package_of_theirs")
    monkeypatch.setitem(sys.modules, "a_package_of_theirs", sys.modules[__name__])
    path = saved(tmp_path / "m.pt", {"w": torch.ones(2), "config": Saboteur(1)})
    monkeypatch.delitem(sys.modules, "a_package_of_theirs")
    with pytest.raises(InputError, match="a_package_of_theirs"):
        read(path, unpickle=True)


def test_newer_pickle_protocol_needs_trust(tmp_path):
    path = saved(tmp_path / "m.pt", LAYERS, pickle_protocol=4)
    with pytest.raises(InputError, match="--unpickle"):
        read(path)
    same(read(path, unpickle=True), LAYERS)


def test_plain_pickle_is_no_torch_file(tmp_path):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"w": Saboteur(tmp_path / "it_ran")}))
    for unpickle in (False, True):
        with pytest.raises(UnsupportedModelError, match=r"m\.pkl is a Python pickle"):
            read(path, unpickle=unpickle)
    assert not (tmp_path / "it_ran").exists()


def add(zipped, name, content, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(zipped, "a", method) as bundle:
        bundle.writestr(name, content)


def test_programs_are_refused(tmp_path):
    path = saved(tmp_path / "m.pt", LAYERS)
    # What distinguishes a TorchScript file; torch.jit.save itself is deprecated.
    add(path, "m/constants.pkl", b"\x80\x02).")
    add(path, "m/code/__torch__.py", "x = 1")
    for unpickle in (False, True):
        with pytest.raises(UnsupportedModelError, match=r"state_dict.*safetensors"):
            read(path, unpickle=unpickle)


def test_other_zip_files_are_refused(tmp_path):
    np.savez(tmp_path / "m.npz", w=np.ones(2))
    with pytest.raises(UnsupportedModelError, match=r"m\.npz is a zip file"):
        read(tmp_path / "m.npz")


def test_compressed_zip_is_refused(tmp_path):
    # Mapped into memory, compressed numbers would be read as if they were plain.
    path = saved(tmp_path / "m.pt", {"w": torch.zeros(1000)})
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as bundle:
        for name in bundle.namelist():
            add(packed, name, bundle.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataIntegrityError, match=r"packed\.pt is a compressed zip"):
        read(packed)


@pytest.mark.parametrize("options", [{}, LEGACY])
def test_truncated_torch_files_are_named(tmp_path, options):
    path = saved(tmp_path / "m.pt", {"w": torch.ones(1000)}, **options)
    whole = path.read_bytes()
    for length in (3, 20, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises((DataIntegrityError, UnsupportedModelError), match=r"m\.pt"):
            read(path)


def test_shape_larger_than_the_file_is_refused(tmp_path):
    # A pickled shape of (2, 3) made (2, 255): torch itself would grow the storage.
    path = saved(tmp_path / "m.pt", {"w": torch.arange(6.0).reshape(2, 3)}, **LEGACY)
    whole = path.read_bytes()
    assert whole.count(b"K\x02K\x03\x86") == 1
    path.write_bytes(whole.replace(b"K\x02K\x03\x86", b"K\x02K\xff\x86"))
    with pytest.raises(DataIntegrityError, match=r"m\.pt"):
        read(path)


# ONNX ----------------------------------------------------------------------------------------


def initial(name, array):
    return pytest.importorskip("onnx").numpy_helper.from_array(np.asarray(array), name)


def node(op, inputs, outputs, **attributes):
    onnx = pytest.importorskip("onnx")
    return onnx.helper.make_node(op, inputs, outputs, **attributes)


def graph(nodes, initializers=(), name="g"):
    onnx = pytest.importorskip("onnx")
    return onnx.helper.make_graph(nodes, name, [], [], initializers)


def onnx_file(folder, nodes, initializers, name="m.onnx"):
    onnx = pytest.importorskip("onnx")
    path = folder / name
    path.write_bytes(onnx.helper.make_model(graph(nodes, initializers)).SerializeToString())
    return path


MATRIX = np.arange(6, dtype=np.float32).reshape(2, 3)


def seen(path):
    with open_archive(path) as archive:
        assert (archive.format, archive.ordered) == ("onnx", True)
        return {t.name: (t.consumer, t.transposed) for t in archive.tensors}


def test_consumers_and_orientation(tmp_path):
    nodes = [
        node("MatMul", ["x", "right"], ["1"]),
        node("MatMul", ["left", "1"], ["2"]),
        node("Gemm", ["2", "b", "c"], ["3"]),
        node("Gemm", ["3", "b_turned"], ["4"], transB=1),
        node("Conv", ["4", "kernel"], ["5"]),
        node("LSTM", ["5", "w", "r"], ["6"]),
        node("Gather", ["table", "6"], ["7"]),
        node("Transpose", ["kept"], ["t1"]),
        node("MatMul", ["7", "t1"], ["8"]),
        node("Identity", ["twice"], ["t2"]),
        node("Transpose", ["t2"], ["t3"], perm=[1, 0]),
        node("Transpose", ["t3"], ["t4"], perm=[1, 0]),
        node("MatMul", ["8", "t4"], ["9"]),
        node("DequantizeLinear", ["quantised", "scale"], ["q"]),
        node("MatMul", ["9", "q"], ["10"]),
        node("Gather", ["tied", "10"], ["11"]),
        node("Transpose", ["tied"], ["t5"]),
        node("MatMul", ["11", "t5"], ["12"]),
    ]
    # Orientation by computing: a weight of shape (out, in) is stored turned where the product
    # x @ weight is the layer itself.
    expected = {
        "right": ("MatMul", True),
        "left": ("MatMul", False),
        "b": ("Gemm", True),
        "c": ("Gemm", False),
        "b_turned": ("Gemm", False),
        "kernel": ("Conv", False),
        "w": ("LSTM", False),
        "r": ("LSTM", False),
        "table": ("Gather", False),
        "kept": ("MatMul", False),
        "twice": ("MatMul", True),
        "quantised": ("MatMul", True),
        "scale": ("DequantizeLinear", False),
        "tied": ("MatMul", False),
        "idle": (None, False),
    }
    tensors = [
        initial(name, np.int8(MATRIX) if name == "quantised" else MATRIX) for name in expected
    ]
    path = onnx_file(tmp_path, nodes, tensors)
    assert seen(path) == expected
    with open_archive(tmp_path) as archive:
        assert archive.path == tmp_path
        assert {t.dtype for t in archive.tensors} == {"float32", "int8"}
        for tensor in archive.tensors:
            np.testing.assert_array_equal(tensor.load(), MATRIX)


def test_constants_and_subgraphs(tmp_path):
    onnx = pytest.importorskip("onnx")

    def branch(value):
        inner = [node("MatMul", ["x", "w"], ["y"]), node("Conv", ["y", "outer"], ["z"])]
        return graph(inner, [initial("w", MATRIX + value)])

    nodes = [
        node("Constant", [], ["matrix"], value=initial("", MATRIX)),
        node("Constant", [], ["shape"], value=initial("", np.arange(3))),
        node("Gemm", ["x", "matrix"], ["g"], transB=1),
        node("If", ["condition"], ["out"], then_branch=branch(10), else_branch=branch(20)),
    ]
    path = onnx_file(tmp_path, nodes, [initial("outer", MATRIX), initial("w", MATRIX)])
    found = seen(path)
    assert len(found) == 5
    assert found["outer"] == ("Conv", False)  # read inside the branches only
    assert found["matrix"] == ("Gemm", False)
    assert found["w"] == (None, False)  # the outer one; each branch reads its own
    inner = [use for name, use in found.items() if name not in ("outer", "matrix", "w")]
    assert inner == [("MatMul", True), ("MatMul", True)]
    sums = sorted(float(array.sum()) for array in read(path).values())
    assert sums == [15, 15, 15, 75, 135]
    assert onnx.load(path).graph.node[3].op_type == "If"


def test_onnx_entries_without_numbers_are_skipped(tmp_path):
    onnx = pytest.importorskip("onnx")
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    text = onnx.helper.make_tensor("text", onnx.TensorProto.STRING, [1], [b"a"])
    model = onnx.helper.make_model(
        graph(nodes, [initial("w", MATRIX), text, initial("z", np.array([[1j]]))])
    )
    sparse = onnx.helper.make_sparse_tensor(
        initial("sparse", np.ones(1, np.float32)), initial("at", np.array([3])), [10]
    )
    model.graph.sparse_initializer.append(sparse)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with open_archive(path) as archive:
        assert [tensor.name for tensor in archive.tensors] == ["w"]
        assert sorted(name for name, _ in archive.skipped) == ["sparse", "text", "z"]


def test_packed_integers(tmp_path):
    onnx = pytest.importorskip("onnx")
    # Two numbers a byte, the first in the low half: 1, -2, 7.
    tensor = onnx.TensorProto(
        name="w", dims=[3], data_type=onnx.TensorProto.INT4, raw_data=b"\xe1\x07"
    )
    path = onnx_file(tmp_path, [], [tensor])
    assert read(path)["w"].tolist() == [1, -2, 7]


def external(folder, location, name="m.onnx", length=None, offset=0):
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="w", dims=MATRIX.shape, data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset)}
    entries |= {"length": str(length)} if length is not None else {}
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return onnx_file(folder, [node("MatMul", ["x", "w"], ["y"])], [tensor], name)


def test_external_data(tmp_path):
    (tmp_path / "m.data").write_bytes(b"12345678" + MATRIX.tobytes() + b"more")
    path = external(tmp_path, "m.data", offset=8, length=MATRIX.nbytes)
    np.testing.assert_array_equal(read(path)["w"], MATRIX)
    assert seen(path) == {"w": ("MatMul", True)}
    for wrong in ({"offset": 80}, {"length": 5}, {"offset": -4}, {"offset": "x"}):
        with pytest.raises(DataIntegrityError, match=r"m\.onnx"):
            read(external(tmp_path, "m.data", **wrong))
    with pytest.raises(DataIntegrityError, match=r"absent\.data"):
        read(external(tmp_path, "absent.data"))


def test_external_data_stay_in_the_folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(MATRIX.tobytes())
    (folder / "link").symlink_to(secret)
    for location in ("../secret", str(secret), "sub/../../secret", "link", ""):
        with pytest.raises(DataIntegrityError, match="outside its own folder"):
            read(external(folder, location))


def test_external_data_beside_what_a_link_leads_to(tmp_path):
    # Download caches keep links to files that lie side by side under other names.
    store, view = tmp_path / "store", tmp_path / "view"
    store.mkdir()
    view.mkdir()
    (store / "1").write_bytes(MATRIX.tobytes())
    external(store, "m.data", name="2")
    (view / "m.onnx").symlink_to(store / "2")
    (view / "m.data").symlink_to(store / "1")
    np.testing.assert_array_equal(read(view / "m.onnx")["w"], MATRIX)


def test_damaged_onnx_is_named(tmp_path):
    path = onnx_file(tmp_path, [], [initial("w", MATRIX)])
    whole = path.read_bytes()
    for content in (whole[:-3], whole[: len(whole) // 2], b"\x08", b"\xff" * 50):
        path.write_bytes(content)
        with pytest.raises(DataIntegrityError, match=r"m\.onnx"):
            read(path)
    onnx = pytest.importorskip("onnx")
    for dims in ([-1], [4, 4], [2**62, 2**62]):
        tensor = onnx.TensorProto(
            name="w", dims=dims, data_type=onnx.TensorProto.FLOAT, raw_data=bytes(24)
        )
        with pytest.raises(DataIntegrityError, match=r"'w'.*m\.onnx|m\.onnx.*'w'"):
            read(onnx_file(tmp_path, [], [tensor]))


def test_onnx_needs_its_package(tmp_path, monkeypatch):
    path = onnx_file(tmp_path, [], [initial("w", MATRIX)])
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"prunable\[onnx\]"):
        read(path)
