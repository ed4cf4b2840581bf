"""Federated learning as plain functions on state dicts: train, prune, send, average."""
