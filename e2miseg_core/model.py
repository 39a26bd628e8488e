"""A model: a network with weights and its card, in one `.safetensors` file."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from e2miseg_core.errors import ConfigError, E2MISegError, ModelError
from e2miseg_core.model_card import CARD_KEY, ModelCard, read_card
from e2miseg_core.models import find_model
from e2miseg_core.networks import Network, build_network, network_from_json
from e2miseg_core.tensor_file import write_tensors

__all__ = ["Model", "load_model", "save_model"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A network in evaluation mode and the card that goes with it."""

    network: Network
    card: ModelCard

    @property
    def has_edges(self) -> bool:
        """Whether the network tells edges too; one of another library does not."""
        return bool(getattr(self.network, "has_edges", False))


def load_model(name: str | Path) -> Model:
    """Load a model by name or from a file; weights are float32 in memory.

    Parameters
    ----------
    name : str or Path
        An installed or starter model's name, or the path of a `.safetensors` file.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If there is no such model, or the file is damaged or of another kind.
    """
    path = find_model(name)
    card = read_card(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            found=f"{path.name} is damaged ({error})",
            needed="the whole file as it was written",
            do="copy it again from its source",
        ) from error
    if hash_model(tensors, card) != card.hash:
        raise ModelError(
            found=f"the contents of {path.name} do not match its own hash",
            needed="the file as it was written",
            do="copy it again from its source",
        )
    return Model(network=_build(path, card, tensors), card=card)


def save_model(network: Network, card: ModelCard, path: str | Path) -> ModelCard:
    """Write a model file; weights are stored as float16.

    Statistics of norms, and tensors with values that float16 cannot hold, stay float32.

    Parameters
    ----------
    network : Network
    card : ModelCard
        Its `hash` is filled in.
    path : str or Path
        Ends in `.safetensors`; replaced in one step when everything is written.

    Returns
    -------
    ModelCard
        The card as written.

    Raises
    ------
    WriteError
        If the file cannot be written; nothing is left under its name then.
    ModelError
        If a weight is not finite.
    """
    path = Path(path)
    statistics = {name for name, _ in network.named_buffers()}
    tensors = {
        name: _stored(tensor.detach().cpu(), exact=name in statistics)
        for name, tensor in network.state_dict().items()
    }
    _check_finite(path, tensors)
    card = replace(card, hash=hash_model(tensors, card))
    metadata = {CARD_KEY: json.dumps(card.to_json())}
    do = "free some space or choose another folder"
    write_tensors(path, tensors, metadata, do=do)
    return card


def hash_model(tensors: dict[str, Tensor], card: ModelCard) -> str:
    """SHA-256 over tensor names, types, shapes and bytes, and the card."""
    values = card.to_json() | {"hash": ""}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stored(tensor: Tensor, *, exact: bool) -> Tensor:
    """A tensor as a file holds it."""
    half = _as_float(tensor, torch.float16)
    kept = exact or not torch.equal(half.isfinite(), tensor.isfinite())
    return (_as_float(tensor, torch.float32) if kept else half).contiguous()


def _check_finite(path: Path, tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ModelError(
                found=f"values of {name} in {path.name} that are not finite",
                needed="numbers: a training that ran away leaves none",
                do="take an earlier model, or train with a lower learning rate",
            )


def _as_float(tensor: Tensor, kind: torch.dtype) -> Tensor:
    """A tensor of another precision; whole numbers, which count steps, stay."""
    return tensor.to(kind) if tensor.is_floating_point() else tensor


def _build(path: Path, card: ModelCard, tensors: dict[str, Tensor]) -> Network:
    _check_finite(path, tensors)
    do = "get the file again from its source, or update e2miseg-napari"
    try:
        config = network_from_json(card.network)
        config.check_patch(card.patch_size)
    except (ConfigError, TypeError) as error:
        what = error.found if isinstance(error, ConfigError) else error
        needed = getattr(error, "needed", "whole numbers")
        raise ModelError(
            found=f"{path.name} holds {what!s:.200}", needed=needed, do=do
        ) from error
    own, told = (
        (config.in_channels, config.n_classes),
        (len(card.channels), card.n_classes),
    )
    try:
        if own != told:
            msg = f"channels and classes {own}, not {told}"
            raise ValueError(msg)  # noqa: TRY301 - told like the library's own
        # No memory is taken for what a card says before the file has proved to hold it.
        with torch.device("meta"):
            network = build_network(config)
        network.load_state_dict(
            {k: _as_float(v, torch.float32) for k, v in tensors.items()}, assign=True
        )
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, E2MISegError):
            raise
        reason = " ".join(f"{error!s:.200}".split())
        raise ModelError(
            found=f"the weights of {path.name} do not fit its card ({reason})",
            needed="weights and card of one network",
            do=do,
        ) from error
    return network.eval()
