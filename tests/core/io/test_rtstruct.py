"""Tests of contours as labels, with polygons whose voxels are counted by hand."""

import gzip
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, dcmread

from e2miseg_core.errors import E2MISegError, GeometryError, ReadError
from e2miseg_core.io import open_labels, open_volume, write_labels
from e2miseg_core.io.dicom.contours import fill
from e2miseg_core.io.dicom.structure_set import open_structure_set
from e2miseg_core.volume import Volume

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
SHARED = Path(__file__).parents[4] / "shared" / "data"


def filled(*polygons: ArrayLike, shape: tuple[int, int] = (6, 7)) -> NDArray[Any]:
    corners = [np.asarray(polygon, dtype=float) for polygon in polygons]
    return fill(corners, slice(0, shape[0]), slice(0, shape[1])).astype(int)


def square(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, low), (low, high), (high, high), (high, low)]


# ---------------------------------------------------------------- polygons


def test_a_voxel_is_inside_if_its_centre_is() -> None:
    assert np.argwhere(filled(square(0.9, 2.1))).tolist() == [
        [1, 1], [1, 2], [2, 1], [2, 2],
    ]  # fmt: skip
    assert not filled(square(1.1, 1.9)).any()
    # The slanted side is x = y - 0.1: row y holds the centres 0 .. y - 1.
    triangle = filled([(-0.5, -0.6), (3.5, -0.6), (3.5, 3.4)])
    assert triangle.sum(axis=1).tolist() == [0, 1, 2, 3, 0, 0]


def test_a_centre_on_an_edge_belongs_to_the_side_of_larger_index() -> None:
    assert np.argwhere(filled(square(1, 3))).tolist() == [
        [1, 1], [1, 2], [2, 1], [2, 2],
    ]  # fmt: skip
    left = filled([(0, 0), (0, 3), (5, 3), (5, 0)])
    right = filled([(0, 3), (0, 6), (5, 6), (5, 3)])
    assert not (left & right).any()
    assert (left | right).sum() == 5 * 6


def test_an_inner_contour_and_a_keyhole_are_the_same_hole() -> None:
    outer, inner = square(0.5, 5.5), square(1.5, 3.5)
    ring = filled(outer, inner)
    assert ring.sum() == 25 - 4
    assert ring[2:4, 2:4].sum() == 0
    keyhole = [*outer, outer[0], *inner[::-1], inner[3], outer[0]]
    assert np.array_equal(filled(keyhole), ring)
    island = filled(outer, inner, square(2.5, 3.4))
    assert island.sum() == 25 - 4 + 1


def test_contours_may_leave_the_image() -> None:
    assert filled(square(-50, 50)).all()
    assert filled([(-9, 3.5), (-9, 99), (99, 99), (99, 3.5)])[:, 4:].all()
    assert not filled(square(10, 12)).any()
    assert not filled(square(-3, -1)).any()


coordinate = st.integers(-20, 90).map(lambda n: n / 10 + 0.05)  # never on a centre


@given(
    st.lists(
        st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8),
        min_size=1,
        max_size=3,
    )
)
def test_any_polygons_are_filled_as_counting_crossings_one_by_one_says(
    polygons: list[list[tuple[float, float]]],
) -> None:
    expected = np.zeros((6, 7), dtype=int)
    for y in range(6):
        for x in range(7):
            for polygon in polygons:
                pairs = zip(polygon, [*polygon[1:], polygon[0]], strict=True)
                for (y0, x0), (y1, x1) in pairs:
                    if (y0 > y) != (y1 > y):
                        crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                        # Far from ties of rounding, which no rule can decide.
                        if abs(crossing - x) < 1e-9:
                            return
                        expected[y, x] ^= crossing < x
    assert np.array_equal(filled(*polygons), expected)


def test_a_part_of_a_plane_is_filled_as_the_whole_is() -> None:
    polygon = np.array([(0.3, 1.2), (5.1, 0.4), (4.2, 6.3), (2.1, 2.2)])
    whole = filled(polygon)
    part = fill([polygon], slice(2, 5), slice(1, 6))
    assert np.array_equal(part, whole[2:5, 1:6])


# ---------------------------------------------------------------- structure sets


