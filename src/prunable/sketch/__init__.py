"""Lossless sketches of sparse matrices."""
