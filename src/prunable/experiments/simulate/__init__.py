"""Simulations of training dynamics."""