@pytest.fixture
def write(tmp_path: Path, dicom_files: ModuleType) -> Any:
    """A function that writes contours, given by corners (z, y, x) in voxels.

    They are of the series in `folder`, whose stored grid they are laid on.
    """

    def make(
        folder: Path,
        structures: Sequence[tuple[int, str, list[NDArray[np.float64]]]],
        *,
        kinds: str = "CLOSED_PLANAR",
        **tags: Any,
    ) -> Path:
        first = dcmread(min(folder.iterdir()))
        source = open_volume(folder).source
        assert source is not None
        dataset = dicom_files.new_dataset(
            STRUCTURE_SET, np.zeros((1, 2), np.uint8), identify=True
        )
        del dataset.PixelData, dataset.Rows, dataset.Columns
        dataset.Modality = "RTSTRUCT"
        dataset.ReferencedFrameOfReferenceSequence = [referred(folder, first)]
        dataset.StructureSetROISequence = [
            item(ROINumber=number, ROIName=name) for number, name, _ in structures
        ]
        dataset.ROIContourSequence = [
            item(
                ReferencedROINumber=number,
                ROIDisplayColor=[number, 20, 30],
                ContourSequence=[
                    item(
                        ContourGeometricType=kinds,
                        NumberOfContourPoints=len(corners),
                        ContourData=[
                            f"{value:.12g}"
                            for value in (
                                source.geometry.world(corners) * [-1, -1, 1]
                            ).ravel()
                        ],
                    )
                    for corners in contours
                ],
            )
            for number, _, contours in structures
        ]
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        path: Path = dicom_files.save(dataset, tmp_path / "rs" / "rs.dcm")
        return path

    return make


def item(**tags: Any) -> Dataset:
    made = Dataset()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def referred(folder: Path, first: Dataset) -> Dataset:
    images = [
        item(ReferencedSOPInstanceUID=dcmread(file).SOPInstanceUID)
        for file in folder.iterdir()
    ]
    series = item(
        SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images
    )
    study = item(RTReferencedSeriesSequence=[series])
    return item(
        FrameOfReferenceUID=first.FrameOfReferenceUID,
        RTReferencedStudySequence=[study],
    )


@pytest.fixture
def folder(tmp_path: Path, dicom_files: ModuleType) -> Path:
    """A series of 5 slices, 9 x 8 pixels."""
    dicom_files.write_series(tmp_path / "ct", np.zeros((5, 9, 8), np.int16))
    return tmp_path / "ct"


def box(z: float, low: tuple[float, float], high: tuple[float, float]) -> Any:
    """Corners (z, y, x) of a rectangle that holds the voxels low..high."""
    (y0, x0), (y1, x1) = low, high
    y0, x0, y1, x1 = y0 - 0.5, x0 - 0.5, y1 + 0.5, x1 + 0.5
    return np.array([(z, y0, x0), (z, y0, x1), (z, y1, x1), (z, y1, x0)])


def stored(volume: Volume, like: Volume) -> NDArray[Any]:
    return np.asarray(like.as_source(volume.data))


def test_contours_lie_on_the_series_that_they_refer_to(
    folder: Path, write: Any
) -> None:
    path = write(
        folder,
        [
            (3, "heart", [box(1, (2, 1), (4, 3)), box(2, (2, 1), (4, 3))]),
            (7, "lung", [box(1, (5, 5), (5, 6))]),
        ],
    )
    volume, image = open_labels(path), open_volume(folder)
    assert volume.geometry.matches(image.geometry)
    expected = np.zeros((5, 9, 8), int)
    expected[1:3, 2:5, 1:4] = 3
    expected[1, 5, 5:7] = 7
    assert np.array_equal(stored(volume, image)[0], expected)
    assert volume.segments is not None
    assert dict(volume.segments.names) == {3: "heart", 7: "lung"}
    assert dict(volume.segments.colors) == {3: (3, 20, 30), 7: (7, 20, 30)}


