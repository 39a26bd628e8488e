"""What a volume knows that the format of the output cannot hold."""

from e2miseg_core.io.formats import Format
from e2miseg_core.io.plan import Kind
from e2miseg_core.volume import Volume

__all__ = ["losses"]

_COLOURS = ("red", "green", "blue")


def losses(volume: Volume, kind: Kind, target: Format) -> tuple[str, ...]:
    """Say in notes what is left out.

    Parameters
    ----------
    volume : Volume
        That is written.
    kind : str
        As what.
    target : Format
        That is written to.
    """
    notes = []
    segments = volume.segments
    if kind == "labels" and segments is not None and not target.keeps_names:
        values = {*segments.names, *segments.colors}
        if values:
            count = "1 label" if len(values) == 1 else f"{len(values)} labels"
            notes.append(
                f"names and colours of {count} left out: {target.name} holds none"
            )
    details = {} if volume.source is None else volume.source.details
    if volume.n_channels > 1 and "frame_time" in details and target.key != "nifti":
        notes.append(f"the time between frames left out: {target.name} holds none")
    if volume.channels[:3] == _COLOURS:
        notes.append("colours written as channels: red, green, blue")
    return tuple(notes)
