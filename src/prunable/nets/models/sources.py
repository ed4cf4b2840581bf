"""Networks by reference: functions of the user's; architectures of torchvision, timm, plugins."""

import difflib
import inspect
import json
import warnings
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import nn

from prunable import plugins
from prunable.errors import InputError, nearest, require
from prunable.extras import own_object
from prunable.nets.models.torch_extras import torch_extra

PACKAGES = ("torchvision", "timm")
# Options that would fetch weights, or read them from elsewhere.
_FETCHING = ("weights", "pretrained", "checkpoint", "progress", "cache")


def of_package(reference: str) -> bool:
    """Whether a text names an architecture of torchvision, timm, or a plugin."""
    package, _, name = reference.partition(":")
    return name != "" and (package in PACKAGES or package in _added())


def network_by_reference(reference: str, where: str = "load") -> nn.Module:
    """Build the network that a reference names, untrained, in evaluation mode.

    `torchvision:resnet18?num_classes=10` and `timm:...` take options after the name, values as in
    JSON; their weights are drawn with a fixed seed, and nothing is ever downloaded. A plugin called
    SOURCE is what builds SOURCE:NAME, called with the name and the options. Anything else is
    MODULE:NAME of the user's own; see `prunable.extras.own_object`.

    Raises InputError if there is no such network, an option is unknown, or building it fails.
    """
    if not of_package(reference):
        model = own_object(
            reference, "net", where, ready=lambda found: isinstance(found, nn.Module)
        )
        returned = "a function that returns a torch module"
        require(isinstance(model, nn.Module), "net", where, returned, reference)
        return model.eval()
    package, _, rest = reference.partition(":")
    name, _, query = rest.partition("?")
    options = _options(query, reference, where)
    if package not in PACKAGES:
        return _of_plugin(_added()[package], name, options, where)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", FutureWarning)  # how torchvision draws weights, some day
        torch.manual_seed(0)
        try:
            build = _torchvision if package == "torchvision" else _timm
            return build(name, options, where).eval()
        except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            cause = " ".join(str(error).split())[:300]
            raise InputError(
                f"`net` {reference} of `{where}` cannot be built ({cause}). Check its options."
            ) from error


def input_shape_of(reference: str) -> tuple[int, ...] | None:
    """Shape of one picture that an architecture of torchvision or timm is made for, if it says."""
    package, _, rest = reference.partition(":")
    name, _, query = rest.partition("?")
    if package == "timm":
        found = torch_extra("timm", "load").get_pretrained_cfg(name)
        options = _options(query, reference, "load")
        channels, size = options.get("in_chans"), options.get("img_size")
        if found is None or not found.input_size:
            return None
        own = tuple(found.input_size)
        return (channels or own[0], size or own[1], size or own[2])
    if package == "torchvision":
        weights = list(torch_extra("torchvision.models", "load").get_model_weights(name))
        size = getattr(weights[0].transforms, "keywords", {}).get("crop_size") if weights else None
        return (3, size, size) if isinstance(size, int) else None
    return None


def sources() -> tuple[str, ...]:
    """What stands before the colon of a named architecture."""
    return (*PACKAGES, *_added())


def _added() -> dict[str, plugins.Plugin]:
    return plugins.added(plugins.NETWORKS, PACKAGES)


def _of_plugin(plugin: plugins.Plugin, name: str, options: dict[str, Any], where: str) -> nn.Module:
    takes = inspect.signature(plugin.load()).parameters.values()
    if not any(x.kind is x.VAR_KEYWORD for x in takes):
        known = [x.name for x in takes if x.kind in (x.KEYWORD_ONLY, x.POSITIONAL_OR_KEYWORD)]
        for option in options:
            wanted = f"with options of its source, {', '.join(known)}"
            near = nearest(option, known).strip()
            require(option in known, "net", where, wanted, f"{name}?{option}", near)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = plugin.made(name, **options)
    if not isinstance(model, nn.Module):
        raise plugin.wrong("a torch module", model)
    return model.eval()


def _options(query: str, reference: str, where: str) -> dict[str, Any]:
    pairs = parse_qsl(query, keep_blank_values=True)
    if query and len(pairs) != query.count("&") + 1:
        raise InputError.parameter("net", where, "NAME?OPTION=VALUE&OPTION=VALUE", reference)
    for name, _ in pairs:
        if name.startswith(_FETCHING):
            raise InputError(
                f"`{name}` in {reference} of `{where}` is no option: nothing is downloaded, and "
                "weights come from the checkpoint. Leave it out."
            )
    return {name: _scalar(text) for name, text in pairs}


def _scalar(text: str) -> Any:
    """A number, true, false or null as in JSON, else the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, dict | list) else value


def _torchvision(name: str, options: dict[str, Any], where: str) -> nn.Module:
    models = torch_extra("torchvision.models", where)
    _check_name(name, models.list_models(), f"torchvision:{name}", where)
    build = models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(build).parameters:
        options = {"weights_backbone": None, **options}
    model: nn.Module = build(weights=None, **options)
    return model


def _timm(name: str, options: dict[str, Any], where: str) -> nn.Module:
    timm = torch_extra("timm", where)
    known = name if timm.is_model(name) else ""
    _check_name(name, [known] if known else timm.list_models(), f"timm:{name}", where)
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _check_name(name: str, known: Iterable[str], reference: str, where: str) -> None:
    names = list(known)
    if name not in names:
        near = ", ".join(difflib.get_close_matches(name, names, 3)) or "no name is near"
        package = reference.partition(":")[0]
        raise InputError.parameter(
            "net", where, f"an architecture of {package}", reference, f"Close to it: {near}."
        )
