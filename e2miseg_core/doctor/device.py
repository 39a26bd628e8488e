"""What torch computes on."""

import shutil
from collections.abc import Mapping

from e2miseg_core.doctor.check import Check, Probe

__all__ = ["TORCH_PROBE", "device_checks"]

TORCH_PROBE = ("-m", "e2miseg_core.doctor.torch_probe")
GIB = 2**30
PICK_TORCH = "choose torch's build for your computer at https://pytorch.org/get-started"


def device_checks(said: Probe) -> list[Check]:
    """Findings about torch and its devices.

    Parameters
    ----------
    said : Probe
        What the child process of `TORCH_PROBE` said.

    Returns
    -------
    list of Check
    """
    devices = said.facts.get("devices")
    if not isinstance(devices, list) or not devices:
        lines = said.complaint.splitlines() or ["no answer"]
        return [
            Check(
                name="torch",
                ok=False,
                found=f"does not start: {lines[-1]}",
                do=f"reinstall it; {PICK_TORCH}",
            )
        ]
    found = [_device(device) for device in devices]
    if len(devices) == 1:
        found.append(_no_gpu(built_for_cuda=bool(said.facts.get("cuda"))))
    return found


def _device(device: Mapping[str, object]) -> Check:
    where = str(device["device"])
    parts = [str(device["name"])]
    memory = device.get("memory")
    if isinstance(memory, int):
        parts.append(f"{memory / GIB:.0f} GiB")
    parts.append("float32 and bfloat16" if device["bf16"] else "float32")
    found = ", ".join(parts)
    problem = device["problem"]
    if not problem:
        return Check(name=f"Device {where}", ok=True, found=found)
    needed = where == "cpu"
    return Check(
        name=f"Device {where}",
        ok=False,
        found=f"{found}: {problem}",
        do=PICK_TORCH if needed else f"use --device cpu, or {PICK_TORCH}",
        needed=needed,
    )


def _no_gpu(*, built_for_cuda: bool) -> Check:
    """Why only the CPU was found: no GPU, another build of torch, or a driver."""
    if shutil.which("nvidia-smi") is None:
        return Check(
            name="GPU",
            ok=None,
            found="none found; prediction works on the CPU, training is slow",
            do="use a computer with an NVIDIA or Apple GPU for long training",
            needed=False,
        )
    reason = (
        "its driver is too old for this torch"
        if built_for_cuda
        else "this torch is built without CUDA"
    )
    remedy = "update the NVIDIA driver" if built_for_cuda else PICK_TORCH
    return Check(
        name="GPU",
        ok=None,
        found=f"an NVIDIA driver is here, but {reason}",
        do=remedy,
        needed=False,
    )