@pytest.mark.parametrize("seed", range(3))
def test_oblique_and_flipped_series_hold_the_same_voxels(
    tmp_path: Path, dicom_files: ModuleType, write: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    row, column = turned[:, 0], turned[:, 1]
    dicom_files.write_series(
        tmp_path / "mr",
        np.zeros((6, 9, 8), np.int16),
        places=dicom_files.positions(6, step=np.cross(row, column) * 3)[
            :: (-1) ** seed
        ],
        orientation=[float(f"{value:.14g}") for value in (*row, *column)],
    )
    path = write(tmp_path / "mr", [(1, "a", [box(4, (2, 1), (6, 3))])])
    like = open_volume(tmp_path / "mr")
    expected = np.zeros((6, 9, 8), int)
    expected[4, 2:7, 1:4] = 1
    assert np.array_equal(stored(open_labels(path), like)[0], expected)
    # The same on a volume whose planes are stored along another axis.
    other = Volume.from_array(np.zeros(like.geometry.shape, np.uint8), like.geometry)
    again = open_structure_set(path, other)
    assert again.geometry.matches(like.geometry)
    assert np.array_equal(np.asarray(again.data), np.asarray(open_labels(path).data))


def test_contours_between_planes_go_to_the_nearest(folder: Path, write: Any) -> None:
    inside = (2, 2), (3, 3)
    wide = (1, 1), (6, 6)
    path = write(
        folder,
        [
            (
                1,
                "a",
                [
                    box(0.4, *inside),
                    box(1.6, *inside),  # to plane 2, but
                    box(2.1, *wide),  # this one is nearer
                    box(4.4, *inside),
                    box(4.6, *wide),  # outside
                    box(-0.6, *wide),  # outside
                ],
            )
        ],
    )
    volume = open_labels(path)
    counts = stored(volume, open_volume(folder))[0].sum(axis=(1, 2))
    assert counts.tolist() == [4, 0, 36, 0, 4]
    assert any(note.startswith("2 contours outside") for note in volume.notes)
    assert any(note.startswith("1 contours nearer") for note in volume.notes)


def test_a_hole_and_overlapping_structures(folder: Path, write: Any) -> None:
    path = write(
        folder,
        [
            (1, "body", [box(2, (0, 0), (8, 7)), box(2, (2, 2), (3, 3))]),
            (2, "organ", [box(2, (5, 5), (6, 6))]),
        ],
    )
    volume = open_volume(path)
    assert volume.channels == ("body", "organ")
    assert volume.segments is not None
    assert [(each.names, each.colors) for each in volume.segments.channels] == [
        ({1: "body"}, {1: (1, 20, 30)}), ({1: "organ"}, {1: (2, 20, 30)}),
    ]  # fmt: skip
    assert "overlap" in volume.notes[-1]
    found = stored(volume, open_volume(folder))
    assert found.sum(axis=(1, 2, 3)).tolist() == [72 - 4, 4]
    assert set(np.unique(found).tolist()) == {0, 1}
    hole = open_labels(f"{path}#frame=0")
    assert int(np.asarray(hole.data).sum()) == 68
    # A structure that fills the hole shares no voxel with the ring.
    whole = write(
        folder,
        [
            (1, "body", [box(2, (0, 0), (8, 7)), box(2, (2, 2), (3, 3))]),
            (2, "organ", [box(2, (2, 2), (3, 3))]),
        ],
    )
    assert open_labels(whole).n_channels == 1


def test_contours_may_be_written_as_a_segmentation(
    folder: Path, write: Any, tmp_path: Path
) -> None:
    volume = open_labels(write(folder, [(3, "heart", [box(1, (2, 1), (4, 3))])]))
    path = write_labels(volume.data[0], tmp_path / "seg.dcm", like=volume)
    back = open_labels(path)
    assert back.geometry.matches(volume.geometry)
    assert np.array_equal(np.asarray(back.data), np.asarray(volume.data))


def test_contours_may_be_packed(folder: Path, write: Any) -> None:
    path = write(folder, [(3, "heart", [box(1, (2, 1), (4, 3))])])
    packed = path.with_name("rs.dcm.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    found = stored(open_labels(packed), open_volume(folder))
    assert np.array_equal(found, stored(open_labels(path), open_volume(folder)))


def test_points_and_lines_are_left_out_and_counted(folder: Path, write: Any) -> None:
    two = box(1, (2, 2), (3, 3))[:2]
    path = write(folder, [(1, "a", [box(1, (2, 2), (3, 3)), two])])
    assert "1 points, lines or contours" in open_labels(path).notes[0]
    lines = write(folder, [(1, "a", [two])], kinds="OPEN_PLANAR")
    with pytest.raises(ReadError, match="without a closed contour"):
        open_labels(lines)


def test_the_series_may_lie_in_the_same_folder_or_be_known_by_its_space(
    folder: Path, write: Any
) -> None:
    path = write(folder, [(1, "a", [box(1, (2, 2), (3, 3))])])
    beside = path.rename(folder / "a.dcm")
    assert open_labels(f"{beside}").data.shape == (1, 5, 9, 8)
    dataset = dcmread(beside)
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    series = study.RTReferencedSeriesSequence[0]
    series.SeriesInstanceUID = "1.2.3"
    series.ContourImageSequence = []
    dataset.save_as(beside)
    assert "same patient coordinates" in open_labels(beside).notes[0]


def test_neither_a_segmentation_nor_a_dose_gives_the_grid(
    folder: Path, write: Any, tmp_path: Path, dicom_files: ModuleType
) -> None:
    path = write(folder, [(1, "a", [box(1, (2, 2), (3, 3))])])
    image = open_volume(folder)
    write_labels(
        np.ones(image.geometry.shape, np.uint8), path.parent / "a.dcm", like=image
    )
    first = dcmread(min(folder.iterdir()))
    dose = dicom_files.new_dataset(
        "1.2.840.10008.5.1.4.1.1.481.2",
        np.zeros((4, 9, 8), np.uint16),
        frame_of_reference=first.FrameOfReferenceUID,
        series=first.SeriesInstanceUID,
        Modality="RTDOSE",
        ImagePositionPatient=[-20, -30, 10],
        ImageOrientationPatient=list(dicom_files.AXIAL),
        PixelSpacing=[2.5, 2.5],
    )
    dicom_files.save(dose, path.parent / "b.dcm")
    assert open_labels(path).geometry.matches(image.geometry)  # the series is beside
    shutil.rmtree(folder)
    for source in (path, f"{path.parent}#part=3"):
        with pytest.raises(ReadError, match="not beside it"):
            open_volume(source)


def test_without_its_series_a_volume_must_be_given(
    folder: Path, write: Any, tmp_path: Path
) -> None:
    path = write(folder, [(1, "a", [box(1, (2, 2), (3, 3))])])
    like = open_volume(folder)
    away = tmp_path / "away" / "here" / "rs.dcm"
    away.parent.mkdir(parents=True)
    path.rename(away)
    with pytest.raises(ReadError, match="not beside it"):
        open_labels(away)
    volume = open_structure_set(away, like)
    assert int(np.asarray(volume.data).sum()) == 4
    far = Volume.from_array(np.zeros((2, 2, 2), np.uint8), spacing=(1, 1, 1))
    with pytest.raises(GeometryError, match="lies in a plane"):
        open_structure_set(away, far)


def test_damage_gives_one_line(
    folder: Path, write: Any, dicom_files: ModuleType
) -> None:
    path = write(folder, [(1, "a", [box(1, (2, 2), (3, 3))])])
    content = path.read_bytes()
    dataset = dcmread(path)
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    contour.NumberOfContourPoints = 400_000_000
    dataset.save_as(path)
    with pytest.raises(
        ReadError, match="12 coordinates for 400000000 points"
    ) as caught:
        open_labels(path)
    assert dicom_files.CANARY not in str(caught.value)
    like = open_volume(folder)
    for end in range(0, len(content) - 200, 97):
        path.write_bytes(content[:end])
        with pytest.raises(E2MISegError):
            open_structure_set(path, like)
    rng = np.random.default_rng(5)
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(132, len(content), 4):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        with suppress(E2MISegError):
            np.asarray(open_structure_set(path, like).data)


def test_nothing_tells_who_the_patient_is(
    folder: Path, write: Any, dicom_files: ModuleType
) -> None:
    volume = open_labels(write(folder, [(1, "a", [box(1, (2, 2), (3, 3))])]))
    for text in (repr(volume), *volume.notes, repr(volume.source)):
        assert dicom_files.CANARY not in text


def test_a_published_case_equals_its_published_mask() -> None:
    if not (SHARED / "dicom/ibsi_sts_pet").exists():
        pytest.skip("public data are not here")
    ours = open_labels(SHARED / "dicom/ibsi_sts_pet/STS_001/mask/RS.dcm")
    theirs = open_labels(SHARED / "ibsi_soft_tissue_sarcoma/STS_001/PET_mask.nii.gz")
    assert ours.geometry.matches(theirs.geometry, 1e-5)
    assert np.array_equal(np.asarray(ours.data) > 0, np.asarray(theirs.data) > 0)
