"""Files: written whole or not at all, and read within limits that their length sets.

Every document and every array that the package reads passes here: what is damaged or hostile ends
in one message that names the file, never in a traceback, a hang or memory without bound.
"""

import glob
import io
import json
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from prunable.errors import DataIntegrityError, InputError, PrunableError, shortage

LOCK = ".writing.lock"
INDICES = ".index.json"  # how names of lists of shards end
# and those of what a folder is read for
LOOKED_AT = (".safetensors", ".bin", ".pt", ".pth", ".onnx", ".gguf", "config.json", INDICES)

# The limits of everything that is read.
MOST_UNPACKED = 2**32  # bytes that a compressed file may unpack to, or its own length
MOST_TEXT = 2**28  # bytes of a JSON document
DEEPEST = 64  # levels of a JSON document
LARGEST = 2**64  # whole numbers of a JSON document lie within +-
MOST_AXES, MOST_SIZE = 64, 2**48  # of an array, and of each of its axes
# Entries of a tensor that bytes may stand for: of a bitmask exactly 8; where runs of zeros take no
# room, so many for each byte of the file, beside those that any file may have.
IN_A_BYTE, FREE_ENTRIES = 2**10, 2**24

Size = Annotated[int, Field(ge=0, lt=MOST_SIZE, strict=True)]
Shape = Annotated[tuple[Size, ...], Field(max_length=MOST_AXES)]
T = TypeVar("T")


class Document(BaseModel):
    """What a stored document holds; other keys, and numbers that are not finite, are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@contextmanager
def os_errors_named(action: str, path: Path | str) -> Iterator[None]:
    """Turn an operating-system error into one message that names the path and the mend.

    Raises InputError in place of any `OSError` (no permission, full disk, read-only file system,
    ...).

    Parameters
    ----------
    action : What was being done, completing "cannot ...".
    path : The file or folder concerned.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        meant = Path(path)
        while meant.parent.match(".*.part"):  # what is staged is meant for the place beside
            meant = meant.parent.parent / meant.name
        raise InputError(
            f"cannot {action} {meant}: {reason}. Choose another place, or free this one."
        ) from error


