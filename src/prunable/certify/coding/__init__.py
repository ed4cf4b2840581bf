"""Codes of pruned, quantised weights: an arithmetic coder and its adaptive models."""
