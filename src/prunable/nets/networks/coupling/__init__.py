"""Which channels of a network must go or stay together, found by following one run of it."""

from prunable.nets.networks.coupling.tracing import Coupling, trace

__all__ = ["Coupling", "trace"]
