"""Folders of transformers: networks read from them and written back, their tokenizers kept."""

import inspect
import math
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunable.errors import DataIntegrityError, InputError, PrunableError, UnsupportedModelError
from prunable.extras import extra
from prunable.files import parse_json, staged
from prunable.nets.archive import open_archive
from prunable.nets.archive.folder import check_inside
from prunable.nets.archive.gguf_file import is_gguf
from prunable.nets.models.hub_config import fitting_configs, further_layers, misfit_of
from prunable.nets.models.torch_extras import torch_extra
from prunable.nets.networks.equality import largest_difference, tensors_in, within_rounding
from prunable.nets.networks.examples import checked_run, evaluating, on_device_of
from prunable.numerics.randomness import child_seed
from prunable.results import Result

NET = "hub"  # the `net` that says that a path is a source of transformers
CONFIG = "config.json"
LARGEST_SHARD = "5GB"
TOKENS = 16  # of a drawn text
# Files of weights, which are written anew; everything else beside them is kept.
WEIGHTS = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".h5",
    ".msgpack",
    ".onnx",
    ".gguf",
    ".index.json",
)
# Names of the files that are kept: those of tokenizers, of generation, of what prepares inputs.
KEPT = (
    "*token*",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "*chat_template*",
    "README*",
    "LICENSE*",
)


@dataclass(frozen=True)
class FolderResult(Result):
    """What a folder holds that `from_pretrained` reads.

    `changed`: settings of the config that describe the new shapes; none if they are the old ones.
    `max_difference`: between the outputs of the network in memory and of the one read back.
    """

    path: Path
    bytes: int
    changed: dict[str, int]
    kept: tuple[str, ...]
    max_difference: float


def is_hub_source(path: Path | str) -> bool:
    """Whether a path is a folder with the config of a network of transformers, or a GGUF file."""
    path = Path(path)
    return _config_of(path) is not None or (path.is_file() and is_gguf(path))


