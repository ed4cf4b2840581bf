"""Training runs: specifications and stages."""
