"""Four papers as declarations: one package a paper, its published numbers in one data file."""