def _config_of(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json((path / CONFIG).read_bytes())
    except (OSError, ValueError):
        return None
    known = isinstance(found, dict) and {"model_type", "architectures"} & found.keys()
    return found if known else None


def load_folder(
    path: Path | str, where: str = "load", *, converted: Path | str | None = None
) -> nn.Module:
    """Load a network of transformers from a folder or a GGUF file, in evaluation mode.

    Its class is the first of the config's `architectures` that transformers has, else that of
    AutoModel; of GGUF it is that of a language model. The dtype is the one that most numbers are
    stored in, of quantised GGUF float32. Nothing is fetched, unpickled or run from the folder.
    With `converted`, a folder for what is stored in another form, the members of lists of modules
    stay on disk until they run; `open_streamed` gives them in a form that can be changed.

    Raises DataIntegrityError if files are damaged, tensors absent, or layers stored that the config
    has not; UnsupportedModelError if transformers has no such network, or it is quantised;
    InputError if it is no such folder, or transformers is not installed.
    """
    if not is_hub_source(path):
        raise InputError(
            f"{path} is no folder of transformers, whose config.json says an architecture, and no "
            f"GGUF file. Give one, or name the network of `{where}` by another `net`."
        )
    path = Path(path)
    transformers = transformers_module(where)
    with open_archive(path) as archive:  # refuses what is damaged before others read it
        dtype, stored = _dtype(archive, path), {t.name: tuple(t.shape) for t in archive.tensors}
    file = {"gguf_file": path.name} if path.is_file() else {}
    place = path.parent if path.is_file() else path
    for name in (CONFIG, "generation_config.json"):
        check_inside(place / name, place)
    with quiet(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(
                place, local_files_only=True, trust_remote_code=False, **file
            )
            _check(config, len(stored), path)
            kind = _class_of(transformers, config, bool(file))
            how: dict[str, Any] = {}
            if converted is not None:  # where shapes are looked at when a block runs
                if (misfit := misfit_of(kind, config, stored, path)) is not None:
                    raise misfit
                how = {"device_map": _device_map(kind, config), "offload_folder": str(converted)}
            model, report = kind.from_pretrained(
                place,
                config=config,
                dtype=dtype,
                local_files_only=True,
                output_loading_info=True,
                **file,
                **how,
            )
        except PrunableError:
            raise
        except Exception as error:  # a folder may make transformers raise nearly all kinds
            mismatched = "ignore_mismatched_sizes" in str(error)
            if mismatched and (misfit := misfit_of(kind, config, stored, path)) is not None:
                raise misfit from error
            cause = " ".join(str(error).split())[:300].rstrip(".")
            mend = "Give the safetensors it was made from." if file else "Give its file of weights."
            raise UnsupportedModelError(
                f"{path} cannot be loaded by transformers: {cause or type(error).__name__}. {mend}"
            ) from error
    if absent := sorted(report["missing_keys"]):
        raise DataIntegrityError(
            f"{path} lacks {len(absent)} tensors of {type(model).__name__}, such as {absent[0]}; "
            "fetch its weights again, or name the right class in config.json."
        )
    if more := further_layers(model, report["unexpected_keys"]):
        raise DataIntegrityError(
            f"{path} stores {len(more)} tensors of layers that {type(model).__name__} has not by "
            f"its config.json, such as {more[0]}; fetch both again, or correct the config."
        )
    _plain(model)
    loaded: nn.Module = model.eval()
    return loaded


def listed_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Members of lists of modules that lie in no other such list, by path: blocks, as a rule."""
    found: dict[str, nn.Module] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(path.startswith(f"{x}.") for x in found):
            found |= {f"{path}.{name}": member for name, member in module.named_children()}
    return {
        path: module for path, module in found.items() if any(True for _ in module.parameters())
    }


def _device_map(kind: Any, config: Any) -> dict[str, str]:
    """Listed modules on disk, all else in memory."""
    with torch.device("meta"):
        model = kind(config)
    listed = listed_modules(model)
    found = dict.fromkeys(listed, "disk")
    tied = model.named_parameters(remove_duplicate=False)
    names = (name for name, _ in (*tied, *model.named_buffers()))
    rest = [name for name in names if not any(name.startswith(f"{path}.") for path in listed)]
    return found | dict.fromkeys((name.rpartition(".")[0] for name in rest), "cpu")


def transformers_module(where: str) -> Any:
    """The package, whose import needs a torchvision that can be imported if there is one."""
    if find_spec("torchvision") is not None:
        torch_extra("torchvision", where)
    return extra("transformers", where, "hub")


def _dtype(archive: Any, path: Path) -> torch.dtype:
    counts: Counter[str] = Counter()
    for tensor in archive.tensors:
        if "float" in tensor.dtype:
            counts[tensor.dtype] += int(torch.Size(tensor.shape).numel())
    (most, _), *_ = counts.most_common(1) or [("float32", 0)]
    if most not in ("float16", "bfloat16", "float32", "float64"):
        raise UnsupportedModelError(
            f"{path} stores {most}, which is quantised; give the network it was quantised from."
        )
    found: torch.dtype = getattr(torch, most)
    return found


def _check(config: Any, stored: int, path: Path) -> None:
    """Refuse quantised networks, and configs that ask for more layers than there are tensors."""
    if getattr(config, "quantization_config", None):
        raise UnsupportedModelError(
            f"{path} is quantised; give the network that it was quantised from."
        )
    text = config.get_text_config()
    for name in ("num_hidden_layers", "n_layer", "num_layers"):
        layers = getattr(text, name, 0)
        if isinstance(layers, int) and layers > stored:
            raise DataIntegrityError(
                f"{path} asks for {layers} layers and holds {stored} tensors; fetch it again."
            )


def _class_of(transformers: Any, config: Any, language: bool) -> Any:
    for name in config.architectures or ():
        with quiet(transformers):
            found = getattr(transformers, str(name), None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return transformers.AutoModelForCausalLM if language else transformers.AutoModel


def _plain(model: Any) -> None:
    """Forget that the weights were quantised in a GGUF file: they are numbers now."""
    for holder, name in ((model, "hf_quantizer"), (model.config, "quantization_config")):
        if hasattr(holder, name):
            delattr(holder, name)
    model.is_quantized = False


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Keep the package's progress and reports from the user, and those of what it loads with."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    beside = getLogger("accelerate.big_modeling")
    disabled, beside.disabled = beside.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        beside.disabled = disabled
        if bars:
            logging.enable_progress_bar()


# examples


def drawn_inputs(model: Any, count: int = 2) -> dict[str, Any]:
    """Tokens, pictures or both that a network of transformers takes, drawn with a fixed seed.

    Raises InputError if none of them fits.
    """
    generator = torch.Generator().manual_seed(child_seed(0, "example"))
    config = model.config
    parts: dict[str, Any] = {}
    vocabulary = getattr(config.get_text_config(), "vocab_size", None)
    if isinstance(vocabulary, int):
        ids = torch.randint(vocabulary, (count, TOKENS), generator=generator)
        parts |= {"input_ids": ids, "decoder_input_ids": ids}
    seen = getattr(config, "vision_config", config)
    size, channels = getattr(seen, "image_size", None), getattr(seen, "num_channels", 3)
    if size is not None:
        sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
        parts["pixel_values"] = torch.randn(count, channels, *sides, generator=generator)
    known = inspect.signature(model.forward).parameters
    plain = {"use_cache": False} if "use_cache" in known else {}
    for names in (
        ("input_ids",),
        ("input_ids", "decoder_input_ids"),
        ("pixel_values",),
        ("input_ids", "pixel_values"),
    ):
        if all(name in known and name in parts for name in names):
            example = {name: parts[name] for name in names} | plain
            try:
                checked_run(model, on_device_of(model, example))
            except InputError:
                continue
            return example
    raise InputError(
        f"What {type(model).__name__} is called with cannot be drawn from its config; give "
        "--example FILE (`example=`) with its arguments by name."
    )


# writing


def save_folder(
    path: Path | str, model: nn.Module, *, source: Path | str | None = None, example: Any = None
) -> FolderResult:
    """Write a network of transformers, pruned or shrunk, as a folder that `from_pretrained` reads.

    config.json, model.safetensors (in shards if it is large; shared weights once) and the files of
    the source that tokenizers, generation and preparation of inputs need. A shrunk network gets
    a config that says its shapes. The folder is read back, and its outputs compared, before it
    takes its place.

    Raises UnsupportedModelError if no config says the shapes, or the network read back computes
    something else; InputError if the model is none of transformers, or the folder is not empty.

    Parameters
    ----------
    source : The folder or GGUF file that the network comes from.
    example : What the network is called with; drawn if it is left out.
    """
    target, name = Path(path), type(model).__name__
    transformers = transformers_module("save_folder")
    if not isinstance(model, transformers.PreTrainedModel):
        wanted = "a network of transformers, or a file ending in .safetensors for others"
        raise InputError.parameter("model", "save_folder", wanted, name)
    check_folder(target)
    with staged(target) as place, quiet(transformers):
        configs = fitting_configs(model)
        given = drawn_inputs(model) if example is None else example
        changed, difference = _written(place, model, configs, on_device_of(model, given))
        kept = keep_files(transformers, None if source is None else Path(source), place)
        for file in place.iterdir():
            file.chmod(0o644)  # the library's own temporary files are private
        size = sum(file.stat().st_size for file in place.iterdir())
    return FolderResult(target, size, changed, kept, difference)


def _written(
    place: Path, model: nn.Module, configs: list[tuple[Any, dict[str, int]]], example: Any
) -> tuple[dict[str, int], float]:
    """Write a model by the first config by which it computes the same when it is read back."""
    expected = outputs_on(model, example)
    difference = math.inf
    for config, changed in configs:
        shutil.rmtree(place, ignore_errors=True)
        _twin(model, config).save_pretrained(place, max_shard_size=LARGEST_SHARD)
        again = load_folder(place).to(next(model.parameters()).device)
        difference = largest_difference(outputs_on(again, example), expected)
        if within_rounding(difference, expected, model):
            return changed, difference
    raise misread(model, difference)


def misread(model: nn.Module, difference: float) -> UnsupportedModelError:
    """What to raise where a model read back computes something else."""
    return UnsupportedModelError(
        f"`{type(model).__name__}` cannot be written as a folder: read back by a config of its "
        f"shapes, its output differs by {difference:.3g}. Save it to a file ending in .safetensors "
        "instead."
    )


def check_folder(path: Path | str) -> None:
    """Refuse to write a folder where something is; InputError says so."""
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        wanted = "a folder that is empty or not there yet"
        raise InputError.parameter("out", "save_folder", wanted, str(path), "Choose another one.")


def _twin(model: Any, config: Any) -> Any:
    """A network of the config around the model's tensors, which it shares."""
    with torch.device("meta"):
        twin = type(model)(config)
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.tie_weights()
    if getattr(model, "generation_config", None) is not None:
        twin.generation_config = model.generation_config
    return twin


def keep_files(transformers: Any, source: Path | str | None, place: Path | str) -> tuple[str, ...]:
    """Copy what belongs to the network beside its weights; the names."""
    if source is None:
        return ()
    source, place = Path(source), Path(place)
    if source.is_file():
        before = {file.name for file in place.iterdir()}
        try:
            transformers.AutoTokenizer.from_pretrained(
                source.parent, gguf_file=source.name, local_files_only=True
            ).save_pretrained(place)
        except Exception:  # many kinds of GGUF have tokenizers that transformers cannot read
            return ()
        return tuple(sorted({file.name for file in place.iterdir()} - before))
    files = _beside(source, KEPT)
    for file in files:
        check_inside(file, source)
        shutil.copyfile(file, place / file.name)
    return tuple(sorted(file.name for file in files))


def kept_beside(path: Path | str) -> tuple[Path, ...]:
    """Files of a folder, or beside an index, that its weights need: config, tokenizer, generation.

    Raises InputError if one of them is a link that leads out of the folder.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    files = sorted(_beside(folder, (CONFIG, *KEPT)))
    for file in files:
        check_inside(file, folder)
    return tuple(files)


def _beside(folder: Path, patterns: tuple[str, ...]) -> set[Path]:
    return {
        file
        for pattern in patterns
        for file in folder.glob(pattern)
        if file.is_file() and not file.name.endswith(WEIGHTS) and file.suffix != ".py"
    }


def outputs_on(model: nn.Module, example: Any) -> list[torch.Tensor]:
    """All tensors that a network gives for an example, in evaluation mode."""
    with evaluating(model):
        return tensors_in(checked_run(model, example))
