"""Files that are either whole or absent: write to a temporary sibling, sync, rename."""

import glob
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from prunable.errors import DataIntegrityError, InputError, PrunableError

LOCK = ".writing.lock"
MOST_UNPACKED = 2**32  # bytes that a compressed file may unpack to


@contextmanager
def os_errors_named(action: str, path: Path | str) -> Iterator[None]:
    """Turn an operating-system error into one message that names the path and the mend.

    Parameters
    ----------
    action : What was being done, completing "cannot ...".
    path : The file or folder concerned.

    Raises
    ------
    InputError : In place of any `OSError` (no permission, full disk, read-only file system, ...).
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cannot {action} {path}: {reason}. Choose another place, or free this one."
        ) from error


def atomic_write(path: Path | str, write: Callable[[Path], None]) -> None:
    """Write a file so that readers, and a killed process, see the old or the new one only.

    Parameters
    ----------
    path : Destination; its folder is made if needed.
    write : Receives the path of a temporary sibling and fills that file.

    Raises
    ------
    InputError : If the destination cannot be written; nothing is left behind then.
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

    Raises
    ------
    InputError : If there cannot be such a file, or a folder that is not empty is in its place.
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


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically; see `atomic_write`."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, document: Any) -> None:
    """Write a JSON file atomically; NaN and infinities are refused, keys keep their order.

    Raises
    ------
    InputError : If `document` holds a number JSON cannot express, or the file cannot be written.
    """
    try:
        text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise InputError(f"cannot write {path}: {error}. Use null for a missing number.") from error
    write_text(path, text + "\n")


def read_json(path: Path | str, mend: str = "delete it and run the command again") -> Any:
    """Read a JSON file; `mend` is what to do about one that is damaged.

    Raises
    ------
    DataIntegrityError : If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{path} is missing; run the command that writes it.") from error
    except (ValueError, OSError) as error:
        raise DataIntegrityError(f"{path} is not readable JSON ({error}); {mend}.") from error


def read_arrays(path: Path | str) -> dict[str, NDArray[Any]]:
    """Read the arrays of a .npz file by name, or of a .npy file under the name arr_0.

    Nothing is unpickled, and no more is unpacked than `MOST_UNPACKED` or the size of the file.

    Raises
    ------
    DataIntegrityError : If the file is missing, damaged, too large or holds objects.
    """
    try:
        path = Path(path)
        if path.suffix == ".npy":
            # mapping refuses a header that says more than the file holds
            return {"arr_0": np.load(path, mmap_mode="r", allow_pickle=False).copy()}
        with zipfile.ZipFile(path) as bundle:
            unpacked = sum(entry.file_size for entry in bundle.infolist())
        if unpacked > max(MOST_UNPACKED, path.stat().st_size):
            raise DataIntegrityError(f"{path} unpacks to {unpacked:,} bytes; give a smaller one.")
        # opened here: of a damaged file np.load would leave it open
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{path} is missing; check the path.") from error
    except PrunableError:
        raise
    except Exception as error:  # a damaged file makes the readers raise nearly all kinds
        cause = " ".join(str(error).split())[:200]
        if "objects in dtype" in cause or "Object arrays" in cause:
            raise DataIntegrityError(
                f"{path} holds arrays of Python objects, which are not read; store numbers."
            ) from error
        raise DataIntegrityError(
            f"{path} is not a readable file of arrays ({cause}); write it by numpy.savez."
        ) from error
