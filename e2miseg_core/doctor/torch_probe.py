"""Child process: where torch computes here, and which models load. Prints JSON."""

import json

import torch

from e2miseg_core.devices import cpu_has_bf16
from e2miseg_core.errors import ModelError
from e2miseg_core.model import load_model
from e2miseg_core.models import list_models

__all__ = ["main"]


def main() -> None:
    """Print what was found."""
    devices = [_describe("cpu", _cpu_name(), bf16=cpu_has_bf16())]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        with torch.cuda.device(index):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        device = _describe(f"cuda:{index}", properties.name, bf16=bf16)
        device["memory"] = properties.total_memory
        devices.append(device)
    if torch.backends.mps.is_available():
        devices.append(_describe("mps", "Apple GPU", bf16=False))
    report = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": devices,
        "models": {entry.name: _model_problem(entry.name) for entry in list_models()},
    }
    print(json.dumps(report), flush=True)  # noqa: T201 - how a child answers


def _describe(device: str, name: str, *, bf16: bool) -> dict[str, object]:
    return {"device": device, "name": name, "bf16": bf16, "problem": _problem(device)}


def _problem(device: str) -> str:
    """Why a small convolution fails or gives a wrong value, "" where it works."""
    image = torch.ones(1, 1, 3, 3, 3)
    try:
        where = torch.device(device)
        result = torch.nn.functional.conv3d(image.to(where), image.to(where)).item()
    except RuntimeError as error:  # torch's word for every failure of a device
        return str(error).strip().splitlines()[0]
    return "" if result == image.numel() else f"a sum of 27 ones gave {result}"


def _model_problem(name: str) -> str:
    """Why a model does not load, "" where it does; loading compares its hash."""
    try:
        load_model(name)
    except ModelError as error:
        return str(error)
    return ""


def _cpu_name() -> str:
    return str(torch.cpu.get_capabilities().get("cpu_name") or "CPU")


if __name__ == "__main__":
    main()
