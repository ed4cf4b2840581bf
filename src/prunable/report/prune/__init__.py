"""Tables of pruning."""
