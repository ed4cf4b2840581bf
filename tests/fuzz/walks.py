"""Files read as commands do: measured, pruned, loaded, forecast and gone on with."""

import io
import json
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from prunable.data import own
from prunable.errors import InputError
from prunable.forecast.advising import outcome_of
from prunable.nets.archive import open_archive
from prunable.nets.archive.safetensors_file import metadata_of
from prunable.nets.calibration.norms import read_norms
from prunable.nets.measure.measuring import measure
from prunable.nets.measure.watching import TailWatch
from prunable.nets.models.loading import network_of, read_weights
from prunable.nets.models.registry import Architecture, build
from prunable.nets.prune import in_order, shards
from prunable.nets.prune.layer_outputs import LayerOutput
from prunable.nets.prune.plan import Keep, LayerPlan, PruningPlan
from prunable.nets.prune.plan_file import PlanFile, read_plan, write_plan
from prunable.nets.prune.strategies import InputWeightedPruning, MagnitudePruning, NMPruning
from prunable.nets.prune.streaming import Streaming
from prunable.numerics.parallel import here


def checkpoint() -> bytes:
    """Layers, a convolution and a stack of experts, in three types."""
    torch.manual_seed(7)
    layer = "model.layers.0.mlp"
    weights = {
        f"{layer}.up_proj.weight": torch.randn(12, 8).bfloat16(),
        f"{layer}.experts.gate_up_proj": torch.randn(3, 8, 12).half(),
        f"{layer}.experts.down_proj": torch.randn(3, 6, 8).half(),
        f"{layer}.gate.weight": torch.randn(3, 8),
        "conv.weight": torch.randn(4, 3, 3, 3),
        "norm.bias": torch.ones(8),
    }
    return save(weights, {"format": "pt"})


def read_checkpoint(path: Path) -> None:
    """Measure it, and prune it as it lies."""
    measure(path, workers=1, spectrum="none")
    out = path.with_name("out.safetensors")
    for strategy, scope in (
        (MagnitudePruning(), "global"),
        (MagnitudePruning(allocation="lamp"), "global"),
        (NMPruning(2, 4), "layer"),
    ):
        with open_archive(path) as archive:
            if Streaming.serves(archive, strategy, metadata_of(path)):
                Streaming(archive, strategy, Keep(0.5, scope)).prune(out, metadata_of(path))


def norms() -> bytes:
    """Sizes of what flows into the layers of a checkpoint."""
    known = {"model.layers.0.mlp.up_proj.weight": torch.rand(1, 8), "other": torch.rand(4)}
    return save({**known, "conv.weight": torch.rand(1, 27)})


def read_norms_and_prune(path: Path) -> None:
    """Prune by them, layer by layer."""
    given, out = path.with_name("given.safetensors"), path.with_name("out.safetensors")
    given.write_bytes(checkpoint())
    with open_archive(given) as archive:
        known = read_norms(path)
        Streaming(archive, InputWeightedPruning(), Keep(0.5), norms=known).prune(out, {})


def trained() -> bytes:
    """A file of `prunable train`: weights, and the architecture they belong to."""
    kind = Architecture("two-layer", (6,), 3, 4)
    model = build(kind, generator=torch.Generator().manual_seed(0))
    return save(dict(model.state_dict()), kind.metadata())


def read_trained(path: Path) -> None:
    """Build the network around its weights."""
    tensors, metadata = read_weights(path)
    network_of(tensors, metadata)


def _network() -> nn.Module:
    torch.manual_seed(8)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()


def write_advice(path: Path) -> None:
    """A plan as `advise` writes it."""
    layer = LayerPlan("0.weight", (3, 4), "weight", np.arange(12) % 3 > 0, eps=0.1)
    chosen = {"accuracy": 0.9, "loss": 0.01, "low": 0.8, "high": 0.95}
    notes = {"chosen": chosen, "at_most_loss": 0.01, "accuracy": 0.91}
    buffers = {"1.running_mean": torch.full((3,), 0.5)}
    write_plan(path, PlanFile(PruningPlan("magnitude", Keep(0.5), (layer,)), buffers, notes))


