"""Layers that another reading of the same image takes the place of."""

from collections.abc import Iterable
from dataclasses import replace

from napari.components import LayerList
from napari.layers import Layer

from e2miseg_core.io.address import Address
from e2miseg_napari.convert import own_metadata
from e2miseg_napari.project_session import ProjectSession

__all__ = ["OutdatedLayers"]


class OutdatedLayers:
    """Removes an image when the user has it read anew: resized, or as labels.

    Parameters
    ----------
    layers : LayerList
        Of the viewer.
    session : ProjectSession
        Whose image stays: its labels lie on it.
    """

    def __init__(self, layers: LayerList, session: ProjectSession) -> None:
        self._layers, self._session = layers, session
        self._expected: dict[Address, str] = {}

    def expect(self, uri: str) -> None:
        """Say that an image is being read anew; until that is done it stays."""
        self._expected[_image(uri)] = uri

    def remove_for(self, added: Iterable[Layer]) -> None:
        """Remove the images that new layers, not yet in the viewer, stand for."""
        for image in {_image(_uri(layer)) for layer in added}:
            outdated = self._expected.pop(image, None)
            found = [layer for layer in self._layers if _uri(layer) == outdated]
            if outdated and self._session.image_layer not in found:
                for layer in found:
                    self._layers.remove(layer)


def _uri(layer: Layer) -> str:
    return str(own_metadata(layer).get("uri", ""))


def _image(uri: str) -> Address:
    """An image's address, whatever size its voxels are said to have."""
    return replace(Address.parse(uri), spacing=None, unit="mm")
