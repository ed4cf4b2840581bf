"""Every format that the package reads: a whole file of it, damage to it, and its reader."""

import hashlib
import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load, save_file
from tests.fuzz import walks
from tests.fuzz.mutating import damaged_bytes, damaged_json, damaged_safetensors, joined, split
from tests.property import test_archive_fuzz as archives
from tests.reproduction_documents import table_item
from tests.unit.certify.test_code_file import network
from torch import nn

import prunable.verify_certificate as verifier
from prunable.certify.code_file import decode_network, encode_network
from prunable.data import own
from prunable.experiments.reproduce.document import load_documents
from prunable.files import read_arrays, read_json
from prunable.forecast import stored
from prunable.nets.archive import open_archive
from prunable.nets.archive.packed import unpacked
from prunable.nets.federated.message import decode, encode
from prunable.nets.measure.measuring import measure
from prunable.nets.models.hub import is_hub_source
from prunable.nets.models.registry import stored_architecture
from prunable.nets.networks.inputs import read_example
from prunable.nets.prune import in_order
from prunable.nets.prune.mask_file import load_masks, save_masks
from prunable.nets.prune.plan import Keep, LayerPlan, PruningPlan, plan_from_json, plan_to_json
from prunable.nets.prune.sparse_file import load_sparse, save_sparse
from prunable.nets.prune.tickets import Ticket, load_ticket, save_ticket
from prunable.nets.shrink.export import load_exported, save_exported
from prunable.nets.train.checkpoint import TrainingState
from prunable.numerics.measure.documents import measurement_from
from prunable.numerics.measure.network import Measurement
from prunable.report.measure.html import render_measurement
from prunable.report.measure.tables import print_result
from prunable.report.reproduce.pages import item_markdown
from prunable.report.reproduce.panels import item_views
from prunable.report.reproduce.writing import render_index
from prunable.sketch.file import load_sketches, save_sketches

Rng = np.random.Generator


@dataclass(frozen=True)
class Format:
    """`whole` gives a file, `damage` a mutant of it; `read` must succeed or refuse in our words."""

    whole: Callable[[], bytes]
    damage: Callable[[bytes, Rng], bytes]
    read: Callable[[Path], Any]
    name: str = "m"


def _written(write: Callable[[Path], Any]) -> Callable[[], bytes]:
    """The bytes that a writer leaves."""

    @cache
    def whole() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.safetensors"
            write(path)
            return path.read_bytes()

    return whole


def _tensors(sparse: bool = True) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    found = {"a.weight": torch.randn(24, 20), "b.weight": torch.randn(30, 6).half()}
    if sparse:
        for x in found.values():
            x[torch.rand(x.shape) < 0.95] = 0
    return {**found, "bias": torch.ones(3)}


# what each format's content is


def _mask(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2)) < 0.3


def _ticket(path: Path) -> None:
    masks = {"a.weight": _mask(5, 7), "b.weight": _mask(3, 3)}
    save_ticket(path, Ticket(masks, seed=3, rewind_step=2, shares=(0.8, 0.5)))


def _masks(path: Path) -> None:
    save_masks(path, {"a.weight": _mask(5, 7), "b.weight": _mask(3, 3)})


def _model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.LSTM(6, 4), nn.Linear(4, 2))


def _exported(path: Path) -> None:
    model = _model()
    with torch.no_grad():
        model[0].weight[torch.rand(6, 8) < 0.9] = 0
    save_exported(path, model)


def _running(kind: type[torch.optim.Optimizer] = torch.optim.Adam) -> TrainingState:
    torch.manual_seed(4)
    model = nn.Linear(4, 3)
    optimizer = kind(model.parameters(), lr=0.1)
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    return TrainingState(model, optimizer)


def _state(path: Path) -> None:
    _running().save(path, {"step": 3, "losses": [0.5, 0.25]})


def _load_state(path: Path) -> None:
    _running().load(path)


def _plan() -> bytes:
    kept = np.arange(12) % 3 > 0
    unit = LayerPlan("u", (4, 6), "unit", np.arange(4) > 1, eps=0.2, fill=None)
    return plan_to_json(
        PruningPlan("magnitude", Keep(0.5), (LayerPlan("w", (3, 4), "weight", kept, eps=0.1), unit))
    ).encode()


def _message() -> bytes:
    return encode({name: x.float() for name, x in _tensors().items()}, n_examples=7)


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((3, 4), np.float32), y=np.arange(3))
    return stream.getvalue()


def _npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((3, 4), np.float32))
    return stream.getvalue()


@cache
def _example() -> bytes:
    stream = io.BytesIO()
    torch.save({"x": torch.ones(2, 3), "mask": torch.zeros(2, 3)}, stream)
    return stream.getvalue()


