"""What networks are made of, and how two compare."""
