"""The state of a training run, in one safetensors file: exact resume, no pickle."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from e2miseg_core.errors import ReadError
from e2miseg_core.tensor_file import write_tensors

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["RunState", "load_checkpoint", "read_state", "save_checkpoint"]

KEY = "e2miseg_run"
StateT = TypeVar("StateT")
NETWORK, BEST, OPTIMIZER = "network.", "best.", "optimizer."


@dataclass(slots=True, kw_only=True)
class RunState:
    """Everything of a run that is not a tensor.

    Attributes
    ----------
    epoch : int
        Epochs finished.
    smoothed : float or None
        Exponential moving average of the selection Dice.
    best : float or None
        Its largest value so far.
    best_epoch : int
    best_dice : float or None
        Selection Dice of the chosen weights themselves.
    seconds : float
        Spent so far, over all sittings.
    settings : dict
        What the run was begun with; a resumed run must have the same.
    """

    epoch: int = 0
    smoothed: float | None = None
    best: float | None = None
    best_epoch: int = 0
    best_dice: float | None = None
    seconds: float = 0.0
    settings: dict[str, Any]


def save_checkpoint(
    path: Path,
    state: "DataclassInstance",
    network: nn.Module,
    best: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the state of a run; the old file is replaced when the new is complete.

    Raises
    ------
    WriteError
        If the file cannot be written; the old one stays.
    """
    tensors = {NETWORK + k: v for k, v in network.state_dict().items()}
    tensors |= {BEST + k: v for k, v in best.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"{OPTIMIZER}{index}.{k}": v for k, v in values.items()}
    # safetensors refuses shared and channels-last storage.
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    metadata = {KEY: json.dumps(asdict(state))}
    do = "free some space and continue with --resume"
    write_tensors(path, tensors, metadata, do=do)


def read_state(path: Path, kind: Callable[..., StateT]) -> StateT:
    """Read a checkpoint's state without its tensors.

    Parameters
    ----------
    path : Path
    kind : type
        Of the state, such as `RunState`.

    Raises
    ------
    ReadError
        If there is no checkpoint, or it is damaged or of another kind.
    """
    try:
        with safe_open(path, "pt") as file:
            return kind(**json.loads((file.metadata() or {})[KEY]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error) from error


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Bring network and optimiser to a saved state.

    Returns
    -------
    dict of Tensor
        The best weights so far.

    Raises
    ------
    ReadError
        If there is no checkpoint, or it is damaged or of another network.
    """
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        network.load_state_dict(_part(tensors, NETWORK))
        optimizer.load_state_dict(
            {
                "state": _optimizer_state(_part(tensors, OPTIMIZER)),
                "param_groups": optimizer.state_dict()["param_groups"],
            }
        )
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise _unusable(path, error) from error
    return _part(tensors, BEST)


def _unusable(path: Path, error: Exception) -> ReadError:
    return ReadError(
        found=f"no usable checkpoint in {path} ({error!s:.200})",
        needed="the run folder of an interrupted training",
        do="start the training anew, without --resume",
    )


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
    }


def _optimizer_state(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    return state
