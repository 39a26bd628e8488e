"""What counts as a place where people have said what is right."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import zarr

from e2miseg_core.boxes import Box, make_box
from e2miseg_core.progress import run
from e2miseg_core.project import ACCEPTED, HUMAN, Case, Edge, sites
from e2miseg_core.project.sites import (
    PAINTED,
    Site,
    SiteFinder,
    cell_size,
    find_sites,
    hide_boxes,
)

SHAPE = (70, 40, 130)
MakeCase = Callable[..., Case]


def authority_of(case: Case) -> "zarr.Array[Any]":
    return zarr.open_array(str(case.authority_path / "0"), mode="r+")


def review(case: Case, box: Box, verdict: Any = "corrected") -> None:
    edge = Edge(
        number=1, box=box, centre=(0, 0, 0), expected_wrong=1, gain=0, classes=(1,)
    )
    case.review().append(edge, verdict, prediction=1)


def test_sites_come_back_from_json() -> None:
    site = Site(case="a", box=make_box((1, 2, 3), (9, 9, 9)), verdict="fine")
    assert Site.from_json(json.loads(json.dumps(asdict(site)))) == site


def test_painted_places_outside_reviewed_boxes_become_sites(
    make_case: MakeCase,
) -> None:
    case = make_case(SHAPE)
    said = np.zeros(SHAPE, np.uint8)
    said[66:69, 3:9, 100:110] = HUMAN
    said[5:14, 5:14, 5:14] = HUMAN  # reviewed
    said[20, 20, 20:30] = HUMAN  # too little
    said[40:60, 20:30, 20:30] = ACCEPTED  # not painted
    authority_of(case)[...] = said
    reviewed = make_box((5, 5, 5), (9, 9, 9))
    review(case, reviewed)
    first, *painted = run(find_sites(case.project))
    assert first == Site(case="case", box=reviewed, verdict="corrected")
    covered = np.zeros(SHAPE, bool)
    for site in painted:
        (z0, z1), (y0, y1), (x0, x1) = site.box
        assert site.verdict == PAINTED
        covered[z0:z1, y0:y1, x0:x1] = True
        assert (said[z0:z1, y0:y1, x0:x1] == HUMAN).sum() >= 20
        assert all(hi <= n for (_, hi), n in zip(site.box, SHAPE, strict=True))
    assert covered[66:69, 3:9, 100:110].all()
    assert not covered[20, 20, 20:30].any()
    (found,) = run(SiteFinder().find(case.project))
    assert found.drawn == (said == HUMAN).sum()


def test_a_reviewed_box_counts_only_where_all_of_it_is_vouched_for(
    make_case: MakeCase,
) -> None:
    case = make_case((20, 20, 20))
    inside, rim = make_box((2, 2, 2), (9, 9, 9)), make_box((15, 15, 15), (9, 9, 9))
    review(case, inside)
    review(case, rim, "fine")
    review(case, make_box((0, 0, 0), (3, 3, 3)), "skipped")
    assert run(find_sites(case.project)) == []
    authority = authority_of(case)
    authority[...] = ACCEPTED
    found = [(site.box, site.verdict) for site in run(find_sites(case.project))]
    assert found == [(inside, "corrected"), (((15, 20),) * 3, "fine")]
    authority[10, 10, 10] = 0  # one voxel was undone
    assert [site.verdict for site in run(find_sites(case.project))] == ["fine"]
    review(case, make_box((30, 30, 30), (9, 9, 9)))  # nothing of it is in the image
    assert len(run(find_sites(case.project))) == 1


def test_what_was_painted_in_an_undone_box_is_painted_elsewhere(
    make_case: MakeCase,
) -> None:
    case = make_case((20, 20, 20))
    review(case, make_box((0, 0, 0), (9, 9, 9)))
    authority_of(case)[0:4, 0:4, 0:4] = HUMAN
    assert [site.verdict for site in run(find_sites(case.project))] == [PAINTED]


def test_a_case_has_at_most_200_painted_places(
    make_case: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sites.MOST_PAINTED == 200
    monkeypatch.setattr(sites, "MOST_PAINTED", 2)
    case = make_case((16, 16, 64))
    authority = authority_of(case)
    for start, count in ((0, 30), (16, 20), (32, 25), (48, 19)):
        for voxel in range(count):
            authority[voxel // 16, voxel % 16, start] = HUMAN
    boxes = [site.box for site in run(find_sites(case.project))]
    assert boxes == [make_box((0, 0, x), (16, 16, 16)) for x in (0, 32)]


def test_a_finder_that_remembers_finds_what_a_new_one_finds(
    make_case: MakeCase,
) -> None:
    rng = np.random.default_rng(4)
    case, finder = make_case(SHAPE), SiteFinder()
    authority = authority_of(case)
    for turn in range(6):
        corner = [int(rng.integers(n - 9)) for n in SHAPE]
        box = make_box(corner, (9, 9, 9))
        where = tuple(slice(*bounds) for bounds in box)
        authority[where] = int(rng.integers(3))
        review(case, box, ("corrected", "skipped")[turn % 2])
        assert run(finder.find(case.project)) == run(SiteFinder().find(case.project))


def test_a_chunk_that_is_just_being_written_is_left_alone(make_case: MakeCase) -> None:
    case = make_case((20, 20, 20))
    authority_of(case)[0:4, 0:4, 0:4] = HUMAN
    (chunk,) = (case.authority_path / "0" / "c").glob("*/*/*")
    chunk.with_name(f"{chunk.name}.12ab.partial").write_bytes(b"half")
    assert len(run(find_sites(case.project))) == 1


def test_cells_are_thinner_where_voxels_are_thicker() -> None:
    assert cell_size((1, 1, 1)) == (16, 16, 16)
    assert cell_size((4.0, 1.0, 1.0)) == (4, 16, 16)
    assert cell_size((100.0, 1.0, 1.0)) == (4, 16, 16)


def test_hiding_clears_exactly_the_boxes() -> None:
    place: Box = ((10, 20), (0, 10), (5, 15))
    mask = np.ones((10, 10, 10), bool)
    hide_boxes(mask, place, [((0, 12), (2, 4), (14, 30)), ((50, 60), (0, 1), (0, 1))])
    expected = np.ones((10, 10, 10), bool)
    expected[0:2, 2:4, 9:10] = False
    np.testing.assert_array_equal(mask, expected)
