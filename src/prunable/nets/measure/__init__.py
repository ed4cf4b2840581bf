"""Measuring the weights of networks."""
