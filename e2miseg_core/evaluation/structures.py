"""What is judged: single label values, or regions made of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.errors import ConfigError

__all__ = [
    "INSTANCES",
    "PRESETS",
    "LabelKey",
    "Structure",
    "check_structures",
    "named_structures",
    "parse_region",
    "values_of",
]

# A single label value; the values of a region in rising order, "1+2+3"; "*" for all.
LabelKey: TypeAlias = int | str

_MOST_DIGITS = 10  # of a label value: labels have 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """Label values that are judged as one.

    Attributes
    ----------
    name : str
    values : tuple of int
        Rising; one for a label, several for a region, none for every value above 0.
    """

    name: str
    values: tuple[int, ...]

    @property
    def key(self) -> LabelKey:
        """The label value, "1+2+3" for a region, or "*" for every value above 0."""
        if len(self.values) == 1:
            return self.values[0]
        return "+".join(map(str, self.values)) or "*"

    def mask(self, labels: NDArray[Any]) -> NDArray[np.bool_]:
        """Voxels that bear one of the values."""
        if not self.values:
            return np.asarray(labels > 0, dtype=bool)
        mask = labels == self.values[0]
        for value in self.values[1:]:
            mask |= labels == value
        return np.asarray(mask, dtype=bool)


def _regions(**values: tuple[int, ...]) -> tuple[Structure, ...]:
    return tuple(Structure(name=name, values=v) for name, v in values.items())


# BraTS has been numbered in three ways; the regions are the same.
PRESETS: Mapping[str, tuple[Structure, ...]] = {
    "acdc": _regions(RV=(1,), Myo=(2,), LV=(3,)),
    # 1 edema, 2 non-enhancing, 3 enhancing: Medical Segmentation Decathlon.
    "brats": _regions(ET=(3,), TC=(2, 3), WT=(1, 2, 3)),
    # 1 necrotic and non-enhancing, 2 edema, 4 enhancing: BraTS 2017 to 2021.
    "brats2017": _regions(ET=(4,), TC=(1, 4), WT=(1, 2, 4)),
    # The same with 3 enhancing: BraTS from 2023 on.
    "brats2023": _regions(ET=(3,), TC=(1, 3), WT=(1, 2, 3)),
}


# Label maps whose numbers count objects and mean nothing else.
INSTANCES = Structure(name="instances", values=())


def values_of(key: LabelKey) -> tuple[int, ...]:
    """Label values of a structure, from its key."""
    return () if key == INSTANCES.key else tuple(map(int, str(key).split("+")))


def parse_region(text: str) -> Structure:
    """Read a region as a user writes it: `WT=1+2+3`.

    Raises
    ------
    ConfigError
        If it is of another form.
    """
    name, _, values = text.partition("=")
    parts = [part.strip() for part in values.split("+")]
    known = all(part.isdecimal() and len(part) <= _MOST_DIGITS for part in parts)
    if not name.strip() or not known:
        raise _wrong(text)
    numbers = sorted({int(part) for part in parts})
    if len(numbers) < len(parts) or numbers[0] == 0:
        raise _wrong(text)
    return Structure(name=name.strip(), values=tuple(numbers))


def _wrong(text: str) -> ConfigError:
    return ConfigError(
        found=f"the region {text}",
        needed="a name and label values above 0, each once",
        do="write it as WT=1+2+3",
    )


def check_structures(structures: Sequence[Structure]) -> tuple[Structure, ...]:
    """Raise ConfigError unless there are some, of different names and values."""
    names = [one.name for one in structures]
    same_values = len({one.key for one in structures}) < len(structures)
    if not names or len(set(names)) < len(names) or same_values:
        raise ConfigError(
            found=f"the label names {', '.join(names) or '(none)'}"
            + (", two of the same values" if same_values else ""),
            needed="at least one class, each with its own name",
            do="mend the names",
        )
    return tuple(structures)


def named_structures(label_names: Mapping[int, str]) -> tuple[Structure, ...]:
    """Make a structure of each label value; 0, the background, is left out."""
    return tuple(
        Structure(name=name, values=(value,))
        for value, name in sorted(label_names.items())
        if value != 0
    )
