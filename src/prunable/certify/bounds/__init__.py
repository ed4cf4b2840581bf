"""Generalization bounds: one bound a file, one result that itemises its terms and assumptions."""
