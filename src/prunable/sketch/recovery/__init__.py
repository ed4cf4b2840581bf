"""Sparse matrix sketching: Y = A X B^T of a sparse matrix, and decoders that find X again."""
