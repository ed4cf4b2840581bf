"""Magnitudes of weights: order, selection, shares."""
