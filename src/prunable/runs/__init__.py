"""Runs: what one is, where its result lies, and how it is brought about."""
