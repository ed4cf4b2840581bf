"""What a network is run on: the data of a job, and the example that it is called with."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunable import plugins
from prunable.data.loaders import Dataset
from prunable.data.own import is_own, load_own
from prunable.data.registry import REGISTRY
from prunable.data.transforms import flattened
from prunable.errors import InputError, require
from prunable.experiments.prune.specs import PruningJob
from prunable.experiments.train.networks import tensors_for
from prunable.files import read_arrays
from prunable.nets.models import ARCHITECTURE, NETS, stored_architecture, texts
from prunable.nets.models.hub import NET, drawn_inputs, is_hub_source
from prunable.nets.models.sources import input_shape_of, of_package
from prunable.nets.networks.examples import checked_run, mapped, on_device_of, scores_of, shapes_of
from prunable.nets.networks.inputs import (
    batch_of,
    batch_size_of,
    drawn_example,
    read_example,
    shape_of_text,
    tensors_of,
)
from prunable.nets.shrink.footprint import macs_of
from prunable.numerics.randomness import child_seed, rng
from prunable.runs.data import DataSpec

ENDINGS = (".pt", ".pth", ".npy", ".safetensors")  # of files of inputs alone
FILES = (".safetensors", ".pt", ".pth", ".bin")  # endings of single files
TOKENS_AT_ONCE = 4096  # that run through a language model
USUAL_BATCHES = (1, 256)
# Multiplications of a timed batch at most, where no batch size is asked for.
USUAL_MACS = 10**10


def data_for(
    source: str, net: str | None, metadata: Mapping[str, str], shape: tuple[int, ...] | None = None
) -> Dataset:
    """Load a registered data set, or the user's own, in the form that a checkpoint's network takes.

    Networks of the user's get examples as they are. See `network_of`, and `load_own` for the shape.
    """
    if net is None:
        pictures = ARCHITECTURE not in metadata or stored_architecture(metadata).pictures
    else:
        pictures = NETS[net].pictures if net in NETS else net != "mlp"
    if source not in REGISTRY and not is_own(source):
        names = (*REGISTRY, *plugins.added(plugins.DATA, REGISTRY))
        raise InputError(
            f"`data` {source} is no data set ({', '.join(names)}), and there is no such folder "
            "or the file is of another kind: check the path, or give MODULE:FUNCTION or a file "
            "ending in .npz."
        )
    if not is_own(source):
        return DataSpec.create(name=source).load(flatten=not pictures)
    data = load_own(source, shape=shape)
    return data if pictures else flattened(data)


def is_hub_job(job: PruningJob) -> bool:
    """Whether a job's network comes from a folder of transformers, or from GGUF.

    Without transformers a folder is taken for the weights that it holds.
    """
    if job.net is not None:
        return job.net == NET
    known = job.checkpoint.is_file() or find_spec("transformers") is not None
    return known and is_hub_source(job.checkpoint)


def writes_folder(job: PruningJob) -> bool:
    """Whether a job on a folder of transformers writes a folder again; InputError if it cannot."""
    if job.out is None or job.out.suffix in FILES:
        return False
    wanted = "a folder, or a file ending in .safetensors: GGUF is not written"
    require(job.out.suffix != ".gguf", "out", "prune", wanted, str(job.out))
    if job.storage != "dense":
        raise InputError(
            f"`--storage {job.storage}` of `prune` goes with a file ending in .safetensors, which "
            f"{job.out} is not: a folder for `from_pretrained` holds its zeros."
        )
    return True


def over_checkpoint(job: PruningJob) -> PruningJob:
    """The job that writes over its checkpoint; InputError if that is no file of safetensors."""
    if job.out is not None:
        raise InputError("`prune` takes either --out or --in-place. Leave one of them out.")
    if job.checkpoint.exists() and not (
        job.checkpoint.is_file() and job.checkpoint.suffix == ".safetensors"
    ):
        raise InputError(
            "`--in-place` of `prune` writes over one file ending in .safetensors, which "
            f"{job.checkpoint} is not. Give --out."
        )
    return job.model_copy(update={"out": job.checkpoint.resolve()})  # a link goes on to be one


def shape_asked(job: PruningJob) -> tuple[int, ...] | None:
    """The shape of one example that a job names; InputError if it is malformed or has no effect."""
    if job.input_shape is None:
        return None
    if job.example is not None:
        raise InputError("`--input-shape` of `prune` has no effect beside --example; give one.")
    if job.data is not None and not Path(job.data).is_dir():
        raise InputError(
            "`--input-shape` of `prune` has no effect beside --data, whose examples have a shape; "
            "give it for a folder of pictures, or without data."
        )
    return shape_of_text(job.input_shape)


def inputs_for(
    job: PruningJob, model: nn.Module, metadata: Mapping[str, str], data: Dataset | None
) -> tuple[Any, list[Any] | None]:
    """What to call a job's network with, tried on it, and the inputs that calibrate it, in batches.

    The first is from a file, of the data or of what calibrates, or drawn; the second is None if the
    job names none.

    Raises InputError if there is nothing to call it with, if it does not fit the network, or
    `gaussian` is asked of a network that takes no real numbers.
    """
    found = None
    if _gives_example(job, data):
        found = _calibrating(job, model, metadata)
    example = _example(job, model, metadata, data, found)
    return example, calibration_for(job, model, metadata, example, found)


def _gives_example(job: PruningJob, data: Dataset | None) -> bool:
    """Whether nothing but what calibrates a network of the user's says what it is called with."""
    said = job.example or job.input_shape or data or job.net is None or is_hub_job(job)
    inputs = job.calibrate not in (None, "gaussian") and not job.calibrates_tokens
    return inputs and not said


