"""Interacting particles."""
