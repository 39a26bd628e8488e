"""Whether a mouse button is held down over the picture, as while somebody paints."""

from collections.abc import Generator

from napari.components import ViewerModel

__all__ = ["DragWatch"]


class DragWatch:
    """Knows it from `open` to `close`.

    Parameters
    ----------
    viewer : ViewerModel
        Whose picture it is.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self.held = False

    def open(self) -> None:
        """Begin to watch."""
        self.held = False
        self._viewer.mouse_drag_callbacks.append(self._on_drag)

    def close(self) -> None:
        """Watch no more; may be called twice."""
        if self._on_drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._on_drag)
        self.held = False

    def _on_drag(self, _viewer: ViewerModel, event: object) -> Generator[None]:
        self.held = True
        yield
        while getattr(event, "type", "") == "mouse_move":
            yield
        self.held = False
