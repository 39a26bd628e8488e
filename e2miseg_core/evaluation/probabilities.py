"""Stored class probabilities, read part by part."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices
from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation.structures import Structure

__all__ = ["ProbabilityMap", "checked_probabilities"]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ProbabilityMap:
    """Class probabilities of a volume, read part by part.

    Attributes
    ----------
    data : float array or dask array, shape (C, Z, Y, X)
    class_values : tuple of int, length C
        Label value of each channel; 0 is the background.
    """

    data: Any
    class_values: tuple[int, ...]

    def read(self, structure: Structure, box: Box) -> NDArray[np.float32]:
        """Probability of a structure, the sum of its classes', shape (z, y, x).

        Raises
        ------
        ConfigError
            If a class of the structure has no channel.
        """
        values = structure.values or tuple(v for v in self.class_values if v)
        missing = sorted(set(values) - set(self.class_values))
        if missing or len(self.class_values) != self.data.shape[0]:
            raise ConfigError(
                found=f"{self.data.shape[0]} channels of probabilities, of the labels "
                f"{', '.join(map(str, self.class_values))}",
                needed="a channel of every label of "
                + (structure.name or f"label {structure.key}"),
                do="name the model that made them with --model",
            )
        channels = [self.class_values.index(value) for value in values]
        where = box_slices(box)
        parts = [np.asarray(self.data[(c, *where)], np.float32) for c in channels]
        return np.asarray(np.sum(parts, axis=0), dtype=np.float32)


def checked_probabilities(values: NDArray[Any]) -> NDArray[Any]:
    """Give the values back; ConfigError if one is no probability."""
    # Formats and half precision round; logits or percentages are far off.
    if not np.all((values >= -1e-2) & (values <= 1 + 1e-2)):
        raise ConfigError(
            found="values below 0, above 1 or that are no number",
            needed="probabilities from 0 to 1",
            do="give what `e2miseg predict --probabilities` writes",
        )
    return values
