"""Federated learning as plain functions on state dicts: train, prune, send, average."""

from prunable.nets.federated.aggregation import add_update, weighted_mean
from prunable.nets.federated.client import LocalOutcome, LocalTraining, train_locally
from prunable.nets.federated.error_feedback import add_memory, residual, top_k
from prunable.nets.federated.message import Message, decode, encode
from prunable.nets.federated.update_pruning import prune_update

__all__ = [
    "LocalOutcome",
    "LocalTraining",
    "Message",
    "add_memory",
    "add_update",
    "decode",
    "encode",
    "prune_update",
    "residual",
    "top_k",
    "train_locally",
    "weighted_mean",
]