def _index() -> bytes:
    names = archives.valid("safetensors")
    found = [name for name in split(names)[0] if name != "__metadata__"]
    document = {"metadata": {"total_size": 100}, "weight_map": dict.fromkeys(found, "shard.bin")}
    return json.dumps(document).encode()


@cache
def _measurement() -> bytes:
    torch.manual_seed(5)
    return json.dumps(
        measure(nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 30))).to_dict()
    ).encode()


def _certificate() -> bytes:
    part = {"n": 3, "errors": 1, "bound": 0.5, "sha256": "00", "data": "own train"}
    said = {"meaning": "m", "file": "c", "sha256": "00", "bits": 8, "delta": 0.05, "test": part}
    notes = {"model": "net", "settings": {"data": {"name": "digits"}}, "random_labels": None}
    document = {"format": verifier.FORMATS[0], "statement": {**said, "train": part}, "notes": notes}
    return json.dumps(document).encode()


# damage


def _as_json(content: bytes, rng: Rng) -> bytes:
    if rng.random() < 0.25:
        return damaged_bytes(content, rng)
    return damaged_json(json.loads(content), rng)


def _in_safetensors(*texts: str, seal: Callable[[bytes], bytes] | None = None) -> Any:
    return partial(damaged_safetensors, texts=texts, seal=seal)


def _digested(content: bytes) -> bytes:
    """Give a file of a document and tensors the digest that it would have."""
    try:
        header, numbers = split(content)
        tensors, text = load(content), header["__metadata__"]["document"]
        digest = hashlib.blake2b(text.encode(), digest_size=16)
        for name in sorted(tensors):
            x = tensors[name]
            digest.update(f"\n{name} {x.dtype} {tuple(x.shape)}\n".encode())
            digest.update(x.flatten().view(torch.uint8).numpy().data)
        header["__metadata__"]["digest"] = digest.hexdigest()
    except Exception:  # no longer such a file
        return content
    return joined(json.dumps(header).encode(), numbers)


def _sketch_sealed(content: bytes) -> bytes:
    try:
        header, numbers = split(content)
        text = header["__metadata__"]["sketch"].encode()
        header["__metadata__"]["digest"] = hashlib.blake2b(text, digest_size=16).hexdigest()
    except Exception:  # no longer such a file
        return content
    return joined(json.dumps(header).encode(), numbers)


def _summed(content: bytes, rng: Rng) -> bytes:
    """Damage a message and, mostly, give it the checksum and header length that fit."""
    size = int.from_bytes(content[14:18], "little")
    head, text, rest = content[:14], content[18 : 18 + size], content[18 + size : -4]
    if rng.random() < 0.6:
        text = damaged_json(json.loads(text), rng)
    else:
        rest = damaged_bytes(rest, rng)
    body = head + len(text).to_bytes(4, "little") + text + rest
    return body + zlib.crc32(body).to_bytes(4, "little")


