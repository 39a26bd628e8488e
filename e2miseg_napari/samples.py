"""npe2 sample data: the phantom that comes with the package."""

from e2miseg_core.samples import sample_path
from e2miseg_napari.convert import LayerData
from e2miseg_napari.loading import load_layers

__all__ = ["open_phantom"]


def open_phantom() -> list[LayerData]:
    """Open the bundled phantom, an oblique scan with lesions of several sizes."""
    return load_layers(sample_path())
