"""From an address to layer data: opened, unpacked, sampled. No window is needed."""

from collections.abc import Callable

from e2miseg_core.errors import Cancelled
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.io.address import AnySource
from e2miseg_core.io.naming import absolute, short_name
from e2miseg_core.progress import Progress
from e2miseg_core.volume import Preparation, Volume
from e2miseg_napari.convert import LayerData, image_layers

__all__ = ["OPENING", "load_labels", "load_layers"]

OPENING = "opening"


def load_layers(
    source: AnySource,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[LayerData]:
    """Open a volume and make all that its layers need; may take long.

    Parameters
    ----------
    source : str, Path or Address
        What is relative is made absolute, since the worker opens the same file,
        wherever it was started.
    on_progress : callable, optional
        Called with what is being done, from this thread. With it a big compressed
        file is unpacked now; without it when its voxels are asked for.
    cancelled : callable
        Asked whenever there is progress.

    Raises
    ------
    ReadError, GeometryError
        In one line, what is wrong and what to do; `ChoiceError` where there are
        several images.
    Cancelled
        If the user thought better of it.
    """
    return _load(source, on_progress, cancelled, open_volume)


def load_labels(
    source: AnySource,
    on_progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[LayerData]:
    """Open a volume as `load_layers` does, whose voxels the user says are labels."""
    return _load(source, on_progress, cancelled, open_labels)


def _load(
    source: AnySource,
    on_progress: Callable[[Progress], None] | None,
    cancelled: Callable[[], bool],
    open_it: Callable[[AnySource], Volume],
) -> list[LayerData]:
    address = absolute(source)
    stage = f"opening {short_name(address)}"
    if on_progress is not None:
        on_progress(Progress(done=0, total=0, stage=stage))
    volume = open_it(address)
    if volume.preparation is not None and on_progress is not None:
        _prepare(volume.preparation, on_progress, cancelled)
        on_progress(Progress(done=0, total=0, stage=stage))
    if cancelled():
        raise Cancelled(OPENING)
    return image_layers(volume)


def _prepare(
    work: Preparation,
    on_progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
) -> None:
    def report(step: Progress) -> None:
        on_progress(step)
        if cancelled():
            raise Cancelled(OPENING)

    try:
        work.wait(report)
    except Cancelled:
        work.cancel()
        raise
