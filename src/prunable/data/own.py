"""The user's own data: of a function, an .npz file, a folder of pictures, or a plugin."""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prunable import plugins
from prunable.data.loaders import Dataset
from prunable.data.registry import REGISTRY
from prunable.errors import DataIntegrityError, InputError, require
from prunable.extras import own_object
from prunable.files import brief, check_declared, os_errors_named, read_arrays
from prunable.numerics.randomness import rng

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
PARTS = ("x_train", "y_train", "x_test", "y_test")
HELD_OUT = 0.2  # share of examples kept for the test where the data are in one part
MOST_BYTES = 2**34  # of the pictures of a folder, unpacked
MOST_CLASSES = 2**20

Array = NDArray[Any]
Pair = tuple[Array, Array]


def is_own(source: str) -> bool:
    """Whether a text names data of the user's rather than a registered set."""
    return source not in REGISTRY and (
        ":" in source
        or Path(source).suffix == ".npz"
        or Path(source).is_dir()
        or source in plugins.plugins(plugins.DATA)
    )


def load_own(source: str, *, shape: tuple[int, ...] | None = None, where: str = "prune") -> Dataset:
    """Load data of the user's, as they are: nothing is normalised.

    Raises InputError if there is nothing of that name, or what it gives are no examples and
    classes; DataIntegrityError if a file is damaged.

    Parameters
    ----------
    source : MODULE:NAME of a function without arguments that returns (x_train, y_train, x_test,
        y_test), (x, y), a mapping of these names, a torch Dataset or DataLoader, or a pair of them;
        an .npz file of arrays of these names; or a folder of pictures in a folder a class, below
        train and test (or val) if there are such. One part is divided: a fifth, drawn with a fixed
        seed, is the test.
    shape : Channels, height and width that pictures of a folder are stretched to; by default they
        must all have one size. Or the name of a plugin, a function as that of MODULE:NAME.
    """
    names: tuple[str, ...] = ()
    plugin = plugins.plugins(plugins.DATA).get(source)
    if plugin is not None:
        found = _parts(plugin.made(), source)
    elif Path(source).is_dir():
        found, names = _folder(Path(source), shape)
    elif ":" in source:
        found = _parts(own_object(source, "data", where), source)
    else:
        found = _parts(read_arrays(Path(source)), source)
    train, test = found if len(found) == 2 else _divided(found[0])
    for part in (train, test):
        _check(part, train[0].shape[1:], source, where)
    train, test = ((x, y.astype(np.int64)) for x, y in (train, test))
    classes = 1 + int(max(part[1].max() for part in (train, test)))
    (x_train, y_train), (x_test, y_test) = train, test
    for array in (x_train, y_train, x_test, y_test):
        array.flags.writeable = False
    return Dataset(
        name=source,
        label=source,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=names or tuple(map(str, range(classes))),
        split="own",
        split_seed=0,
        provenance=source,
        licence="",
    )


def _parts(found: Any, source: str) -> tuple[Pair, ...]:
    """One pair of examples and classes, or two."""
    if isinstance(found, Mapping):
        if set(PARTS) <= found.keys():
            found = tuple(found[name] for name in PARTS)
        elif {"x", "y"} <= found.keys():
            found = (found["x"], found["y"])
        else:
            held = ", ".join(map(str, found)) or "nothing"
            raise InputError(
                f"{source} holds {held}; name the arrays {', '.join(PARTS)}, or x and y."
            )
    if isinstance(found, tuple | list) and len(found) == 2 and all(map(_is_set, found)):
        return _listed(found[0], source), _listed(found[1], source)
    if isinstance(found, tuple | list) and len(found) in (2, 4):
        arrays = [_array(part) for part in found]
        pairs = list(zip(arrays[::2], arrays[1::2], strict=True))
        return tuple(pairs)
    if _is_set(found):
        return (_listed(found, source),)
    raise InputError(
        f"`data` {source} gives a {type(found).__name__}; return (x_train, y_train, x_test, "
        "y_test), (x, y), or a torch Dataset or DataLoader."
    )


def _is_set(value: object) -> bool:
    """Whether a value gives pairs (example, class), as torch's Dataset and DataLoader do."""
    plain = isinstance(value, tuple | list | Mapping | str | np.ndarray)
    items = hasattr(value, "__getitem__") or hasattr(value, "__iter__")
    return items and not plain and not hasattr(value, "__array__")


def _listed(found: Any, source: str) -> Pair:
    """Examples and classes of a Dataset, or of the batches of a DataLoader."""
    batched = hasattr(found, "collate_fn")
    if hasattr(found, "__iter__") or not hasattr(found, "__len__"):
        items = iter(found)
    else:
        items = (found[place] for place in range(len(found)))
    xs, ys = [], []
    for item in items:
        if not isinstance(item, tuple | list) or len(item) != 2:
            wanted = "of pairs (example, class)"
            raise InputError.parameter("data", "prune", wanted, source)
        xs.append(_array(item[0]))
        ys.append(_array(item[1]))
    if not xs:
        raise InputError(f"`data` {source} is empty; give at least one example of each part.")
    if len({x.shape[batched:] for x in xs}) > 1:
        raise InputError(f"`data` {source} has examples of different shapes; give them one shape.")
    join = np.concatenate if batched else np.stack
    return join(xs), join(ys)


