"""Forecasts: the accuracy of a pruned network before it is pruned, with its interval.

The package is the function `prunable.forecast` as well: called, it is `forecasting.forecast`.
"""

import inspect
import sys
from types import ModuleType
from typing import Any


class _Wing(ModuleType):
    """A package of the name of its main function."""

    @property
    def __wrapped__(self) -> Any:
        # torch takes seconds to import, and the estimators need none
        from prunable.forecast.forecasting import forecast

        return forecast

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__wrapped__)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.__wrapped__(*arguments, **options)


sys.modules[__name__].__class__ = _Wing
