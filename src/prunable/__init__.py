"""Know before you prune: measure, train for, prune, predict and certify compressibility.

The names below are loaded on first use, so that `import prunable.numerics` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("prunable")

_HOMES = {
    "HeavyTailedNoise": "prunable.nets.noise",
    "attach_noise": "prunable.nets.noise",
    "validate": "prunable.nets.noise",
    "IterateAverage": "prunable.nets.averaging",
    "MeanFieldNetwork": "prunable.nets.models",
    "measure": "prunable.nets.measuring",
    "prune": "prunable.nets.pruning",
    "shrink": "prunable.nets.surgery",
    "factor": "prunable.nets.factoring",
    "sparsify": "prunable.nets.sparse_layers",
    "predict_features": "prunable.numerics.asymptotics.feature_prediction",
    "extract_features": "prunable.nets.features",
    "certify": "prunable.experiments.certifying:certify_model",
    "save_exported": "prunable.nets.export",
    "load_exported": "prunable.nets.export",
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