def _example(
    job: PruningJob,
    model: nn.Module,
    metadata: Mapping[str, str],
    data: Dataset | None,
    calibrating: Any,
) -> Any:
    count = max(job.batch_size or USUAL_BATCHES)
    if job.example is not None:
        example = read_example(job.example)
    elif data is not None:
        example = torch.from_numpy(data.x_test[:count].copy())
    elif job.input_shape is None and is_hub_job(job):
        example = drawn_inputs(model)
    elif calibrating is not None:
        example = batch_of(calibrating, 2)
    else:
        example = drawn_example(_shape(job, model, metadata), 2)
    example = on_device_of(model, example)
    try:
        checked_run(model.eval(), batch_of(example, 2))
    except InputError as error:
        if calibrating is not None and _cause(error):
            raise InputError(
                f"`--calibrate {job.calibrate}` of `prune`, of shape {shapes_of(example)}, does "
                f"not fit the model: {_cause(error)}. Give inputs that the network takes."
            ) from error
        if job.example is not None or data is None or not _cause(error):
            raise
        raise _misfit(job.data, data, error) from error
    if data is not None:
        _check_classes(model, data)
    return example


def _cause(error: InputError) -> str:
    return str(error).partition("does not fit the model: ")[2].removesuffix(".")


def _misfit(source: str | None, data: Dataset, error: InputError) -> InputError:
    """Blame data that a network cannot be run on."""
    shape = data.x_train.shape[1:]
    cause = _cause(error)
    last = len(shape) == 3 and shape[-1] in (1, 3, 4) and shape[0] not in (1, 3, 4)
    mend = "Give examples of the shape that the network takes, or another network."
    if last:
        mend = "The channels seem to be last: torch takes (channels, height, width)."
    return InputError(
        f"`data` {source}, of examples of shape {shape}, does not fit the model: {cause}. {mend}"
    )