def _in_zip(content: bytes, rng: Rng) -> bytes:
    """Damage to a zip file, or to one of its entries in a whole one."""
    if rng.random() < 0.4:
        return damaged_bytes(content, rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(stream, "w") as new:
        names = whole.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            inside = whole.read(name)
            new.writestr(name, damaged_bytes(inside, rng) if name == chosen else inside)
    return stream.getvalue()


# readers


def _read_archive(path: Path) -> None:
    with open_archive(path) as archive:
        for tensor in archive.tensors:
            assert tensor.load().shape == tensor.shape


def _read_index(path: Path) -> None:
    (path.parent / "shard.bin").write_bytes(archives.valid("safetensors"))
    _read_archive(path)


def _read_plan(path: Path) -> None:
    plan_from_json(path.read_bytes().decode("utf-8", "replace"))


def _read_measurement(path: Path) -> None:
    found = measurement_from(read_json(path))
    if isinstance(found, Measurement):
        render_measurement(found)
        print_result(found, Console(file=io.StringIO()))


def _read_item(path: Path) -> None:
    folder = path.parent / "items"
    folder.mkdir(exist_ok=True)
    (folder / "m.json").write_bytes(path.read_bytes())
    for document in load_documents(path.parent):
        item_views(document)
        render_index([document])
        item_markdown(document)


def _read_certificate(path: Path) -> None:
    try:
        verifier.read_document(path)
    except (ValueError, OSError):  # the verifier's own words; it knows no class of the package
        return


def _read_architecture(path: Path) -> None:
    with path.open("rb") as stream:
        text = stream.read(100_000_000)  # the longest header of safetensors, which holds it
    stored_architecture({"architecture": text.decode("utf-8", "replace")})


def _packed(path: Path) -> None:
    rng = np.random.default_rng(6)
    words = rng.integers(2**31, size=(4, 16), dtype=np.int32)
    parts = {"qweight": words, "qzeros": words[:2, :2].copy(), "g_idx": np.arange(32) // 16}
    found = {f"up.{part}": torch.from_numpy(x.astype(np.int32)) for part, x in parts.items()}
    scaled = {"down.weight": torch.ones(16, 16).to(torch.float8_e4m3fn)}
    scales = {"up.scales": torch.ones(2, 16).half(), "down.weight_scale": torch.ones(16, 1)}
    save_file(found | scaled | scales, path)


def _read_packed(path: Path) -> None:
    with open_archive(path) as archive:
        for tensor in unpacked(archive).tensors:
            assert tensor.load().shape == tensor.shape


def _read_quantised(path: Path) -> None:
    packed = path.parent / "packed.safetensors"
    packed.write_bytes(_written(_packed)())
    measure(packed, workers=1, spectrum="none")


def _archive(kind: str) -> Format:
    damage = _in_zip if kind == "torch" else damaged_bytes
    if kind == "safetensors":
        damage = _in_safetensors()
    return Format(partial(archives.valid, kind), damage, _read_archive, f"m{archives.SUFFIX[kind]}")


FORMATS = {
    **{kind: _archive(kind) for kind in archives.KINDS if kind != "pickle"},
    "packed": Format(_written(_packed), _in_safetensors(), _read_packed, "m.safetensors"),
    "index": Format(_index, _as_json, _read_index, "m.index.json"),
    "ticket": Format(_written(_ticket), _in_safetensors("document", seal=_digested), load_ticket),
    "masks": Format(_written(_masks), _in_safetensors("document", seal=_digested), load_masks),
    "bitmask": Format(
        _written(lambda path: save_sparse(path, _tensors())), _in_safetensors("shapes"), load_sparse
    ),
    "sketch": Format(
        _written(lambda path: save_sketches(path, _tensors(), asked=lambda name: name != "bias")),
        _in_safetensors("sketch", seal=_sketch_sealed),
        load_sketches,
    ),
    "exported": Format(_written(_exported), _in_safetensors("manifest", "shapes"), load_exported),
    "training state": Format(_written(_state), _in_safetensors("training_state"), _load_state),
    "plan": Format(_plan, _as_json, _read_plan),
    "message": Format(_message, _summed, lambda path: decode(path.read_bytes())),
    "code": Format(
        lambda: encode_network(network()),
        damaged_bytes,
        lambda path: decode_network(path.read_bytes()),
    ),
    "certificate": Format(_certificate, _as_json, _read_certificate),
    "measurement": Format(_measurement, _as_json, _read_measurement),
    "item": Format(lambda: json.dumps(table_item()).encode(), _as_json, _read_item),
    "arrays": Format(_npz, _in_zip, read_arrays, "m.npz"),
    "array": Format(_npy, damaged_bytes, read_arrays, "m.npy"),
    "example": Format(_example, _in_zip, read_example, "m.pt"),
    "architecture": Format(
        lambda: b'{"name": "fcn4", "shape": [4], "n_outputs": 3}', _as_json, _read_architecture
    ),
    "config": Format(
        lambda: json.dumps({"model_type": "gpt2", "architectures": ["GPT2Model"]}).encode(),
        _as_json,
        lambda path: is_hub_source(path.parent),
        "config.json",
    ),
    "quantisation": Format(walks.quantisation, _as_json, _read_quantised, "config.json"),
    "checkpoint": Format(
        walks.checkpoint, _in_safetensors(), walks.read_checkpoint, "m.safetensors"
    ),
    "norms": Format(walks.norms, _in_safetensors(), walks.read_norms_and_prune, "m.safetensors"),
    "trained": Format(
        walks.trained, _in_safetensors("architecture"), walks.read_trained, "m.safetensors"
    ),
    "advice": Format(_written(walks.write_advice), _as_json, walks.read_advice),
    "shards": Format(walks.state, _as_json, walks.read_state),
    "stage": Format(
        _written(walks.write_stage),
        _in_safetensors("outputs", "unreached"),
        walks.read_stage,
        "0000.safetensors",
    ),
    "stages": Format(
        walks.job, _as_json, lambda path: in_order._Store(path.parent, "job"), "job.json"
    ),
    "scores": Format(walks.kept_scores, _in_zip, stored._read, "m.npz"),
    "examples": Format(walks.examples, _in_zip, lambda path: own.load_own(str(path)), "m.npz"),
    "picture": Format(walks.picture, damaged_bytes, walks.read_picture, "m.png"),
    "tails": Format(walks.tails, damaged_bytes, walks.read_tails, "m.parquet"),
}
