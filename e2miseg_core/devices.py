"""Which device computes, and in which precision."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

from e2miseg_core.errors import ConfigError, DeviceError

__all__ = [
    "PRECISIONS",
    "autocast",
    "choose_device",
    "choose_precision",
    "lay_channels_last",
]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    DeviceError
        If the device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        mps = torch.backends.mps.is_available()
        return torch.device("mps" if mps else "cpu")
    kind = name.split(":")[0]
    works = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    try:
        device = torch.device(name)
        usable = works.get(kind, False) and (device.index or 0) < max(
            1, torch.cuda.device_count()
        )
    except RuntimeError:
        usable = False
    if not usable:
        raise DeviceError(
            found=f"the device {name!r}, which does not work here",
            needed=f"one of: auto, {', '.join(k for k, ok in works.items() if ok)}",
            do="leave --device out, or see `e2miseg doctor`",
        )
    return device


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware.

    Without it bfloat16 is emulated and slower than float32.
    """
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False  # not Linux: float32 is the safe choice
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_precision(
    asked: str, device: torch.device, checked: tuple[str, ...] | None = None
) -> str:
    """The precision to compute in.

    Parameters
    ----------
    asked : str
        One of `PRECISIONS`. "auto" takes the fastest that the device has and, where
        `checked` is given, the model was checked in; else float32.
    device : torch.device
    checked : tuple of str, optional
        The model card's `precisions`.

    Raises
    ------
    ConfigError
        For an unknown precision, or float16 on a CPU.
    """
    if asked not in PRECISIONS or (asked == "float16" and device.type == "cpu"):
        raise ConfigError(
            found=f"the precision {asked!r} on {device.type}",
            needed="one of auto, float32, bfloat16 (float16 on a GPU only)",
            do="leave --precision out",
        )
    if asked != "auto":
        return asked
    fast = _has_bf16(device) and (not checked or "bfloat16" in checked)
    return "bfloat16" if fast else "float32"


def _has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in hardware: emulation is slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_has_bf16()


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Context in which the network computes in `precision`."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


def lay_channels_last(network: nn.Module) -> None:
    """Lay the weights of 2D and 3D convolutions out as processors are fastest with.

    `Module.to(memory_format=...)` takes networks of one kind only.
    """
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            layout = formats[parameter.ndim]
            parameter.data = parameter.data.contiguous(memory_format=layout)
