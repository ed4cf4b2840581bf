"""Data sets: what is registered, where it comes from, how its true formats are read."""
