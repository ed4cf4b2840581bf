"""Forecasts: the accuracy of a pruned network before it is pruned, with its interval."""
