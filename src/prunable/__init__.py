"""Know before you prune: measure, train for, prune, predict and certify compressibility.

The names below are loaded on first use, so that `import prunable.numerics` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("prunable")

_HOMES = {
    "HeavyTailedNoise": "prunable.nets.train.noise",
    "attach_noise": "prunable.nets.train.noise",
    "validate": "prunable.nets.train.noise",
    "IterateAverage": "prunable.nets.train.averaging",
    "MeanFieldNetwork": "prunable.nets.models",
    "measure": "prunable.nets.measure.measuring",
    "prune": "prunable.nets.prune.pruning",
    "shrink": "prunable.nets.shrink.surgery",
    "factor": "prunable.nets.shrink.factoring",
    "sparsify": "prunable.nets.shrink.sparse_layers",
    "predict_features": "prunable.predict.features.prediction",
    "extract_features": "prunable.predict.features.extracting",
    "certify": "prunable.certify.pipeline:certify_model",
    "save_exported": "prunable.nets.shrink.export",
    "load_exported": "prunable.nets.shrink.export",
    "StableLaw": "prunable.numerics.stable",
}

_MODULES = {"predict": "prunable.predict"}

__all__ = ["__version__", *sorted(_HOMES | _MODULES)]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOMES:
        home, _, other = _HOMES[name].partition(":")
        return getattr(import_module(home), other or name)
    raise AttributeError(f"module 'prunable' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
