"""The error map as far as nobody has spoken yet: what a human said is not in doubt."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from e2miseg_core.project import MACHINE, LabelStore

__all__ = ["RemainingErrors"]


class RemainingErrors:
    """A prediction's error map, 0 wherever a human has drawn or accepted the label.

    What napari needs of an array, read slice by slice; the store is left as it is.

    Parameters
    ----------
    errors : zarr.Array, shape (Z, Y, X)
    store : LabelStore
        Of the same case; open as long as this is read.
    """

    def __init__(self, errors: Any, store: LabelStore) -> None:
        self._errors, self._authority = errors, store.authority
        self.shape, self.dtype, self.ndim = errors.shape, errors.dtype, errors.ndim
        self.size, self.chunks = errors.size, errors.chunks

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part, by whole numbers and slices."""
        part = np.array(self._errors[key])
        part[np.asarray(self._authority[key]) != MACHINE] = 0
        return part

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        """Read it all (NumPy's protocol)."""
        return self[(slice(None),) * self.ndim].astype(dtype or self.dtype, copy=False)
