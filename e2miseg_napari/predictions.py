"""Predictions as they stand in a viewer's layer list."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from napari.layers import Image, Labels, Layer

from e2miseg_core.geometry import Geometry
from e2miseg_core.model_card import LabelInfo
from e2miseg_napari.convert import own_metadata
from e2miseg_napari.wording import volume_in_words

__all__ = ["Prediction", "find_predictions", "result_metadata"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """One prediction; a layer that the user has removed is None.

    The layers' metadata tells everything about it, so that it outlives the panel.
    """

    id: str
    labels: Labels | None
    error_map: Image | None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that are there."""
        both = (self.labels, self.error_map)
        return tuple(layer for layer in both if layer is not None)

    @property
    def own(self) -> dict[str, Any]:
        """What both layers know about the prediction."""
        return dict(own_metadata(self.layers[0])) if self.layers else {}

    @property
    def title(self) -> str:
        """Model and image."""
        return str(self.own.get("title", ""))

    @property
    def classes(self) -> tuple[LabelInfo, ...]:
        """Classes of the model, without the background."""
        return tuple(LabelInfo(**stored) for stored in self.own.get("classes", ()))

    @property
    def finished(self) -> bool:
        """Whether all voxels have been predicted."""
        return bool(self.own.get("finished"))

    @property
    def unsaved(self) -> bool:
        """Whether closing the viewer would lose the labels."""
        return self.finished and self.labels is not None and not self.own.get("saved")

    @property
    def edited(self) -> bool:
        """Whether somebody has painted in the labels."""
        return bool(self.own.get("edited"))

    def volume_of(self, value: int) -> str:
        """Volume of a class as predicted, in words; empty while unknown."""
        voxels = self.own.get("voxels")
        if voxels is None:
            return ""
        geometry = Geometry.from_json(self.own["geometry"])
        return volume_in_words(voxels.get(value, 0), geometry.spacing, geometry.unit)


def find_predictions(layers: Iterable[Layer]) -> list[Prediction]:
    """Predictions among layers, the oldest first."""
    found: dict[str, dict[str, Layer]] = {}
    for layer in layers:
        own = own_metadata(layer)
        if own.get("role") in {"labels", "error_map"}:
            found.setdefault(own["result"], {})[own["role"]] = layer
    predictions = [
        Prediction(
            id=name, labels=parts.get("labels"), error_map=parts.get("error_map")
        )
        for name, parts in found.items()
    ]
    return sorted(predictions, key=lambda prediction: prediction.own["made"])


def result_metadata(
    name: str, title: str, image: str, geometry: Geometry, model: Mapping[str, Any]
) -> dict[str, Any]:
    """Metadata of the layers of a new prediction.

    Parameters
    ----------
    name : str
        Of the job.
    title : str
        Model and image.
    image : str
        Path that `open_volume` opens and whose grid results are written on.
    geometry : Geometry
        Of that volume.
    model : mapping
        "model" (path), "options" and "classes" (list of LabelInfo as mappings).
    """
    return {
        "result": name,
        "title": title,
        "image": image,
        "geometry": geometry.to_json(),
        "names": {item["value"]: item["name"] for item in model["classes"]},
        **model,
        "made": time.time(),
        "voxels": None,
        "finished": False,
        "edited": False,
        "saved": "",
    }
