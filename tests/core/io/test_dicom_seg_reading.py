"""Tests of reading DICOM segmentations: every file is made here by hand, bit by bit."""

import gzip
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from e2miseg_core.errors import E2MISegError, GeometryError, ReadError
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.io.address import Address
from e2miseg_core.io.dicom import segment_frames, segmentation
from e2miseg_core.io.dicom.segment_colors import dicom_to_rgb, rgb_to_dicom
from e2miseg_core.io.dicom.segmentation import read_segmentation
from e2miseg_core.volume import Volume

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
TISSUE = (43803, 26565, 37722)  # of a published file; its program shows 128, 174, 128
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def item(**tags: Any) -> Dataset:
    made = Dataset()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


@pytest.fixture
def make(tmp_path: Path, dicom_files: ModuleType) -> Any:
    """A function that writes a segmentation of frames (F, Y, X)."""

    def write(
        frames: ArrayLike,
        segments: list[int],
        places: ArrayLike,
        *,
        kind: str = "BINARY",
        names: dict[int, str] | None = None,
        orientation: tuple[float, ...] = AXIAL,
        between: float | None = None,
        thickness: float | None = None,
        **tags: Any,
    ) -> Path:
        pixels = np.asarray(frames)
        pixels = pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint8)
        sop_class = LABEL_MAP if kind == "LABELMAP" else SEGMENTATION
        flat = pixels.reshape(-1, pixels.shape[-1])  # three columns are no colours
        dataset = dicom_files.new_dataset(sop_class, flat, identify=True)
        dataset.NumberOfFrames, dataset.Rows, _ = pixels.shape
        dataset.Modality = "SEG"
        if kind == "BINARY":
            dataset.BitsAllocated = dataset.BitsStored = 1
            packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
            dataset.PixelData = packed + b"\0" * (len(packed) % 2)
        dataset.SegmentationType = kind
        labels = names or {number: f"part {number}" for number in sorted({*segments})}
        dataset.SegmentSequence = [
            item(SegmentNumber=number, SegmentLabel=name)
            for number, name in labels.items()
        ]
        measures = item(PixelSpacing=[0.5, 0.25])
        if between is not None:
            measures.SpacingBetweenSlices = between
        if thickness is not None:
            measures.SliceThickness = thickness
        turned = item(ImageOrientationPatient=list(orientation))
        dataset.SharedFunctionalGroupsSequence = [
            item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[turned])
        ]
        dataset.PerFrameFunctionalGroupsSequence = [
            item(
                PlanePositionSequence=[item(ImagePositionPatient=list(place))],
                **(
                    {}
                    if kind == "LABELMAP"
                    else {
                        "SegmentIdentificationSequence": [
                            item(ReferencedSegmentNumber=number)
                        ]
                    }
                ),
            )
            for number, place in zip(
                segments, np.asarray(places, float).tolist(), strict=True
            )
        ]
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        path: Path = dicom_files.save(dataset, tmp_path / "seg.dcm")
        return path

    return write


def edit(path: Path, **tags: Any) -> Path:
    """Change tags of a file; None takes one away."""
    dataset = dcmread(path)
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def stored(volume: Volume) -> NDArray[Any]:
    """Voxels (C, Z, Y, X) on the axes of the file."""
    return np.asarray(volume.as_source(volume.data))


def heights(*z: float) -> list[tuple[float, float, float]]:
    return [(10.0, 20.0, at) for at in z]


def test_frames_that_begin_within_a_byte_become_one_label_map(make: Any) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (4, 3, 5)).astype(np.uint8)  # 15 bits a frame
    frames = [labels[z] == n for n in (1, 2) for z in range(4)]
    path = make(frames, [1] * 4 + [2] * 4, heights(*[0, 2, 4, 6] * 2))
    volume = read_segmentation(Address(str(path)))
    assert volume.dtype == np.uint8
    assert np.array_equal(stored(volume)[0], labels)
    assert volume.segments is not None
    assert dict(volume.segments.names) == {1: "part 1", 2: "part 2"}
    part = np.asarray(volume.as_source(volume.data)[0, 1:3, 2, 1:4])
    assert np.array_equal(part, labels[1:3, 2, 1:4])


