"""Optional packages, imported where they are used and named where they are missing."""

from importlib import import_module
from typing import Any

from prunable.errors import InputError


def extra(package: str, where: str, group: str) -> Any:
    """The module of an optional package, or an InputError that says which group to install."""
    try:
        return import_module(package)
    except ImportError as error:
        name = package.partition(".")[0].replace("_", "-")
        raise InputError(
            f"`{where}` needs {name}, which is not installed. Install 'prunable[{group}]'."
        ) from error
