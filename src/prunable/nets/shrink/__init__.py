"""Networks that really are smaller: surgery, factors, sparse layers, exports."""
