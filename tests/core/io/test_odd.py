"""Real odd files: each opens as other libraries read it, or says why in one line.

`python -m benchmarks.odd` prints what came of each.
"""

import numpy as np
import pytest

from benchmarks import odd
from e2miseg_core.errors import ReadError


@pytest.mark.slow
def test_every_odd_file_opens_right_or_is_refused_in_one_line(shared_data):
    outcomes = list(odd.examine_all(shared_data / "odd"))
    assert [each for each in outcomes if not each.is_right] == []
    equal = [each for each in outcomes if each.voxels_differ is not None]
    assert len(equal) >= 36
    refused = {each.name.partition("/")[0] for each in outcomes if each.line}
    # A truncated recording, a picture of many slices; and voxels without their header.
    assert refused <= {"parrec_truncated", "dicom_gzipped", "nrrd_detached_header"}


@pytest.fixture
def save(tmp_path):
    """Save an array as the only file of a folder of odd ones."""

    def write(array):
        (tmp_path / "item").mkdir()
        np.save(tmp_path / "item" / "a.npy", array)
        return tmp_path

    return write


def test_a_difference_is_noticed(save, monkeypatch):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    folder = save(array)
    (outcome,) = odd.examine_all(folder)
    assert outcome.is_right
    assert outcome.voxels_differ is None

    def outcome_against(voxels, affine):
        libraries = {"numpy": ("numpy", lambda _: (voxels, affine))}
        monkeypatch.setattr(odd, "LIBRARIES", libraries)
        return next(odd.examine_all(folder))

    affine = odd.open_volume(folder / "item" / "a.npy").source.geometry.affine_xyz
    assert outcome_against(array.T, affine).is_right
    flipped = affine @ np.diag([-1, 1, 1, 1])  # the same voxels the other way round
    flipped[0, 3] += 3 * affine[0, 0]
    assert outcome_against(array.T[::-1], flipped).is_right
    assert not outcome_against(array.T[::-1], affine).is_right
    assert not outcome_against(array.T + 1, affine).is_right
    moved = affine.copy()
    moved[1, 3] += 0.1
    assert not outcome_against(array.T, moved).is_right
    assert not outcome_against(array.T[1:], affine).is_right


def test_a_refusal_must_be_one_line(save, monkeypatch):
    def refuse(path):
        raise ReadError(found=f"{path}", needed="b", do="c")

    folder = save(np.zeros((2, 3, 4)))
    monkeypatch.setattr(odd, "open_volume", refuse)
    (outcome,) = odd.examine_all(folder)
    assert outcome.is_right
    assert outcome.line == "./a.npy; needed: b; c"
    assert "| item/a.npy | ./a.npy; needed: b; c |" in odd.markdown([outcome])
    assert not odd.Outcome("a", line="x\ny; needed: b").is_right
    assert "WRONG" in odd.markdown([odd.Outcome("a", line="what?")])