def _array(value: Any) -> Array:
    """An array of what may be a tensor on any device; floats as float32, integers as they are."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    array = np.asarray(value)
    kind = np.float32 if array.dtype.kind == "f" else array.dtype
    return np.array(array, dtype=kind, order="C")


def _divided(part: Pair) -> tuple[Pair, Pair]:
    x, y = part
    if len(x) != len(y) or len(x) < 2:
        return part, part  # refused by what checks them
    order = rng(0, "held out").permutation(len(y))
    cut = max(1, round(HELD_OUT * len(y)))
    train, test = np.sort(order[cut:]), np.sort(order[:cut])
    return (x[train], y[train]), (x[test], y[test])


def _check(part: Pair, shape: tuple[int, ...], source: str, where: str) -> None:
    x, y = part

    def hold(fine: object, wanted: str, found: object) -> None:
        require(fine, "data", where, wanted, f"{found} in {source}")

    fine = x.ndim >= 1 and y.ndim == 1 and len(x) == len(y) >= 1
    shapes = f"examples of shape {x.shape} with classes of shape {y.shape}"
    hold(fine, "one or more examples (n, ...), each with its class (n,)", shapes)
    hold(x.shape[1:] == shape, "of one shape in both parts", f"{shape} and {x.shape[1:]}")
    wanted = "what the network takes, floats or integers of 16 bits or more; divide bytes by 255"
    hold(x.dtype.kind == "f" or (x.dtype.kind in "iu" and x.itemsize > 1), wanted, x.dtype)
    hold(x.dtype.kind != "f" or np.isfinite(x).all(), "finite", "NaN or infinity")
    hold(y.dtype.kind in "iu" and y.min() >= 0, "classes numbered from 0", f"{y.dtype} {y[:3]}")
    hold(y.max() < MOST_CLASSES, f"classes numbered below {MOST_CLASSES:,}", y.max())


# folders of pictures


def _folder(root: Path, shape: tuple[int, ...] | None) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    with os_errors_named("read", root):
        below = {path.name for path in root.iterdir() if path.is_dir()}
    tests = [name for name in ("test", "val") if name in below]
    parts = [root]
    if "train" in below:
        parts = [root / "train", *(root / name for name in tests[:1])]
    names = tuple(sorted(p.name for p in parts[0].iterdir() if p.is_dir() and p.name[0] != "."))
    listed = [_pictures(part, names) for part in parts]
    stretch = shape is not None
    if shape is None:
        shape = _shape_of(listed[0][0][0])
    wanted = "1 or 3 channels, height and width for a folder of pictures"
    require(len(shape) == 3 and shape[0] in (1, 3), "input_shape", "prune", wanted, shape)
    size = 4 * sum(map(len, listed)) * int(np.prod(shape))
    if size > MOST_BYTES:
        raise InputError(
            f"{root} unpacks to {size:,} bytes at {shape}; give fewer pictures, or a smaller "
            "--input-shape."
        )
    return tuple(_read(part, shape, stretch) for part in listed), names


def _pictures(part: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    strange = sorted(
        p.name for p in part.iterdir() if p.is_dir() and p.name[0] != "." and p.name not in names
    )
    if strange:
        raise InputError(f"{part} has the class {strange[0]}, which the training part has not.")
    found = [
        (path, number)
        for number, name in enumerate(names)
        for path in sorted((part / name).glob("**/*"))
        if path.suffix.lower() in PICTURES and path.is_file()
    ]
    if not found:
        raise InputError(
            f"{part} holds no pictures in folders of classes; put them into {part}/CLASS/, or "
            f"name a registered data set ({', '.join(REGISTRY)})."
        )
    return found


def _shape_of(path: Path) -> tuple[int, ...]:
    with _opened(path) as picture:
        channels = 1 if picture.mode in ("1", "L") else 3
        return (channels, picture.height, picture.width)


def _read(listed: list[tuple[Path, int]], shape: tuple[int, ...], stretch: bool) -> Pair:
    """Pictures in [0, 1], of one shape, or stretched to it."""
    channels, height, width = shape
    x = np.empty((len(listed), *shape), dtype=np.float32)
    for place, (path, _) in enumerate(listed):
        with _opened(path) as picture:
            if picture.mode.startswith("I") or picture.mode == "F":
                raise InputError(f"{path} has more than 8 bits a pixel; give pictures of 8 bits.")
            seen = picture.convert("L" if channels == 1 else "RGB")
        if seen.size != (width, height):
            if not stretch:
                raise InputError(
                    f"{path} has another size than the first picture, {height} x {width}; say by "
                    "--input-shape what all are stretched to."
                )
            seen = seen.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(seen, dtype=np.float32) / 255
        x[place] = pixels if channels == 1 else pixels.transpose(2, 0, 1)
    return x, np.array([number for _, number in listed], dtype=np.int64)


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # from memory: of a file, as much is asked for as its chunks claim to hold
            picture = Image.open(io.BytesIO(held := path.read_bytes()))
            check_declared([(*picture.size, len(picture.getbands()))], len(held))
            picture.load()
            return picture
    except Exception as error:  # a damaged picture makes the readers raise nearly all kinds
        raise DataIntegrityError(
            f"{path} is no readable picture ({brief(error)}); take it out of the folder."
        ) from error
