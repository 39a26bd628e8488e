"""Every error a user can mend.

E2MISegError
├── ReadError      (OSError)       an input cannot be read
│   └── ChoiceError                it holds several images, and one must be chosen
├── WriteError     (OSError)       an output cannot be written
├── GeometryError  (ValueError)    shapes, affines or spacings make no sense
├── ConfigError    (ValueError)    an option or a setting is wrong
├── ModelError     (ValueError)    a model file is damaged or does not fit the image
├── DatasetError   (ValueError)    a training set is incomplete or inconsistent
├── DeviceError    (RuntimeError)  the asked-for device does not work here
└── Cancelled                      the user stopped the job

Anything else that escapes is a bug and keeps its traceback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

__all__ = [
    "Cancelled",
    "Choice",
    "ChoiceError",
    "ConfigError",
    "DatasetError",
    "DeviceError",
    "E2MISegError",
    "GeometryError",
    "ModelError",
    "ReadError",
    "WriteError",
    "as_user_error",
]


_MOST_LISTED = 12  # choices in one line


class E2MISegError(Exception):
    """A problem that the user can mend, told in one line.

    Parameters
    ----------
    found : str
        What was found.
    needed : str
        What is needed instead.
    do : str
        What the user can do about it.
    """

    def __init__(self, *, found: str, needed: str, do: str) -> None:
        self.found, self.needed, self.do = found, needed, do
        super().__init__(f"{found}; needed: {needed}; {do}")

    def __reduce__(self) -> tuple[object, ...]:
        # Processes hand errors to each other; ours take keywords only.
        return _restore, (type(self), self.found, self.needed, self.do)

    def __str__(self) -> str:
        # OSError subclasses would format their own arguments.
        return " ".join(f"{self.found}; needed: {self.needed}; {self.do}".split())


class ReadError(E2MISegError, OSError):
    """An input cannot be read."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several images in a file or a folder.

    Attributes
    ----------
    part : str
        What opens it: `open_volume(place, part=...)`, or `place#part=...`.
    title : str
        What it is, such as "CT" or "/raw"; names no patient.
    detail : str
        Its size and kind, such as "240 slices of 512 x 512, int16".
    """

    part: str
    title: str
    detail: str = ""

    def __str__(self) -> str:
        # A title often repeats the part, as for the datasets of an HDF5 file.
        same = self.title in ("", self.part)
        name = self.part if same else f"{self.part} = {self.title}"
        return f"{name}, {self.detail}" if self.detail else name


class ChoiceError(ReadError):
    """An input holds several images, and nothing says which one is meant.

    Attributes
    ----------
    choices : tuple of Choice
        All of them; the message names the first few.
    """

    choices: tuple[Choice, ...] = ()

    @classmethod
    def among(cls, place: object, what: str, choices: Sequence[Choice]) -> Self:
        """Make the error that lists what there is to choose from.

        Parameters
        ----------
        place : Address, Path or str
            The file or folder, without a part.
        what : str
            What the images are, in the plural, such as "DICOM series".
        choices : sequence of Choice
            Two or more.
        """
        listed = [f"{choice}" for choice in choices[:_MOST_LISTED]]
        if len(choices) > _MOST_LISTED:
            listed.append(f"and {len(choices) - _MOST_LISTED} more")
        error = cls(
            found=f"{place} holds {len(choices)} {what} ({'; '.join(listed)})",
            needed="one of them",
            do=f"name it, such as {place}#part={choices[0].part}",
        )
        error.choices = tuple(choices)
        return error

    def with_advice(self, do: str) -> Self:
        """Make the same error that tells the user to do something else."""
        error = type(self)(found=self.found, needed=self.needed, do=do)
        error.choices = self.choices
        return error

    def __reduce__(self) -> tuple[object, ...]:
        kind, words = super().__reduce__()[:2]
        return kind, words, {"choices": self.choices}


class WriteError(E2MISegError, OSError):
    """An output cannot be written."""


class GeometryError(E2MISegError, ValueError):
    """Shapes, affines or spacings make no sense."""


class ConfigError(E2MISegError, ValueError):
    """An option or a setting is wrong."""


class ModelError(E2MISegError, ValueError):
    """A model file is damaged, or does not fit the image."""


class DatasetError(E2MISegError, ValueError):
    """A training set is incomplete or inconsistent."""


class DeviceError(E2MISegError, RuntimeError):
    """The device asked for does not work here."""


class Cancelled(E2MISegError):  # noqa: N818 - a decision of the user, not a fault
    """The user stopped the job.

    Parameters
    ----------
    what : str
        That was stopped.
    kept : str
        What became of what was finished.
    """

    kept = "nothing half-written was left"

    def __init__(self, what: str = "the job", *, kept: str = kept) -> None:
        self.kept = kept
        super().__init__(
            found=f"{what} was cancelled",
            needed="nothing",
            do="start it again when you want to",
        )


def as_user_error(error: BaseException) -> E2MISegError | None:
    """Say how a user can mend an exception; None for a bug.

    Disk, rights and memory are the user's to mend, whoever raised the exception.
    """
    if isinstance(error, E2MISegError):
        return error
    # torch.OutOfMemoryError is a RuntimeError; torch must not be loaded to ask.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return DeviceError(
            found="not enough memory",
            needed="more free memory on the device",
            do="close other programs, take --device cpu or a smaller image",
        )
    if isinstance(error, OSError):
        name = f" ({error.filename})" if error.filename else ""
        return WriteError(
            found=f"the system said: {error.strerror or error}{name}",
            needed="files and folders that can be read and written, with space left",
            do="mend that and try again",
        )
    return None


def _restore(
    kind: type[E2MISegError], found: str, needed: str, do: str
) -> E2MISegError:
    """Make an error again on the other side of a pipe."""
    error = kind.__new__(kind)
    E2MISegError.__init__(error, found=found, needed=needed, do=do)
    return error
