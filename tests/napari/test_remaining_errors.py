from types import SimpleNamespace

import numpy as np
import zarr

from e2miseg_core.project import ACCEPTED, HUMAN
from e2miseg_napari.remaining_errors import RemainingErrors


def test_what_a_human_said_is_not_in_doubt():
    stored = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    errors = zarr.array(stored, chunks=(2, 2, 2))
    authority = np.zeros(stored.shape, np.uint8)
    authority[1, 2, 3], authority[0, 0] = HUMAN, ACCEPTED
    volume = zarr.array(authority, chunks=(2, 2, 2))
    shown = RemainingErrors(errors, SimpleNamespace(authority=volume))
    expected = np.where(authority == 0, stored, 0)
    assert (shown.shape, shown.dtype, shown.ndim) == ((3, 4, 5), np.uint8, 3)
    np.testing.assert_array_equal(np.asarray(shown), expected)
    for key in [(1,), (slice(0, 2), 2), (1, 2, 3), (slice(None), slice(1, 3), 4)]:
        np.testing.assert_array_equal(np.asarray(shown[key]), expected[key])
    np.testing.assert_array_equal(errors[:], stored)  # the file stays as it is
