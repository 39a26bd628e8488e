"""Counting what was corrected: voxels drawn, edges reviewed, places painted."""

import nibabel as nib
import numpy as np
import pytest
import zarr

from e2miseg_core.io import open_volume
from e2miseg_core.progress import run
from e2miseg_core.project import ACCEPTED, HUMAN, Case, Edge, Project, sites
from e2miseg_core.project.sites import find_sites
from e2miseg_napari.corrections import CorrectionsCounter

SHAPE = (40, 80, 90)  # two chunks along Y and X


@pytest.fixture
def case(tmp_path, tiny_model) -> Case:
    values = np.zeros(SHAPE[::-1], np.uint8)
    values[0, 0, 0] = 1
    scan = tmp_path / "scan.nii"
    nib.save(nib.Nifti1Image(values, np.diag([1.5, 1.5, 1.5, 1])), scan)
    project = Project.create(tmp_path / "study.e2m", model=tiny_model)
    return project.add_case(open_volume(scan))


def write(case: Case, place: tuple[slice, ...], value: int) -> None:
    zarr.open_array(str(case.authority_path / "0"), mode="r+")[place] = value


def edge(box) -> Edge:
    return Edge(
        number=1, box=box, centre=(0, 0, 0), expected_wrong=1, gain=0, classes=(1,)
    )


def count(case: Case, counter: CorrectionsCounter | None = None):
    (found,) = (counter or CorrectionsCounter()).count(case.project).cases
    return found


def test_nothing_was_done(case):
    found = CorrectionsCounter().count(case.project)
    assert (found.places, found.drawn, found.missing) == (0, 0, 6)
    assert found.touched == ()


def test_drawn_voxels_are_those_of_a_human_only(case):
    write(case, np.s_[0:2, 60:70, 60:70], HUMAN)  # 200 voxels across four chunks
    write(case, np.s_[10:20, 0:10, 0:10], ACCEPTED)
    assert count(case).drawn == 200


def test_a_cell_of_16_voxels_with_20_drawn_ones_is_a_place(case):
    write(case, np.s_[0, 0, 0:16], HUMAN)  # 16 in the first cell
    assert count(case).painted == 0
    write(case, np.s_[1, 0, 0:4], HUMAN)  # 20
    assert count(case).painted == 1
    write(case, np.s_[0:2, 0:2, 16:26], HUMAN)  # 40 in the next one
    assert count(case).painted == 2


def test_what_lies_in_a_reviewed_edge_is_no_further_place(case):
    counter = CorrectionsCounter()
    write(case, np.s_[0:4, 0:4, 0:4], HUMAN)
    assert count(case, counter).painted == 1
    log = case.review()
    log.append(edge(((0, 9), (0, 9), (0, 9))), "corrected", prediction=1)
    log.append(edge(((20, 29), (0, 9), (0, 9))), "fine", prediction=1)
    log.append(edge(((30, 39), (0, 9), (0, 9))), "skipped", prediction=1)
    write(case, np.s_[4:9, 0:9, 0:9], ACCEPTED)
    write(case, np.s_[0:4, 4:9, 0:9], ACCEPTED)
    write(case, np.s_[0:4, 0:4, 4:9], ACCEPTED)
    write(case, np.s_[20:29, 0:9, 0:9], ACCEPTED)
    found = count(case, counter)  # which has counted the chunk before
    assert (found.corrected, found.fine, found.painted) == (1, 1, 0)
    assert (found.drawn, found.places) == (64, 2)


def test_a_verdict_that_was_undone_is_no_place(case):
    """The tab must not promise what the engine will not find."""
    box = ((0, 9), (0, 9), (0, 9))
    case.review().append(edge(box), "fine", prediction=1)
    write(case, np.s_[0:9, 0:9, 0:9], ACCEPTED)
    assert count(case).fine == 1
    write(case, np.s_[0, 0, 0], 0)
    assert count(case).places == 0
    assert run(find_sites(case.project)) == []


def test_a_chunk_is_counted_again_only_when_it_has_changed(case, monkeypatch):
    counted = []
    real = sites._full_cells
    monkeypatch.setattr(
        sites, "_full_cells", lambda *a: counted.append(a[1]) or real(*a)
    )
    counter = CorrectionsCounter()
    write(case, np.s_[0, 0, 0:9], HUMAN)
    write(case, np.s_[0, 0, 70:79], HUMAN)
    assert count(case, counter).drawn == 18
    assert len(counted) == 2
    write(case, np.s_[0, 1, 70:79], HUMAN)
    assert count(case, counter).drawn == 27
    assert counted[2:] == [((0, 40), (0, 64), (64, 90))]
