"""Measurements of a layer and of a network."""
