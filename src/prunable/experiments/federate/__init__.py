"""Federated training, its rounds and its results."""
