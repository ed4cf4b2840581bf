"""How much the study of forecasts computes at each scale, and the runs that make its logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prunable.experiments.prune.trained import TRAINED, trained_here
from prunable.experiments.reproduce.document import Scale
from prunable.forecast.study.logits import DENSE, RENEWED, LogitsSpec
from prunable.forecast.ways import KEEPS, way_named
from prunable.runs.data import DataSpec


@dataclass(frozen=True)
class Size:
    """How much is computed at a scale.

    `calibrated` says at which shares, and for which networks, layers are also fitted to their
    inputs, which takes longer than all else. Of `n_test` inputs the first `n_inputs` are seen by
    ways that go by inputs, forecasts draw theirs from those up to `n_first`, and the accuracy is
    that on all others. `sizes` are numbers of unlabelled inputs, `draws` how often they are drawn.
    """

    networks: tuple[str, ...]
    data: str
    ways: tuple[str, ...]
    keeps: tuple[float, ...]
    calibrated: tuple[float, ...]
    calibrated_networks: tuple[str, ...]
    n_inputs: int
    n_first: int
    n_test: int
    sizes: tuple[int, ...]
    draws: int


WAYS = ("magnitude/global", "magnitude/lamp", "magnitude/layer", "wanda/lamp", "unit/layer", "n:4")
CALIBRATED = "calibrated/lamp"
ALL = tuple(TRAINED)
SIZES: Mapping[Scale, Size] = {
    "smoke": Size(
        ("",), "digits", WAYS[:4], (0.5, 0.2, 0.1), (0.3,), ("",), 64, 264, 450, (64, 128), 3
    ),
    "laptop": Size(ALL, "cifar10", WAYS, KEEPS, KEEPS, ALL, 128, 1500, 4000, (256, 1000), 10),
    "paper": Size(ALL, "cifar10", WAYS, KEEPS, KEEPS, ALL, 256, 3000, 10_000, (256, 1000), 50),
}


def logits_specs(scale: Scale) -> dict[str, tuple[LogitsSpec, ...]]:
    """The runs that make logits, by network: the dense one, as it is and renewed, then each way."""
    size = SIZES[scale]
    data = DataSpec.create(name=size.data)
    found = {}
    for network in size.networks:
        common: dict[str, Any] = {
            "network": network,
            "digest": TRAINED[network].digest() if network else "",
            "code": TRAINED[network].code() if network else "",
            "train": None if network else trained_here(data),
            "dataset": data,
            "n_inputs": size.n_inputs,
            "n_test": size.n_test,
        }
        ways = {way: way_named(way).keeps(size.keeps) for way in size.ways}
        if network in size.calibrated_networks:
            ways[CALIBRATED] = size.calibrated
        found[network or "trained here"] = tuple(
            # the usual way has gone in order, towards the network, since its third schema
            LogitsSpec.create(
                way=way, keeps=keeps, schema_version=3 if way == CALIBRATED else 2, **common
            )
            for way, keeps in {DENSE: (1.0,), RENEWED: (1.0,), **ways}.items()
        )
    return found
