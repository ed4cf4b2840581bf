"""Plans, masks and what pruning does to networks."""