def test_the_grid_comes_from_the_frames_alone(make: Any) -> None:
    # Rows grow to posterior, columns to superior: the normal is (0,1,0)x(0,0,1) = +L.
    path = make(
        np.ones((3, 2, 3), np.uint8),
        [1, 1, 1],
        [(7.0, 2, 3), (1.0, 2, 3), (4.0, 2, 3)],  # in no order
        orientation=(0, 1, 0, 0, 0, 1),
    )
    volume = read_segmentation(Address(str(path)))
    assert volume.source is not None
    expected = np.array(
        [[-3, 0, 0, -1], [0, 0, -0.25, -2], [0, 0.5, 0, 3], [0, 0, 0, 1]]
    )
    assert np.allclose(volume.source.geometry.affine, expected, atol=1e-12)
    assert volume.geometry.shape == (2, 3, 3)


def test_planes_without_frames_are_empty_on_an_even_grid(make: Any) -> None:
    path = make(np.ones((3, 2, 2), np.uint8), [1, 1, 1], heights(0, 2, 8), between=2.0)
    volume = read_segmentation(Address(str(path)))
    assert stored(volume)[0].any(axis=(1, 2)).tolist() == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert "2 of 5 planes" in volume.notes[0]
    # A stated distance counts where no two frames are neighbours.
    sparse = make(np.ones((2, 2, 2), np.uint8), [1, 1], heights(0, 6), between=2.0)
    assert read_segmentation(Address(str(sparse))).geometry.shape[0] == 4


def test_rounded_positions_are_taken_as_even_and_said(make: Any) -> None:
    path = make(np.ones((4, 2, 2), np.uint8), [1] * 4, heights(0, 1.2, 2.5, 3.8))
    volume = read_segmentation(Address(str(path)))
    assert volume.geometry.spacing[0] == pytest.approx(3.8 / 3)
    assert "unevenly spaced" in volume.notes[0]
    thin = make(np.ones((2, 2, 2), np.uint8), [1, 1], heights(0, 4), thickness=1.0)
    assert read_segmentation(Address(str(thin))).geometry.shape[0] == 2


def test_a_single_frame_has_the_stated_distance_or_says_what_was_taken(
    make: Any,
) -> None:
    path = make(np.ones((1, 2, 2), np.uint8), [1], heights(5), between=3.0)
    assert read_segmentation(Address(str(path))).geometry.spacing[0] == 3.0
    silent = make(np.ones((1, 2, 2), np.uint8), [1], heights(5))
    volume = read_segmentation(Address(str(silent)))
    assert volume.geometry.spacing[0] == 1.0
    assert "not stated" in volume.notes[0]


def test_segments_that_overlap_become_channels(make: Any) -> None:
    first, second = np.zeros((2, 2, 3, 3), np.uint8)
    first[0, :2], second[0, 1:] = 1, 1  # they share row 1
    frames = [first[0], second[0], second[0]]
    path = make(
        frames, [4, 9, 9], heights(0, 0, 1), names={4: "liver", 9: "tumour"},
        SegmentsOverlap="NO",
    )  # fmt: skip
    volume = open_volume(path)
    assert volume.channels == ("liver", "tumour")
    assert volume.segments is not None
    assert [each.names for each in volume.segments.channels] == [
        {1: "liver"}, {1: "tumour"},
    ]  # fmt: skip
    assert "overlap" in " ".join(volume.notes)
    assert np.array_equal(stored(volume)[0, 0], first[0])
    assert np.array_equal(stored(volume)[1], [second[0], second[0]])
    one = open_labels(f"{path}#frame=1")
    assert one.n_channels == 1
    assert one.segments is not None
    assert dict(one.segments.names) == {1: "tumour"}
    with pytest.raises(ReadError, match=r"2 channels.*frame=0"):
        open_labels(path)


