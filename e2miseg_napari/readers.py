"""npe2 reader: every format of the core, lazily and with its geometry."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from e2miseg_core.errors import Cancelled, ChoiceError, E2MISegError
from e2miseg_core.io.address import Address
from e2miseg_core.io.formats import FORMATS, format_of
from e2miseg_core.io.naming import short_name
from e2miseg_napari.convert import LayerData, make_layer
from e2miseg_napari.loading import OPENING, load_layers

__all__ = ["get_reader", "read_layers"]

PathOrPaths: TypeAlias = str | Path | Sequence[str | Path]

# What npe2 takes for "opened, and there is nothing to show".
_NOTHING: list[Any] = [(None,)]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerData]] | None:
    """Return the reader if all paths look like volumes that it can open."""
    return read_layers if all(_looks_readable(item) for item in _list(path)) else None


def read_layers(path: PathOrPaths) -> list[LayerData]:
    """Open volumes as layers.

    Called from a script it raises. Called by what a user does in a window, it works in
    a thread, asks which image is meant where there are several, and tells what is
    wrong in a notification; nothing is opened then.

    Raises
    ------
    ReadError, GeometryError
        In one line, what is wrong and what to do.
    """
    from e2miseg_napari.waiting import live_window

    addresses = [Address.parse(str(item)) for item in _list(path)]
    window = live_window()
    if window is None:
        return [layer for address in addresses for layer in load_layers(address)]
    layers: list[Any] = [make_layer(data) for data in _read(addresses, window)]
    return layers or _NOTHING


def _read(addresses: Sequence[Address], window: Any) -> list[LayerData]:
    from napari.utils.notifications import show_error

    from e2miseg_napari.choosing import ask_choices
    from e2miseg_napari.waiting import wait_for

    layers: list[LayerData] = []
    wanted = list(addresses)
    while wanted:
        address = wanted.pop(0)
        try:
            layers += wait_for(partial(load_layers, address), window, what=OPENING)
        except Cancelled:
            break
        except ChoiceError as error:
            chosen = ask_choices(short_name(address), error.choices, window)
            wanted[:0] = [replace(address, part=choice.part) for choice in chosen]
        except E2MISegError as error:
            show_error(str(error))
    return layers


def _looks_readable(item: str | Path) -> bool:
    address = Address.parse(str(item))
    place = address.place.rstrip("/\\")
    if address.is_remote:
        return format_of(place.partition("?")[0]) is not None
    if format_of(place) is not None:
        return True
    path = Path(place).expanduser()
    return path.exists() and any(known.holds(path) for known in FORMATS)


def _list(path: PathOrPaths) -> Sequence[str | Path]:
    return [path] if isinstance(path, str | Path) else path
