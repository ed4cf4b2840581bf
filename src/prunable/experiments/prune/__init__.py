"""Pruning and comparing: runs and the pipeline of one checkpoint."""
