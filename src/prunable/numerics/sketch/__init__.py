"""Sparse matrix sketching: Y = A X B^T of a sparse matrix, and decoders that find X again."""

from prunable.numerics.sketch.channels import TaggedSketch, decode_tagged, tagged_sketch
from prunable.numerics.sketch.douglas_rachford import decode_l1
from prunable.numerics.sketch.ensembles import Ensemble, delta_random, identity
from prunable.numerics.sketch.entries import Decoded, Entries, Verdict
from prunable.numerics.sketch.linear_program import decode_linear_program
from prunable.numerics.sketch.peeling import peel
from prunable.numerics.sketch.sizes import Sizes, SketchSize, compare_sizes, sketch_size
from prunable.numerics.sketch.sketching import sketch
from prunable.numerics.sketch.sparsity import (
    DistributedSparsity,
    SparsityBound,
    distributed_sparsity,
    sparsity_bound,
)

__all__ = [
    "Decoded",
    "DistributedSparsity",
    "Ensemble",
    "Entries",
    "Sizes",
    "SketchSize",
    "SparsityBound",
    "TaggedSketch",
    "Verdict",
    "compare_sizes",
    "decode_l1",
    "decode_linear_program",
    "decode_tagged",
    "delta_random",
    "distributed_sparsity",
    "identity",
    "peel",
    "sketch",
    "sketch_size",
    "sparsity_bound",
    "tagged_sketch",
]
