"""Forecasts: the accuracy of a pruned network before it is pruned, with its interval.

The package is the function `prunable.forecast` as well: called, it is `forecasting.forecast`.
"""

from prunable.extras import called_as

called_as(__name__, "prunable.forecast.forecasting:forecast")
