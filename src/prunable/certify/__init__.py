"""Certificates: bounds, codes, the posterior, and the command.

The package is the function `prunable.certify` as well: called, it is `pipeline.certify_model`.
"""

import inspect
import sys
from types import ModuleType
from typing import Any


class _Wing(ModuleType):
    """A package of the name of its main function."""

    @property
    def __wrapped__(self) -> Any:
        # torch takes seconds to import, and the bounds below need none
        from prunable.certify.pipeline import certify_model

        return certify_model

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__wrapped__)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.__wrapped__(*arguments, **options)


sys.modules[__name__].__class__ = _Wing
