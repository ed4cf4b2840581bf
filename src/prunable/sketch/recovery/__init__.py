"""Sparse matrix sketching: Y = A X B^T of a sparse matrix, and decoders that find X again."""

from prunable.sketch.recovery.channels import TaggedSketch, decode_tagged, tagged_sketch
from prunable.sketch.recovery.douglas_rachford import decode_l1
from prunable.sketch.recovery.ensembles import Ensemble, delta_random, identity
from prunable.sketch.recovery.entries import Decoded, Entries, Verdict
from prunable.sketch.recovery.linear_program import decode_linear_program
from prunable.sketch.recovery.peeling import peel
from prunable.sketch.recovery.sizes import Sizes, SketchSize, compare_sizes, sketch_size
from prunable.sketch.recovery.sketching import sketch
from prunable.sketch.recovery.sparsity import (
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
