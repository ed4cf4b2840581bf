"""Where runs are computed: in this process, in several, or on a Ray cluster."""

from prunable.experiments.backends.base import Backend, Pool, Task
from prunable.experiments.backends.process import ProcessBackend
from prunable.experiments.backends.ray import RayBackend
from prunable.experiments.backends.serial import SerialBackend

__all__ = ["Backend", "Pool", "ProcessBackend", "RayBackend", "SerialBackend", "Task"]
