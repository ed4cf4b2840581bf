"""The document and pages of a measurement."""