def calibration_for(
    job: PruningJob, model: nn.Module, metadata: Mapping[str, str], example: Any, found: Any = None
) -> list[Any] | None:
    """The unlabelled inputs that a job names, in batches; `found` if they were read before."""
    source = job.calibrate
    if source is None:
        return None
    step = 32
    if job.calibrates_tokens:
        windows = _windows(job, model, source)
        # scores of all tokens take more room than everything else, and little reads them
        judged = job.allocation == "optimum" or (job.allocation == "atp" and job.slope is None)
        found = texts.calls_of(model, windows, scores=judged or job.only != ("*",))
        step = max(1, TOKENS_AT_ONCE // windows.shape[1])
    elif source == "gaussian":
        if not all(x.is_floating_point() for x in tensors_of(example)):
            raise InputError(
                "`--calibrate gaussian` of `prune` is for networks that take real numbers; this "
                "one takes others. Give a file of inputs, or `tokens` to a language model."
            )
        generator = torch.Generator().manual_seed(child_seed(job.seed, "calibrate"))
        wide = batch_of(example, job.calibrate_size)
        found = mapped(wide, lambda x: torch.randn(x.shape, generator=generator))
    elif found is None:
        found = _calibrating(job, model, metadata)
    count = batch_size_of(found)
    step = max(1, min(step, count // 4))

    def part(start: int) -> Any:
        return mapped(found, lambda x: x[start : start + step] if x.ndim and len(x) == count else x)

    return [part(start) for start in range(0, count, step)]


def _calibrating(job: PruningJob, model: nn.Module, metadata: Mapping[str, str]) -> Any:
    """The inputs of a file, or of data, that a job is calibrated with."""
    source = str(job.calibrate)
    if Path(source).suffix not in ENDINGS and not _holds_inputs(Path(source)):
        data = data_for(source, job.net, metadata, shape_asked(job))
        return drawn_from(model, data, job.calibrate_size, job.seed, "calibrate")
    found = read_example(Path(source))
    found = found["x"] if isinstance(found, Mapping) and set(found) == {"x"} else found
    found = batch_of(found, min(job.calibrate_size, batch_size_of(found)))
    if is_hub_job(job):
        _check_ids(model, found, source)
    return found


def _windows(job: PruningJob, model: nn.Module, source: str) -> torch.Tensor:
    """The first windows of a text, or tokens drawn by chance."""
    count, length = job.calibrate_size, job.calibrate_length
    if source == "tokens":
        seed = child_seed(job.seed, "calibrate")
        windows = texts.drawn_tokens(model, count, length, seed)
    else:
        tokenizer = texts.tokenizer_of(job.checkpoint, "prune")
        tokens = texts.tokens_of(tokenizer, source, "prune --calibrate")
        windows = texts.windows_of(tokens, length, count, where="prune --calibrate")
    texts.check_tokens(model, windows, "prune --calibrate")
    return windows


def _check_ids(model: nn.Module, inputs: Any, source: str) -> None:
    """Refuse tokens out of the vocabulary in what a language model is called with."""
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else inputs
    if isinstance(ids, torch.Tensor) and not ids.is_floating_point():
        texts.check_tokens(model, ids, f"prune --calibrate {source}")


def calibrated_with(job: PruningJob, calibration: list[Any]) -> dict[str, Any]:
    """What calibration inputs are, for the document of a job."""
    drawn = {"gaussian": "normal numbers, no data", "tokens": "random tokens, no data"}
    kind = "windows of a text" if job.calibrates_tokens else "inputs"
    return {
        "source": job.calibrate,
        "kind": drawn.get(str(job.calibrate), kind),
        "n_inputs": sum(batch_size_of(batch) for batch in calibration),
        "length": job.calibrate_length if job.calibrates_tokens else None,
        "in_order": job.in_order or job.towards == "network" or job.method == "calibrated",
    }


def _holds_inputs(path: Path) -> bool:
    """Whether a file holds inputs alone: as x, as tokens by their argument's name, or unnamed."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    names = set(read_arrays(path))
    return names == {"x"} or bool(names & {"input_ids", "arr_0"})


def drawn_from(model: nn.Module, data: Dataset, count: int, seed: int, what: str) -> torch.Tensor:
    """So many training inputs, or all; a set may be in the order of its classes."""
    x, *_ = tensors_for(data, model)
    chosen = rng(seed, what).permutation(len(x))[:count]
    return x[torch.from_numpy(chosen)]


def batch_sizes_for(job: PruningJob, model: nn.Module, example: Any) -> tuple[int, ...]:
    """Batch sizes to time: those asked for, else the usual ones, smaller for large networks."""
    if job.batch_size:
        return job.batch_size
    one, largest = USUAL_BATCHES
    macs = macs_of(model, batch_of(example, 1))[""]
    while largest > one and macs * largest > USUAL_MACS:
        largest //= 4
    return tuple(dict.fromkeys((one, largest)))


def _shape(job: PruningJob, model: nn.Module, metadata: Mapping[str, str]) -> tuple[int, ...]:
    if (shape := shape_asked(job)) is not None:
        return shape
    if job.net is None:
        return stored_architecture(metadata).shape
    if of_package(job.net) and (shape := input_shape_of(job.net)) is not None:
        return shape
    # a network that begins with a linear layer takes vectors of its inputs
    first = next((m for m in model.modules() if any(True for _ in m.parameters(False))), model)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    raise InputError(
        f"`prune` runs the network of {job.net}, and needs to know what it takes: give "
        "--input-shape such as 3,224,224, --example FILE, --data, or --calibrate with inputs."
    )


FROM_ZERO = "The first class is 0."


def _check_classes(model: nn.Module, data: Dataset) -> None:
    """Refuse data whose classes are not those that the network tells apart."""
    x = tensors_for(data, model)[2][:2]
    scores = scores_of(checked_run(model, x))
    classes = 1 + int(max(data.y_train.max(), data.y_test.max()))
    fits = isinstance(scores, torch.Tensor) and scores.ndim == 2 and scores.shape[1] >= classes
    shown = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
    wanted = f"data whose classes ({classes} here) the network gives scores of, (n, classes)"
    require(fits, "data", "prune", wanted, f"{data.name}, on which it gives {shown}", FROM_ZERO)
