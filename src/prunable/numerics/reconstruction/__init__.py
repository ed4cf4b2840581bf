"""Weights that make up for pruned ones, from second moments of what flows into a layer."""