def test_a_large_file_is_believed_until_it_is_read(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = np.zeros((2, 3, 3), np.uint8)
    first[:2], second[2:] = 1, 1
    monkeypatch.setattr(segmentation, "_MOST_COMPARED", 1)
    looked = []
    real = segment_frames.SegmentPixels.has_overlap
    monkeypatch.setattr(
        segment_frames.SegmentPixels,
        "has_overlap",
        lambda pixels: looked.append(1) or real(pixels),
    )
    make_both = {"frames": [first, second], "segments": [1, 2]}
    path = make(**make_both, places=heights(0, 0), SegmentsOverlap="NO")
    assert stored(open_labels(path))[0, 0].tolist() == [[1] * 3, [1] * 3, [2] * 3]
    assert not looked
    open_labels(make(**make_both, places=heights(0, 0)))
    assert looked  # nothing is said, so nothing is believed
    lying = make([first, first], [1, 2], heights(0, 0), SegmentsOverlap="NO")
    volume = open_labels(lying)
    with pytest.raises(ReadError, match="says that its segments do not overlap"):
        stored(volume)


def test_segments_in_planes_of_their_own_are_not_read_at_opening(make: Any) -> None:
    path = make(np.ones((3, 4, 4)), [1, 2, 2], heights(0, 1, 2))
    volume = open_labels(path)
    content = path.read_bytes()
    path.write_bytes(content[:-6] + b"\0" * 6)  # changed since: the new is read
    assert not stored(volume).any()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("head", ["whole", "no preamble", "implicit, no head at all"])
def test_packed_files_and_files_without_a_head_are_opened_too(
    make: Any, tmp_path: Path, head: str, *, packed: bool
) -> None:
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, (4, 3, 5)).astype(np.uint8)
    frames = [labels[z] == n for n in (1, 2) for z in range(4)]
    path = make(frames, [1] * 4 + [2] * 4, heights(*[0, 2, 4, 6] * 2))
    if head == "no preamble":
        path.write_bytes(path.read_bytes()[132:])
    elif head != "whole":
        dataset = dcmread(path)
        dataset.file_meta.clear()
        dcmwrite(path, dataset, implicit_vr=True, little_endian=True)
    if packed:
        content = gzip.compress(path.read_bytes())
        path = tmp_path / "seg.dcm.gz"
        path.write_bytes(content)
    volume = open_volume(path)
    assert np.array_equal(stored(volume)[0], labels)
    content = path.read_bytes()
    for end in range(0, len(content) - 20, 199):
        path.write_bytes(content[:end])
        with pytest.raises(E2MISegError):
            stored(read_segmentation(Address(str(path))))


def test_a_deflated_file_is_told(make: Any) -> None:
    path = make(np.ones((1, 4, 4)), [1], heights(0))
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    with pytest.raises(ReadError, match="deflated as a whole"):
        read_segmentation(Address(str(path)))


def test_fractions_become_numbers_from_0_to_1(make: Any) -> None:
    frames = np.array([[[0, 50]], [[100, 25]]], np.uint8)
    path = make(
        frames, [1, 2], heights(0, 0), kind="FRACTIONAL", MaximumFractionalValue=100,
        SegmentationFractionalType="OCCUPANCY",
    )  # fmt: skip
    volume = read_segmentation(Address(str(path)))
    assert volume.dtype == np.float32
    assert volume.segments is None
    assert np.allclose(stored(volume)[:, 0, 0], [[0, 0.5], [1, 0.25]])
    assert "occupancy" in volume.notes[-1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_label_map_comes_as_it_is_but_for_its_padding(make: Any, dtype: Any) -> None:
    frames = np.array([[[0, 7], [3, 5]]], dtype) * (200 if dtype == np.uint16 else 1)
    scale = int(frames.max()) // 7
    path = make(
        frames, [0], heights(0), kind="LABELMAP",
        names={0: "Background", 3 * scale: "a", 7 * scale: "b"},
        PixelPaddingValue=5 * scale,
    )  # fmt: skip
    volume = open_labels(path)
    assert volume.dtype == dtype
    assert stored(volume)[0, 0].tolist() == [[0, 7 * scale], [3 * scale, 0]]
    assert volume.segments is not None
    assert sorted(volume.segments.names) == [3 * scale, 7 * scale]


def test_compressed_frames_are_decoded_one_by_one(make: Any) -> None:
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 9, (3, 6, 7)).astype(np.uint8)
    path = make(frames, [0, 0, 0], heights(0, 1, 2), kind="LABELMAP")
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    assert np.array_equal(stored(open_labels(path))[0], frames)
    cut = path.read_bytes()[:-40]
    path.write_bytes(cut)
    with pytest.raises(ReadError):
        stored(open_labels(path))


def test_colours_come_as_their_programs_meant_them(make: Any) -> None:
    assert dicom_to_rgb(TISSUE) == (128, 174, 128)
    rng = np.random.default_rng(3)
    for color in [(0, 0, 0), (255, 255, 255), *rng.integers(0, 256, (200, 3)).tolist()]:
        assert dicom_to_rgb(rgb_to_dicom(color)) == tuple(color)
    path = make(np.ones((1, 2, 2), np.uint8), [1], heights(0))
    dataset = dcmread(path)
    dataset.SegmentSequence[0].RecommendedDisplayCIELabValue = list(TISSUE)
    dataset.save_as(path)
    volume = open_labels(path)
    assert volume.segments is not None
    assert dict(volume.segments.colors) == {1: (128, 174, 128)}


