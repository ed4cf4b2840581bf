"""Certificates: bounds, codes, the posterior, and the command.

The package is the function `prunable.certify` as well: called, it is `pipeline.certify_model`.
"""

import sys
from types import ModuleType
from typing import Any


class _Wing(ModuleType):
    """A package of the name of its main function."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        # torch takes seconds to import, and the bounds below need none
        from prunable.certify.pipeline import certify_model

        return certify_model(*arguments, **options)


sys.modules[__name__].__class__ = _Wing
