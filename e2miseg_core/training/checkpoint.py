"""The state of a training run, in one safetensors file: exact resume, no pickle."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from e2miseg_core.errors import ReadError
from e2miseg_core.tensor_file import write_tensors

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "KeptWeights",
    "RunState",
    "load_checkpoint",
    "read_state",
    "save_checkpoint",
]

KEY = "e2miseg_run"
StateT = TypeVar("StateT")
NETWORK, BEST, AVERAGE = "network.", "best.", "average."
OPTIMIZER = "optimizer."


@dataclass(slots=True, kw_only=True)
class RunState:
    """Everything of a run that is not a tensor.

    Attributes
    ----------
    version : int
        Of what a checkpoint holds and of how a step draws its random numbers; 1 where
        it does not say.
    epoch : int
        Epochs finished.
    smoothed, smoothed_average : float or None
        Exponential moving average of the selection Dice: of the weights, and of their
        moving average where there is one.
    best : float or None
        The largest value so far of either.
    best_epoch : int
    best_is_average : bool
        The chosen weights are a moving average.
    best_dice : float or None
        Selection Dice of the chosen weights themselves.
    seconds : float
        Spent so far, over all sittings.
    samples, training_seconds : int, float
        Patches trained on, and the part of `seconds` that they took.
    validation_seconds : float or None
        Of the last look at the selection cases.
    skipped, skipped_in_row : int
        Batches left out because their loss was no number, all of them and the last
        ones.
    rescued : bool
        The network began anew, since it had found nothing.
    average_updates : int
        Steps in the moving average of the weights.
    scaler : dict
        Of the gradients in float16.
    settings : dict
        What the run was begun with; a resumed run must have the same.
    """

    version: int = 1
    epoch: int = 0
    smoothed: float | None = None
    smoothed_average: float | None = None
    best: float | None = None
    best_epoch: int = 0
    best_is_average: bool = False
    best_dice: float | None = None
    seconds: float = 0.0
    samples: int = 0
    training_seconds: float = 0.0
    validation_seconds: float | None = None
    skipped: int = 0
    skipped_in_row: int = 0
    rescued: bool = False
    average_updates: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class KeptWeights:
    """Weights beside those in training, by their names in the network's state.

    Attributes
    ----------
    best : dict of Tensor
        The chosen ones so far.
    average : dict of Tensor
        Their moving average; empty where there is none.
    """

    best: Mapping[str, Tensor] = field(default_factory=dict)
    average: Mapping[str, Tensor] = field(default_factory=dict)


def save_checkpoint(
    path: Path,
    state: "DataclassInstance",
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: KeptWeights | None = None,
) -> None:
    """Write the state of a run; the old file is replaced when the new is complete.

    Raises
    ------
    WriteError
        If the file cannot be written; the old one stays.
    """
    tensors = {NETWORK + k: v for k, v in network.state_dict().items()}
    kept = kept or KeptWeights()
    tensors |= {BEST + k: v for k, v in kept.best.items()}
    tensors |= {AVERAGE + k: v for k, v in kept.average.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {
            f"{OPTIMIZER}{index}.{k}": v
            for k, v in values.items()
            if isinstance(v, Tensor)  # SGD has None before the first step
        }
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
) -> KeptWeights:
    """Bring network and optimiser to a saved state.

    Returns
    -------
    KeptWeights

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
    return KeptWeights(best=_part(tensors, BEST), average=_part(tensors, AVERAGE))


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
