"""Networks: views of their weights, pruning plans and strategies, noise and training."""
