"""Certificates: bounds, codes, the posterior, and the command."""
