"""Know before you prune: measure, train for, prune, predict and certify compressibility.

The names below are imported on first use, so that `import prunable.numerics` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunable import budgets as budgets
    from prunable import callbacks as callbacks
    from prunable import errors as errors
    from prunable import predict as predict
    from prunable import strategies as strategies
    from prunable.certify.pipeline import certify_model as certify
    from prunable.certify.verifying import verify as verify
    from prunable.experiments.evaluate.evaluating import evaluate as evaluate
    from prunable.experiments.prune.strategy_comparison import compare_strategies as compare
    from prunable.forecast.advising import advise as advise
    from prunable.forecast.forecasting import forecast as forecast
    from prunable.front import load as load
    from prunable.front import read as read
    from prunable.front import reproduce as reproduce
    from prunable.front import save as save
    from prunable.front import simulate as simulate
    from prunable.front import train as train
    from prunable.front import write as write
    from prunable.nets.measure.measuring import measure as measure
    from prunable.nets.prune.iterative import iterate as iterate
    from prunable.nets.prune.mask_file import load_masks as load_masks
    from prunable.nets.prune.mask_file import save_masks as save_masks
    from prunable.nets.prune.masks import masks_of as masks_of
    from prunable.nets.prune.pruning import prune as prune
    from prunable.nets.prune.recalibration import recalibrate as recalibrate
    from prunable.nets.prune.retraining import hold_masks as hold_masks
    from prunable.nets.shrink.factoring import factor as factor
    from prunable.nets.shrink.shrinking import shrink as shrink
    from prunable.nets.shrink.sparse_layers import sparsify as sparsify
    from prunable.nets.train.noise import HeavyTailedNoise as HeavyTailedNoise
    from prunable.nets.train.noise import attach_noise as attach_noise
    from prunable.numerics.stable import StableLaw as StableLaw
    from prunable.predict.features.extracting import extract_features as extract_features
    from prunable.predict.features.prediction import predict_features as predict_features

__version__: str  # read when asked for: what reads it takes long to import

# Where each name lives, as "module" or "module:name in it".
_HOMES = {
    "HeavyTailedNoise": "prunable.nets.train.noise:HeavyTailedNoise",
    "StableLaw": "prunable.numerics.stable:StableLaw",
    "advise": "prunable.forecast.advising:advise",
    "attach_noise": "prunable.nets.train.noise:attach_noise",
    "budgets": "prunable.budgets",
    "callbacks": "prunable.callbacks",
    "certify": "prunable.certify",  # a package that can be called
    "compare": "prunable.experiments.prune.strategy_comparison:compare_strategies",
    "errors": "prunable.errors",
    "evaluate": "prunable.experiments.evaluate.evaluating:evaluate",
    "extract_features": "prunable.predict.features.extracting:extract_features",
    "factor": "prunable.nets.shrink.factoring:factor",
    "forecast": "prunable.forecast",  # another
    "hold_masks": "prunable.nets.prune.retraining:hold_masks",
    "iterate": "prunable.nets.prune.iterative:iterate",
    "load": "prunable.front:load",
    "load_masks": "prunable.nets.prune.mask_file:load_masks",
    "masks_of": "prunable.nets.prune.masks:masks_of",
    "measure": "prunable.nets.measure.measuring:measure",
    "predict": "prunable.predict",
    "predict_features": "prunable.predict.features.prediction:predict_features",
    "prune": "prunable.nets.prune.pruning:prune",
    "read": "prunable.front:read",
    "recalibrate": "prunable.nets.prune.recalibration:recalibrate",
    "reproduce": "prunable.front:reproduce",
    "save": "prunable.front:save",
    "save_masks": "prunable.nets.prune.mask_file:save_masks",
    "shrink": "prunable.nets.shrink.shrinking:shrink",
    "simulate": "prunable.front:simulate",
    "sparsify": "prunable.nets.shrink.sparse_layers:sparsify",
    "strategies": "prunable.strategies",
    "train": "prunable.front:train",
    "verify": "prunable.certify.verifying:verify",
    "write": "prunable.front:write",
}
# Former names, which still work.
_FORMER = {
    "IterateAverage": "prunable.nets.train.averaging:IterateAverage",
    "MeanFieldNetwork": "prunable.nets.models:MeanFieldNetwork",
    "calibrate": "prunable.nets.prune.recalibration:recalibrate",
    "load_exported": "prunable.nets.shrink.export:load_exported",
    "save_exported": "prunable.nets.shrink.export:save_exported",
    "validate": "prunable.nets.train.noise:validate",
}

__all__ = [
    "HeavyTailedNoise",
    "StableLaw",
    "advise",
    "attach_noise",
    "budgets",
    "callbacks",
    "certify",
    "compare",
    "errors",
    "evaluate",
    "extract_features",
    "factor",
    "forecast",
    "hold_masks",
    "iterate",
    "load",
    "load_masks",
    "masks_of",
    "measure",
    "predict",
    "predict_features",
    "prune",
    "read",
    "recalibrate",
    "reproduce",
    "save",
    "save_masks",
    "shrink",
    "simulate",
    "sparsify",
    "strategies",
    "train",
    "verify",
    "write",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("prunable")
    home, _, inside = (_HOMES.get(name) or _FORMER.get(name) or "").partition(":")
    if not home:
        text = f"module 'prunable' has no attribute {name!r}"
        raise AttributeError(
            text, name=name, obj=import_module(__name__)
        )  # Python names the nearest
    module = import_module(home)
    return getattr(module, inside) if inside else module


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
