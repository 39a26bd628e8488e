"""What a training set is like: its grids, intensities and labels."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from e2miseg_core.boxes import Box, box_from_json, box_shape
from e2miseg_core.errors import ConfigError

__all__ = ["CaseFingerprint", "Fingerprint", "ForegroundIntensities"]


Triple = tuple[int, int, int]
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFingerprint:
    """One case of a training set.

    Attributes
    ----------
    name : str
    shape : tuple of 3 int
        Voxels, ZYX.
    spacing : tuple of 3 float
        ZYX, mm.
    box : three (start, stop)
        Smallest box around the voxels that are not 0 in every channel; the whole
        volume where all are.
    voxels : mapping of int to int
        Voxels of each label value above 0 that occurs.
    assumed_spacing : bool
        Whether the file states no size of voxels.
    """

    name: str
    shape: Triple
    spacing: tuple[float, float, float]
    box: Box
    voxels: Mapping[int, int] = field(default_factory=dict)
    assumed_spacing: bool = False

    @property
    def cropped_shape(self) -> Triple:
        """Voxels of the non-zero box."""
        return box_shape(self.box)

    @property
    def nonzero_share(self) -> float:
        """Part of the volume that the non-zero box takes, above 0 to 1."""
        return float(np.prod(self.cropped_shape) / np.prod(self.shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class ForegroundIntensities:
    """Intensities of one channel at labelled voxels, in image units.

    `low` and `high` are the 0.5 and 99.5 percentiles.
    """

    mean: float
    std: float
    median: float
    minimum: float
    maximum: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What planning needs to know of a training set.

    Attributes
    ----------
    cases : tuple of CaseFingerprint
    channels : tuple of str
        Names, which may tell the modality.
    foreground : tuple of ForegroundIntensities or None
        One a channel; None where too few voxels are labelled.
    files : tuple
        Names, sizes and dates of the files, by which a change is noticed.
    """

    cases: tuple[CaseFingerprint, ...]
    channels: tuple[str, ...]
    foreground: tuple[ForegroundIntensities | None, ...]
    files: tuple[Any, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fingerprint as JSON values."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Fingerprint":
        """Read what `to_json` wrote; ConfigError for anything else."""
        try:
            if values["version"] != VERSION:
                raise _unknown()
            return cls(
                cases=tuple(_case_from_json(case) for case in values["cases"]),
                channels=tuple(values["channels"]),
                foreground=tuple(
                    None if stored is None else ForegroundIntensities(**stored)
                    for stored in values["foreground"]
                ),
                files=tuple(values["files"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unknown() from error

    def summary(self) -> dict[str, Any]:
        """What a model card tells of it: JSON values, of fixed size."""
        voxels = sum(int(np.prod(case.shape)) for case in self.cases)
        labelled: dict[int, int] = {}
        for case in self.cases:
            for value, count in case.voxels.items():
                labelled[value] = labelled.get(value, 0) + count
        return {
            "cases": len(self.cases),
            "spacing": _spread([case.spacing for case in self.cases]),
            "shape": _spread([case.shape for case in self.cases]),
            "nonzero_share": round(
                float(np.median([case.nonzero_share for case in self.cases])), 4
            ),
            "label_share": {
                str(value): float(f"{count / voxels:.4g}")
                for value, count in sorted(labelled.items())
            },
            "foreground": {
                name: None if found is None else asdict(found)
                for name, found in zip(self.channels, self.foreground, strict=True)
            },
        }


def _spread(triples: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Median, smallest and largest of each axis."""
    table = np.array(triples, np.float64)
    rows = {
        "median": np.median(table, axis=0),
        "smallest": table.min(axis=0),
        "largest": table.max(axis=0),
    }
    return {name: [float(f"{v:.6g}") for v in row] for name, row in rows.items()}


def _case_from_json(stored: Mapping[str, Any]) -> CaseFingerprint:
    plain = CaseFingerprint(**stored)
    z, y, x = plain.spacing
    depth, height, width = plain.shape
    return replace(
        plain,
        shape=(depth, height, width),
        spacing=(z, y, x),
        box=box_from_json(plain.box),
        voxels={int(value): count for value, count in plain.voxels.items()},
    )


def _unknown() -> ConfigError:
    return ConfigError(
        found="a fingerprint of a training set in another form",
        needed="one that this version wrote",
        do="remove fingerprint.json from the run's folder, so that it is made anew",
    )
