"""The card of a model: what it is, what it needs, how good it is. No torch here.

A model is one `.safetensors` file: tensors, and this card as JSON in the file's
metadata. Reading a card touches only the header of the file.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from e2miseg_core.errors import ModelError
from e2miseg_core.preprocess import Normalization

__all__ = [
    "CARD_KEY",
    "FORMAT_VERSION",
    "LABEL_COLORS",
    "LabelInfo",
    "ModelCard",
    "default_color",
    "read_card",
]

CARD_KEY = "e2miseg_card"
FORMAT_VERSION = 1
MAX_HEADER = 64 << 20  # bytes; a larger header is not one of ours

# Distinct for colour-blind readers: Okabe and Ito (2008), without black.
LABEL_COLORS = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelInfo:
    """One label value with its name and colour ("#rrggbb")."""

    value: int
    name: str
    color: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue from 0 to 255; grey where the colour is of another form."""
        try:
            red, green, blue = bytes.fromhex(self.color.removeprefix("#"))
        except ValueError:
            return 128, 128, 128
        return red, green, blue


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Everything but the weights.

    Attributes
    ----------
    name, description, intended_use, licence, credit : str
        For people. The licence is that of the weights, by their training data.
    labels : tuple of LabelInfo
        Foreground labels, in the order of the network's classes 1, 2, ...
    channels : tuple of str
        Names of the image channels, in the network's order.
    normalizations : tuple of Normalization
        One a channel.
    spacing : tuple of 3 float
        ZYX, mm.
    patch_size : tuple of 3 int
        ZYX, voxels.
    network : mapping
        {"architecture": "e2miseg", "config": {...}}.
    precisions : tuple of str
        Precisions in which the metrics were checked.
    calibration : mapping
        {"temperature": T, ...}, fitted on the selection cases.
    training : mapping
        Recipe, data, cases for training, selection and unseen ones.
    metrics : mapping
        Figures on the unseen cases, with their data.
    parent : str or None
        Hash of the model this one was fine-tuned from.
    hash : str
        SHA-256 of the tensors and of the card without this field.
    """

    name: str
    labels: tuple[LabelInfo, ...]
    channels: tuple[str, ...]
    normalizations: tuple[Normalization, ...]
    spacing: tuple[float, float, float]
    patch_size: tuple[int, int, int]
    network: Mapping[str, Any]
    description: str = ""
    intended_use: str = ""
    licence: str = "unknown"
    credit: str = ""
    precisions: tuple[str, ...] = ("float32",)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    hash: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def n_classes(self) -> int:
        """Classes of the network, background included."""
        return len(self.labels) + 1

    @property
    def label_names(self) -> dict[int, str]:
        """Name of each label value."""
        return {label.value: label.name for label in self.labels}

    @property
    def label_colors(self) -> dict[int, tuple[int, int, int]]:
        """Red, green, blue of each label value."""
        return {label.value: label.rgb for label in self.labels}

    @property
    def temperature(self) -> float:
        """Softmax temperature of the expected-error map, 1 if never fitted."""
        return float(self.calibration.get("temperature", 1.0))

    def to_json(self) -> dict[str, Any]:
        """The card as JSON values."""
        rules = [rule.to_json() for rule in self.normalizations]
        return asdict(self) | {"normalizations": rules}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelCard":
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If the card is of a newer version, or lacks or adds a field.
        """
        version = values.get("format_version")
        if version != FORMAT_VERSION:
            raise ModelError(
                found=f"a model card of format version {version}",
                needed=f"version {FORMAT_VERSION}",
                do="update e2miseg-napari, or ask for a model of the older format",
            )
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        try:
            read = {key: values[key] for key in known}
            read["labels"] = tuple(LabelInfo(**v) for v in values["labels"])
            read["normalizations"] = tuple(
                Normalization.from_json(v) for v in values["normalizations"]
            )
            for name in ("channels", "spacing", "patch_size", "precisions"):
                read[name] = tuple(values[name])
            card = cls(**read)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _wrong_card(found=f"a missing or wrong field ({error})") from error
        if len(card.spacing) != 3 or len(card.patch_size) != 3:
            raise _wrong_card(found="spacing or patch that are not three numbers")
        if unknown:
            raise _wrong_card(found=f"unknown fields ({', '.join(unknown)})")
        return card


def _wrong_card(*, found: str) -> ModelError:
    return ModelError(
        found=f"a model card with {found}",
        needed="a card as this version writes it",
        do="get the model file again from its source",
    )


def default_color(index: int) -> str:
    """Colour of the label at `index`, 0-based, from a colour-blind-safe table."""
    return LABEL_COLORS[index % len(LABEL_COLORS)]


def read_card(path: str | Path) -> ModelCard:
    """Read the card of a model file without its weights, whose size is checked.

    Raises
    ------
    ModelError
        If the file is no model of this project, or damaged.
    """
    path = Path(path)
    metadata = _read_header(path).get("__metadata__", {})
    if not isinstance(metadata, dict) or CARD_KEY not in metadata:
        raise _not_a_model(path, "no model card in its header")
    try:
        values = json.loads(metadata[CARD_KEY])
    except (TypeError, ValueError) as error:
        raise _not_a_model(path, "a damaged model card") from error
    if not isinstance(values, dict):
        raise _not_a_model(path, "a damaged model card")
    return ModelCard.from_json(values)


def _read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, its length checked before it is read."""
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= size <= min(MAX_HEADER, path.stat().st_size - 8):
                raise _not_a_model(path, "no safetensors header")
            header = json.loads(file.read(size))
    except OSError as error:
        raise ModelError(
            found=f"{path} cannot be read ({error.strerror or error})",
            needed="a readable model file",
            do="check the name and your rights to it",
        ) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise _not_a_model(path, "a header that is not JSON") from error
    if not isinstance(header, dict):
        raise _not_a_model(path, "a header that is no JSON object")
    if path.stat().st_size != 8 + size + _tensor_bytes(path, header):
        raise _not_a_model(path, "not the size that its header states")
    return header


def _tensor_bytes(path: Path, header: Mapping[str, Any]) -> int:
    """Bytes of all tensors, by the header's offsets."""
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        return max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (TypeError, LookupError, ValueError) as error:
        raise _not_a_model(path, "a header without tensor offsets") from error


def _not_a_model(path: Path, found: str) -> ModelError:
    return ModelError(
        found=f"{path.name} has {found}",
        needed="a model file (.safetensors) written by `e2miseg train`",
        do="choose another file, or copy it again from its source",
    )
