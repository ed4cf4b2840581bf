"""Training: noise, averaging, checkpoints, one network or many."""
