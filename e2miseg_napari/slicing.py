"""Whether napari waits for each slice, or reads it in the background.

That is a preference of napari's, for all layers and plugins, so only the user sets it.
"""

from napari.layers import Layer
from napari.settings import get_settings

from e2miseg_napari.convert import own_metadata

__all__ = ["HINT", "read_in_background", "window_waits_for"]

HINT = (
    "Turns on napari's preference Experimental > Render Images Asynchronously. The "
    "window then goes on while a slice is read."
)


def window_waits_for(layer: Layer) -> bool:
    """Whether the window stands still while a slice of a layer is read, noticeably."""
    slow = bool(own_metadata(layer).get("slow"))
    return slow and not get_settings().experimental.async_


def read_in_background() -> None:
    """Have napari read slices in a thread, now and when it is started again."""
    get_settings().experimental.async_ = True