@pytest.fixture
def whole(make: Any) -> Path:
    """Two frames of one segment, one above the other."""
    path: Path = make(np.ones((2, 16, 16), np.uint8), [1, 1], heights(0, 1))
    return path


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({"NumberOfFrames": 1_000_000}, "1000000 frames"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"NumberOfFrames": -1}, "-1 frames"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535"),
        ({"Rows": 0}, "0 x 16"),
        ({"BitsAllocated": 32}, "32 bits"),
        ({"PerFrameFunctionalGroupsSequence": None}, "describes 0"),
        ({"SharedFunctionalGroupsSequence": None}, "PlaneOrientationSequence"),
        ({"SegmentSequence": None}, "does not describe"),
        ({"SegmentationType": "TERNARY"}, "TERNARY"),
        ({"SegmentationType": None}, "segmentation type"),
        ({"SOPClassUID": "1.2.3"}, "no segmentation"),
        ({"PixelData": b"\0" * 10}, "holds 10 bytes"),
    ],
)
def test_a_header_that_lies_gives_one_line(
    whole: Path, tags: dict[str, Any], word: str
) -> None:
    edit(whole, **tags)
    with pytest.raises(ReadError) as caught:
        read_segmentation(Address(str(whole)))
    assert word in " ".join(str(caught.value).split())


@pytest.mark.parametrize(
    ("z", "word"),
    [
        ((0, 0), "several frames"),
        ((0, 1, 2.6, 3.6), "multiples"),
        ((0, 0.001, 1e9), "at most 65536 planes"),
    ],
)
def test_frames_that_make_no_grid_are_refused(
    make: Any, z: tuple[float, ...], word: str
) -> None:
    path = make(np.ones((len(z), 2, 2), np.uint8), [1] * len(z), heights(*z))
    with pytest.raises(E2MISegError, match=word):
        read_segmentation(Address(str(path)))


def test_tiles_and_turned_frames_are_refused(make: Any) -> None:
    tiles = make(np.ones((3, 2, 2)), [1] * 3, [(0, 0, 0), (9.0, 0, 1), (0, 0, 2)])
    with pytest.raises(GeometryError, match="beside"):
        read_segmentation(Address(str(tiles)))
    path = make(np.ones((1, 2, 2)), [1], heights(0), orientation=(1, 0, 0, 1, 0, 0))
    with pytest.raises(GeometryError, match="right angles"):
        read_segmentation(Address(str(path)))


def test_a_cut_file_is_told_wherever_it_ends(whole: Path) -> None:
    content = whole.read_bytes()
    for end in range(0, len(content) - 1, 61):
        whole.write_bytes(content[:end])
        with pytest.raises(E2MISegError):
            read_segmentation(Address(str(whole)))


def test_changed_bytes_never_end_in_a_traceback(whole: Path) -> None:
    content = whole.read_bytes()
    rng = np.random.default_rng(4)
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(132, len(content), 4):
            damaged[at] = rng.integers(0, 256)
        whole.write_bytes(bytes(damaged))
        with suppress(E2MISegError):
            volume = open_volume(whole)
            if volume.nbytes < 1 << 20:
                stored(volume)


def test_pixels_that_vanish_later_are_told_when_they_are_read(whole: Path) -> None:
    volume = read_segmentation(Address(str(whole)))
    whole.write_bytes(whole.read_bytes()[:-10])
    with pytest.raises(ReadError, match="cannot be read"):
        stored(volume)


def test_nothing_tells_who_the_patient_is(whole: Path, dicom_files: ModuleType) -> None:
    volume = open_volume(whole)
    told = [repr(volume), *volume.notes, *volume.channels, repr(volume.source)]
    edit(whole, NumberOfFrames=7)
    with pytest.raises(ReadError) as caught:
        read_segmentation(Address(str(whole)))
    for text in [*told, str(caught.value)]:
        assert dicom_files.CANARY not in text
        assert dicom_files.CANARY_DATE not in text


def test_highdicom_is_loaded_only_to_write(whole: Path) -> None:
    code = (
        "import sys; from e2miseg_core.io import open_labels; "
        "assert 'pydicom' not in sys.modules; "
        f"open_labels({str(whole)!r}).data.compute(); "
        "import e2miseg_core.io.dicom.segmentation_writer; "
        "assert 'highdicom' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