def atomic_write(path: Path | str, write: Callable[[Path], None]) -> None:
    """Write a file so that readers, and a killed process, see the old or the new one only.

    Raises InputError if the destination cannot be written; nothing is left behind then.

    Parameters
    ----------
    path : Destination; its folder is made if needed.
    write : Receives the path of a temporary sibling and fills that file.
    """
    path = Path(path)
    with os_errors_named("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(path) as scratch:
            temporary = scratch / path.name
            temporary.touch()
            write(temporary)
            temporary.chmod(0o644)
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A folder beside a place to write, which goes in the end; what killed writers left goes first.

    A lock inside, which the system lets go of with its holder, tells whether a writer lives.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        _remove_if_left(leftover)
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        lock = FileLock(scratch / LOCK)
        try:
            lock.acquire(timeout=0)
        except NotImplementedError:  # a file system without locks, where nothing is cleared
            break
        except (Timeout, FileNotFoundError, FileExistsError):
            continue  # another writer has just taken the new folder for a left one, or removed it
        if (scratch / LOCK).exists():
            break
        lock.release()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        lock.release()


def _remove_if_left(folder: Path) -> None:
    """Delete the folder of a writer that no longer lives."""
    with suppress(OSError, Timeout, NotImplementedError):
        if folder.is_dir():
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged(path: Path | str) -> Iterator[Path]:
    """Give a place beside a file or folder to write it, which is put there if all goes well.

    Where an error ends the block, nothing is left behind, nor the folders made for it. So several
    files appear together: write each in a block within the others'.

    Raises InputError if there cannot be such a file, or a folder that is not empty is in its place.
    """
    path = Path(path)
    if path.name in ("", ".."):  # the place beside it must have a name of its own
        path = path.resolve()
    made = [parent for parent in path.parents if not parent.exists()]
    done = False
    with ExitStack() as stack:
        with os_errors_named("write", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(_scratch(path))
        try:
            yield scratch / path.name
            with os_errors_named("write", path):
                (scratch / path.name).replace(path)
            done = True
        finally:
            stack.close()
            for parent in [] if done else made:
                with suppress(OSError):
                    parent.rmdir()


def remove_leftovers(folder: Path | str) -> None:
    """Delete what killed writers left in a folder."""
    for leftover in Path(folder).glob(".*.part"):
        _remove_if_left(leftover)
        if leftover.is_file():  # as earlier versions left
            leftover.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write a file atomically; see `atomic_write`."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    atomic_write(path, write)


def write_parquet(path: Path | str, table: Any) -> None:
    """Write a table of pyarrow, which opens no path that is no text, atomically."""
    from pyarrow import parquet  # takes long to import

    content = io.BytesIO()
    parquet.write_table(table, content)
    write_bytes(path, content.getvalue())


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically; see `atomic_write`.

    What names of files hold that is no UTF-8 is replaced.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode())


def write_json(path: Path | str, document: Any) -> None:
    """Write a JSON file atomically; NaN and infinities are refused, keys keep their order.

    Raises InputError if `document` holds a number JSON cannot express, or the file cannot be
    written.
    """
    try:
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise InputError(f"cannot write {path}: {error}. Use null for a missing number.") from error
    write_text(path, text + "\n")


@contextmanager
def damage_named(
    where: Path | str,
    mend: str = "the file is damaged or incomplete: fetch or write it again",
    passed: type[PrunableError] | tuple[type[PrunableError], ...] = PrunableError,
) -> Iterator[None]:
    """Turn whatever reading damaged content raises into one error that says where it is.

    `mend` ends the sentence; errors of the kinds `passed` go by as they are.

    Raises DataIntegrityError in place of any other exception: damage makes readers raise nearly
    all; InputError if the file may not be read.
    """
    try:
        yield
    except passed:
        raise
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{where} is missing; check the path.") from error
    except PermissionError as error:
        raise InputError(f"cannot read {where}: permission denied. Make it readable.") from error
    except Exception as error:
        if shortage(error):
            raise DataIntegrityError(
                f"{where} asks for more memory than there is: give it more, or, if the file is not "
                "that large, it is damaged: fetch or write it again."
            ) from error
        raise DataIntegrityError(f"{where} cannot be read ({brief(error)}); {mend}.") from error


def brief(error: BaseException) -> str:
    """Reduce an exception to one short printable line."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"])) or "the whole document"
        return brief(ValueError(f"{key}: {first['msg']}"))
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    text = "".join(c if c.isprintable() else "?" for c in text)
    if isinstance(error, UnicodeError):
        text = "it is no text"
    if isinstance(error, KeyError):
        text = f"no entry {text}"
    return text if len(text) <= 200 else f"{text[:200]}..."


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Content of a JSON text: of bounded size and depth, finite if need be, no key twice.

    Raises ValueError if it is none; `damage_named` says of what.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"{len(text):,} bytes are more than a document may have")
    try:
        found = json.loads(
            text,
            parse_float=_finite if finite else None,
            parse_int=_bounded,
            parse_constant=_finite if finite else None,
            object_pairs_hook=_once,
        )
    except RecursionError as error:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from error
    level, depth = [found], 0
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")
        level = [x for part in level for x in (part.values() if isinstance(part, dict) else part)]
    if "\\u" in text if isinstance(text, str) else b"\\u" in text:
        json.dumps(found, ensure_ascii=False).encode()  # ValueError of half a character
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is not finite")
    return number


def _bounded(text: str) -> int:
    number = int(text)
    if abs(number) > LARGEST:
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def read_json(
    path: Path | str, mend: str = "delete it and run the command again", schema: Any = None
) -> Any:
    """Read a JSON file within the limits above; `mend` is what to do about one that is damaged.

    `schema`, a type that pydantic knows, says what it must hold and makes it.

    Raises DataIntegrityError if the file is missing, is not JSON or holds something else.
    """
    with damage_named(path, mend, DataIntegrityError):
        content = Path(path).read_bytes()
        return parse_json(content) if schema is None else parsed(schema, content)


def parsed(schema: type[T], text: str | bytes, *, finite: bool = True) -> T:
    """Content of a JSON text as a type that pydantic knows; ValueError if it is none."""
    return TypeAdapter(schema).validate_python(parse_json(text, finite=finite))


def check_declared(shapes: Iterable[Sequence[int]], held: int) -> None:
    """ValueError if a file of `held` bytes cannot stand for tensors of these shapes."""
    count = sum(map(math.prod, shapes))
    if count > FREE_ENTRIES + IN_A_BYTE * held:
        raise ValueError(f"{count:,} entries are announced, more than its bytes can mean")


def read_arrays(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read the arrays of a .npz file by name, or of a .npy file under the name arr_0.

    Nothing is unpickled, and no more is unpacked than `MOST_UNPACKED` or the size of the file.

    Raises DataIntegrityError if the file is missing, damaged, too large or holds objects.
    """
    path = Path(path)
    with damage_named(path, "it is no file of arrays: write it by numpy.savez"):
        try:
            if path.suffix == ".npy":
                # mapping refuses a header that says more than the file holds
                return {"arr_0": np.load(path, mmap_mode="r", allow_pickle=False).copy()}
            with zipfile.ZipFile(path) as bundle:
                unpacked = sum(entry.file_size for entry in bundle.infolist())
                for entry in bundle.infolist():
                    _check_header(bundle, entry)
            if unpacked > max(MOST_UNPACKED, path.stat().st_size):
                raise DataIntegrityError(
                    f"{path} unpacks to {unpacked:,} bytes; give a smaller one."
                )
            # opened here: of a damaged file np.load would leave it open
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except ValueError as error:
            cause = str(error)
            if "objects in dtype" not in cause and "Object arrays" not in cause:
                raise
            raise DataIntegrityError(
                f"{path} holds arrays of Python objects, which are not read; store numbers."
            ) from error


def _check_header(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse an array whose header says more than its entry holds, before memory is asked for."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with bundle.open(entry) as stream:
        shape, _, dtype = readers[np.lib.format.read_magic(stream)](stream)
    if math.prod(shape) * dtype.itemsize > entry.file_size:
        raise ValueError(f"{entry.filename} announces the shape {shape}, more than it holds")


def check_writable(path: Path | str) -> None:
    """Raise InputError if no file can be written at a path; nothing is left of the trial.

    So a command finds out before its work. Folders that are missing are not made.
    """
    path = Path(path)
    with os_errors_named("write", path):
        if path.is_dir() and path.suffix:
            raise IsADirectoryError(None, "Is a directory")
        nearest = next(folder for folder in path.absolute().parents if folder.exists())
        with _scratch(nearest / path.absolute().name):
            pass


def check_places(
    where: str,
    written: Mapping[str, Path | None],
    read: Mapping[str, Path | str | None],
    mend: str = "Name another file.",
) -> None:
    """Raise InputError if a file to write is one to read, by any link, or two, or cannot be.

    `written` are places by option, `read` places by what they are; `where` is the command. Of a
    folder, or beside an index, all files of weights and of settings count as read.
    """
    known = {what: Path(path) for what, path in read.items() if path}
    for option, path in written.items():
        if path is None:
            continue
        for what, other in known.items():
            folder = other.parent if other.name.endswith(INDICES) else other
            with os_errors_named("write", path):
                both = path.exists() and other.exists()
                same = path.resolve() == other.resolve() or (both and path.samefile(other))
                among = not same and folder.is_dir() and path.is_file() and _is_among(path, folder)
            if same or among:
                raise InputError(
                    f"`{option}` of `{where}` is {'a file of ' if among else ''}{what}, {path}, "
                    f"which stays as it is. {mend}"
                )
        known["a file that is written as well"] = path
        check_writable(path)


def _is_among(path: Path, folder: Path) -> bool:
    """Whether a file is one of those that readers of a folder look at, by any link."""
    return any(
        path.samefile(file)
        for file in folder.iterdir()
        if file.name.endswith(LOOKED_AT) and file.is_file()
    )


def check_ending(path: Path | str | None, option: str, where: str, *endings: str) -> None:
    """Raise InputError if a file's name promises another format than is written.

    A path that is None is fine; the ending "" allows a name without one. `where` is the command.
    """
    if path is not None and Path(path).suffix.lower() not in endings:
        wanted = (
            f"a file ending in {' or '.join(filter(None, endings))}, the format that is written"
        )
        raise InputError.parameter(option, where, wanted, str(path))
