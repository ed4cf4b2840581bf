"""Pruned regression on features: given, random, or of a network."""
