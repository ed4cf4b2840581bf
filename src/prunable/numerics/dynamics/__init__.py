"""Dynamics behind the theorems: tail index of SGD, fitted rates, independence, compression."""
