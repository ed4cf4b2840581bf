"""Certificates: bounds, codes, the posterior, and the command.

The package is the function `prunable.certify` as well: called, it is `pipeline.certify_model`.
"""

from prunable.extras import called_as

called_as(__name__, "prunable.certify.pipeline:certify_model")
