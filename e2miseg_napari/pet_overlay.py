"""PET beside another image is laid over it in colours, as readers are used to."""

from typing import Any

from napari.components import LayerList
from napari.layers import Image, Layer

from e2miseg_napari.convert import own_metadata

__all__ = ["PetOverlay"]

_PET = ("SUV", "PET")  # how the names of PET's channels begin
_USUAL = ("translucent", "translucent_no_depth")
_GRAY, _HOT = "gray", "inferno"


class PetOverlay:
    """Shows PET with a hot colormap once another image is in the viewer.

    Layers that the user has coloured stay as they are.

    Parameters
    ----------
    layers : LayerList
        Of the viewer.
    """

    def __init__(self, layers: LayerList) -> None:
        self._layers = layers
        layers.events.inserted.connect(self._on_inserted)

    def _on_inserted(self, _event: Any = None) -> None:
        images = [layer for layer in self._layers if _is_image(layer)]
        pets = [layer for layer in images if _is_pet(layer)]
        if not pets or len(pets) == len(images):
            return
        for pet in pets:
            if pet.colormap.name == _GRAY:
                pet.colormap = _HOT
        # Whichever lies on top is added to what is below it.
        for upper in images[1:]:
            if upper.blending in _USUAL or upper in pets:
                upper.blending = "additive"


def _is_image(layer: Layer) -> bool:
    own = own_metadata(layer)
    return isinstance(layer, Image) and own.get("role") == "image"


def _is_pet(layer: Layer) -> bool:
    own = own_metadata(layer)
    channels, channel = own.get("channels", ()), own.get("channel")
    return channel is not None and str(channels[channel]).startswith(_PET)
