"""Frozen specs, run by stages into a store of folders, one folder a run."""
