"""Numbers in words: sizes, times, volumes, as the panel shows them."""

from collections.abc import Sequence

from e2miseg_core.geometry import Geometry
from e2miseg_napari.protocol import JobProgress

__all__ = [
    "bytes_in_words",
    "directions_in_words",
    "grid_in_words",
    "progress_in_words",
    "time_in_words",
    "volume_in_words",
]

_UNITS = {"mm": "mm", "um": "µm", "nm": "nm"}
_TOWARDS = {
    "R": "right",
    "L": "left",
    "A": "anterior",
    "P": "posterior",
    "S": "superior",
    "I": "inferior",
}


def time_in_words(seconds: float) -> str:
    """Return about how long it is: "about 20 s", "about 3 min", "about 1 h 10 min"."""
    if seconds < 3:
        return "a few seconds"
    if seconds < 55:
        step = 1 if seconds < 10 else 5
        return f"about {round(seconds / step) * step} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {max(1, minutes)} min"
    minutes = round(minutes / 5) * 5
    hours, rest = divmod(minutes, 60)
    return f"about {hours} h" + (f" {rest} min" if rest else "")


def progress_in_words(step: JobProgress) -> str:
    """Return "tile 12 of 40, about 20 s left", or how far another stage has come.

    `done` steps are finished, so the one being worked on is the next.
    """
    if not step.total:
        return f"{step.stage or 'working'}…"
    if step.stage != "predicting":
        return f"{step.stage or 'working'}, {100 * step.done // step.total} %"
    where = f"tile {min(step.done + 1, step.total)} of {step.total}"
    if step.done >= step.total:
        return f"{where}, finishing…"
    if step.seconds_left is None:
        return f"{where}, estimating the time left…"
    return f"{where}, {time_in_words(step.seconds_left)} left"


def grid_in_words(geometry: Geometry) -> str:
    """Return "40 x 256 x 256 voxels of 1.2 x 0.9 x 0.9 mm" (Z, Y, X)."""
    sizes = " × ".join(str(size) for size in geometry.shape)
    steps = _product(geometry.spacing)
    return f"{sizes} voxels of {steps} {_UNITS[geometry.unit]}"


def directions_in_words(orientation: str) -> str:
    """Return "superior, posterior, left" for "SPL"."""
    return ", ".join(_TOWARDS[letter] for letter in orientation)


def bytes_in_words(count: float) -> str:
    """Return a size with two or three digits, such as "22.4 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    if unit == "bytes" or count >= 100:
        return f"{count:.0f} {unit}"
    return f"{count:.1f} {unit}"


def volume_in_words(voxels: int, spacing: Sequence[float], unit: str) -> str:
    """Return a volume in ml or µl; for microscopy in the cube of a unit of length."""
    volume = voxels * float(spacing[0]) * float(spacing[1]) * float(spacing[2])
    if unit == "mm":
        ml = volume / 1000
        return f"{_digits(ml)} ml" if ml >= 0.01 or not ml else f"{_digits(volume)} µl"
    if volume >= 1e6:
        larger = {"um": "mm", "nm": "µm"}[unit]
        return f"{_digits(volume / 1e9)} {larger}³"
    return f"{_digits(volume)} {_UNITS[unit]}³"


def _digits(number: float) -> str:
    if number == 0:
        return "0"
    if number >= 1e6:
        return f"{number:.2e}"
    if number >= 100:
        return f"{number:.0f}"
    return f"{number:.3g}"


def _product(steps: Sequence[float]) -> str:
    return " × ".join(f"{step:.3g}" for step in steps)
