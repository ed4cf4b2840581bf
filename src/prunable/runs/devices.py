"""Where runs compute: what the names of devices stand for on this machine."""

import platform
from pathlib import Path

import torch

from prunable.errors import InputError

DEVICES = "auto, cpu, cuda, or one of several such as cuda:1"


def devices_of(name: str) -> tuple[str, ...]:
    """Devices that a name stands for: "auto" and "cuda" are every GPU; without one, auto is cpu.

    Raises InputError if the name is unknown, or this machine has no such device.
    """
    there = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
    if name == "auto":
        return there or ("cpu",)
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError.parameter("device", "run", f"one of {DEVICES}", name)
    if device.type == "cpu":
        return (name,)
    wanted = there if device.index is None else (name,)
    if not wanted or not set(wanted) <= set(there):
        known = f"one of cpu, {', '.join(there)}" if there else "cpu, for there is no GPU here"
        raise InputError.parameter("device", "run", known, name, "Choose auto or cpu.")
    return wanted


def is_accelerator(name: str) -> bool:
    """Whether a device wants many networks at once; on processors a wide one fills a core."""
    return torch.device(name).type != "cpu"


def described(name: str) -> str:
    """A device as the record of a run names it, such as "cuda:0 (NVIDIA H100)"."""
    if not is_accelerator(name):
        return name
    return f"{name} ({torch.cuda.get_device_name(name)})"


def processor() -> str:
    """The processor of this machine, as its maker names it where the system says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