def read_advice(path: Path) -> None:
    """Carry it out, and compare with what it foretold, as `check` does."""
    outcome_of(_network(), read_plan(path), torch.ones(5, 4), torch.arange(5) % 3).to_dict()


def _stopped(work, tasks):
    """Send the first task only, as a run does that is killed after it."""
    yield 0, work(tasks[0])
    raise InputError("killed")


def _shards(folder: Path) -> Path:
    torch.manual_seed(9)
    folder.mkdir(exist_ok=True)
    for name in "ab":
        (folder / f"{name}.safetensors").write_bytes(save({f"{name}.weight": torch.randn(6, 8)}))
    return folder


def _pruned(folder: Path, out: Path, spread=here) -> None:
    with open_archive(folder) as archive:
        Streaming(archive, MagnitudePruning(), Keep(0.5), spread=spread).prune(out, {})


def _left(folder: Path) -> Path:
    """The state of a pruning that was killed after its first shard."""
    with suppress(InputError):
        _pruned(_shards(folder / "in"), folder / "out", _stopped)
    return folder / ".out.unfinished" / shards.STATE


@cache
def state() -> bytes:
    """What a killed pruning of shards says of those that are done."""
    with tempfile.TemporaryDirectory() as folder:
        return json.dumps(json.loads(_left(Path(folder)).read_bytes())["done"]).encode()


def read_state(path: Path) -> None:
    """Go on with a pruning that was killed."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        left = _left(Path(folder))
        mark = json.dumps(json.loads(left.read_bytes())["mark"]).encode()
        left.write_bytes(b'{"mark": ' + mark + b', "done": ' + path.read_bytes() + b"}")
        _pruned(Path(folder) / "in", Path(folder) / "out")


def write_stage(path: Path) -> None:
    """A layer that was pruned in its turn."""
    kept = np.arange(12) % 3 > 0
    layer = LayerPlan("w", (3, 4), "weight", kept, eps=0.1, values=np.ones((3, 4)))
    plan = PruningPlan("obs", Keep(0.5), (layer,))
    output = LayerOutput("w", 0.1, 0.2, 0.3)
    in_order._Store(path.parent, "job").save(0, in_order.Done(plan, (output,), ("x",)))
    (path.parent / "0000.safetensors").replace(path)


def read_stage(path: Path) -> None:
    """Go on after it."""
    in_order._Store(path.parent, "job").load(0)


def job() -> bytes:
    """What pruning in turn is of."""
    return json.dumps({"job": "job", "counts": {"w": 3}}).encode()


def kept_scores() -> bytes:
    """What a network said, kept by `--store`."""
    stream = io.BytesIO()
    np.savez(stream, scores=np.ones((3, 2), np.float32), left=np.array([0.5, 0.25]))
    return stream.getvalue()


def examples() -> bytes:
    """Data of a user's own."""
    stream = io.BytesIO()
    np.savez(stream, x=np.ones((6, 4), np.float32), y=np.arange(6) % 3)
    return stream.getvalue()


def picture() -> bytes:
    """One of a folder of pictures."""
    stream = io.BytesIO()
    Image.fromarray(np.arange(108, dtype=np.uint8).reshape(6, 6, 3)).save(stream, "PNG")
    return stream.getvalue()


def read_picture(path: Path) -> None:
    """As data, in a folder a class."""
    for name in ("one", "two"):
        place = path.parent / "pictures" / name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    own.load_own(str(path.parent / "pictures"))


def tails() -> bytes:
    """Rows of a watch on tails."""
    stream = io.BytesIO()
    row = {"step": 3, "layer": "weight", "verdict": "x", "alpha": 1.5, "kappa": 0.5}
    pq.write_table(pa.Table.from_pylist([row, {**row, "step": 6}]), stream)
    return stream.getvalue()


def read_tails(path: Path) -> None:
    """Watch on."""
    torch.manual_seed(10)
    watch = TailWatch(path, every=5, spectrum=False)
    watch.step(nn.Linear(8, 8), 5)


def quantisation() -> bytes:
    """What the config beside packed weights says of them."""
    config = {"quant_method": "gptq", "bits": 4, "group_size": 16, "checkpoint_format": "gptq"}
    given = {"quantization_config": {**config, "weight_block_size": [8, 8]}, "model_type": "llama"}
    return json.dumps(given).encode()
