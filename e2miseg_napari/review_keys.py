"""Keys of the review, on the viewer and on every layer of ours.

A key of the active layer goes before one of the viewer, and image layers have a C of
their own, so both are bound. Typing in a text field reaches neither.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer

from e2miseg_napari.convert import own_metadata

__all__ = ["ReviewKeys"]


class ReviewKeys:
    """Binds keys until it is closed.

    Parameters
    ----------
    viewer : ViewerModel
        Whose keys they are.
    actions : mapping of str to bound method
        Key, as napari writes it, to what it does. The methods' owner is not kept
        alive.
    """

    def __init__(
        self, viewer: ViewerModel, actions: Mapping[str, Callable[[], object]]
    ) -> None:
        self._viewer = viewer
        self._callbacks = {key: _weakly(do) for key, do in actions.items()}
        self._bind(viewer)
        for layer in viewer.layers:
            self._bind_layer(layer)
        viewer.layers.events.inserted.connect(self._on_inserted)

    def close(self) -> None:
        """Give the keys back."""
        self._viewer.layers.events.inserted.disconnect(self._on_inserted)
        for owner in (self._viewer, *self._viewer.layers):
            for bound, callback in list(owner.keymap.items()):
                if callback in self._callbacks.values():
                    owner.bind_key(bound, None)

    def _bind(self, owner: Any) -> None:
        for key, callback in self._callbacks.items():
            owner.bind_key(key, callback, overwrite=True)

    def _bind_layer(self, layer: Layer) -> None:
        if own_metadata(layer):
            self._bind(layer)

    def _on_inserted(self, event: Any) -> None:
        self._bind_layer(event.value)


def _weakly(method: Callable[[], object]) -> Callable[[object], None]:
    """Call a method as long as its owner lives; napari keeps what is bound."""
    reference = weakref.WeakMethod(method)

    def call(_owner: object) -> None:
        alive = reference()
        if alive is not None:
            alive()

    return call
