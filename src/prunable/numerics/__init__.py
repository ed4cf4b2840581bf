"""Pure numerics in NumPy and SciPy, float64: no torch, no I/O, no global random state."""
