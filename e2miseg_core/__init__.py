"""Edge-aware segmentation of large 3D volumes.

The names below load when they are first used: importing the package is quick and
leaves torch alone, so that a viewer can read model cards and volumes without it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2miseg_core.conversion import convert
    from e2miseg_core.inference.prediction import predict
    from e2miseg_core.io import open_volume
    from e2miseg_core.model import load_model

__all__ = ["__version__", "convert", "load_model", "open_volume", "predict"]

__version__ = "0.1.0"

_HOMES = {
    "convert": "e2miseg_core.conversion",
    "load_model": "e2miseg_core.model",
    "open_volume": "e2miseg_core.io",
    "predict": "e2miseg_core.inference.prediction",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
