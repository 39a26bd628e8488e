"""Which files make a series, and where its slices lie."""

import pickle
import shutil

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_volume
from e2miseg_core.io.dicom.scan import scan_folder

SEEDS = st.integers(0, 2**32 - 1)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(-999, 999, shape).astype(np.int16)


def stored(volume):
    return volume.as_source(volume.data.compute())


@settings(max_examples=15)
@given(seed=SEEDS)
def test_every_voxel_keeps_its_place_whatever_the_files_are_called(
    make_geometry, dicom_files, tmp_path_factory, seed
):
    geometry = make_geometry(seed, (4, 3, 5))
    lps = geometry.affine.copy()
    lps[:2] *= -1
    step, down, right = lps[:3, :3].T
    sizes = np.linalg.norm([down, right], axis=1)
    pixels = noise(geometry.shape, seed)
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("series")
    dicom_files.write_series(
        folder,
        pixels,
        places=lps[:3, 3] + np.arange(4)[:, None] * step,
        orientation=[*(right / sizes[1]), *(down / sizes[0])],
        spacing_yx=tuple(sizes),
        names=[f"{number}" for number in rng.permutation(4)],
    )
    volume = open_volume(folder)
    assert volume.geometry.orientation == "SPL"
    index = np.moveaxis(np.indices(volume.data.shape[1:]), 0, -1)
    places = geometry.voxel(volume.geometry.world(index))
    np.testing.assert_allclose(places, np.rint(places), atol=1e-4)
    z, y, x = np.moveaxis(np.rint(places).astype(int), -1, 0)
    np.testing.assert_array_equal(volume.data[0].compute(), pixels[z, y, x])


def test_equal_to_gdcm(dicom_files, tmp_path):
    angle = np.radians(20)
    turned = (np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0)
    dicom_files.write_series(
        tmp_path, noise((5, 6, 7)), orientation=turned, RescaleIntercept=-1024
    )
    volume = open_volume(tmp_path)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    np.testing.assert_array_equal(stored(volume)[0], SimpleITK.GetArrayFromImage(image))
    corner = np.array(image.TransformIndexToPhysicalPoint((6, 5, 4)))
    found = volume.source.geometry.world((4, 5, 6))
    np.testing.assert_allclose(found, corner * [-1, -1, 1], atol=1e-6)


def test_only_the_slices_asked_for_are_read(dicom_files, tmp_path):
    pixels = noise((6, 4, 5))
    paths = dicom_files.write_series(tmp_path, pixels)
    volume = open_volume(tmp_path)
    for path in [*paths[:3], *paths[4:]]:
        path.unlink()
    plane = volume.data[0, 3].compute()
    np.testing.assert_array_equal(volume.as_source(plane[None])[0], pixels[3])
    with pytest.raises(ReadError, match="missing, damaged or cut off"):
        volume.data[0, 2].compute()


def test_the_voxels_can_be_sent_to_another_process(dicom_files, tmp_path):
    pixels = noise((3, 4, 5))
    dicom_files.write_series(tmp_path, pixels)
    data = pickle.loads(pickle.dumps(open_volume(tmp_path).data))
    np.testing.assert_array_equal(np.sort(data.compute(), None), np.sort(pixels, None))


def test_several_series_are_listed_and_chosen(dicom_files, tmp_path):
    first, second = noise((3, 4, 5), 1), noise((2, 6, 7), 2)
    dicom_files.write_series(
        tmp_path / "a", first, SeriesDescription="CT Miller chest 3.0"
    )
    dicom_files.write_series(tmp_path / "b", second, sop_class=dicom_files.MR)
    (tmp_path / "notes.txt").write_text("not DICOM " * 20)
    (tmp_path / "empty").touch()
    with pytest.raises(ReadError) as error:
        open_volume(tmp_path)
    first_choice, second_choice = error.value.choices
    assert (first_choice.part, second_choice.part) == ("1", "2")
    assert '"CT chest 3.0", 3 x 4 x 5, 2.5 x 0.8 x 0.7 mm, 3 files' in str(first_choice)
    assert "MR, 2 x 6 x 7, 2.5 x 0.8 x 0.7 mm, 2 files" in str(second_choice)
    assert f"{tmp_path}#part=1" in str(error.value)
    volume = open_volume(f"{tmp_path}#part=2")
    np.testing.assert_array_equal(stored(volume)[0], second)
    assert open_volume(volume.source.uri).data.name == volume.data.name
    with pytest.raises(ReadError, match="no series 3"):
        open_volume(tmp_path, part="3")


def test_one_series_of_two_directions_is_two_parts(dicom_files, tmp_path):
    tags = {"series": "1.2.3", "study": "1.2", "frame_of_reference": "1.4"}
    dicom_files.write_series(tmp_path / "ax", noise((3, 4, 5)), **tags)
    sagittal = (0, 1, 0, 0, 0, -1)
    places = dicom_files.positions(4, step=(3, 0, 0))
    dicom_files.write_series(
        tmp_path / "sag", noise((4, 4, 5)), orientation=sagittal, places=places, **tags
    )
    found = scan_folder(tmp_path)
    assert [series.geometry.shape for series in found] == [(3, 4, 5), (4, 4, 5)]
    assert [series.number for series in found] == [1, 2]
    assert len({series.uid for series in found}) == 1


def test_missing_slices_stay_empty_at_their_true_places(dicom_files, tmp_path):
    pixels = noise((12, 4, 5))
    there = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    places = dicom_files.positions(12)
    dicom_files.write_series(tmp_path, pixels[there], places=places[there])
    volume = open_volume(tmp_path)
    assert volume.geometry.shape == (12, 4, 5)
    assert volume.geometry.spacing[0] == pytest.approx(2.5)
    expected = pixels.copy()
    expected[6] = -1000
    np.testing.assert_array_equal(stored(volume)[0], expected)
    assert "1 of 12 slices are missing (slice 6" in volume.notes[0]
    assert volume.source.details["planes"][6] is None


def test_too_many_missing_slices_are_refused(dicom_files, tmp_path):
    there = [0, 1, 2, 6, 7, 11, 15]
    places = dicom_files.positions(16)[there]
    dicom_files.write_series(tmp_path, noise((7, 4, 5)), places=places)
    with pytest.raises(ReadError, match=r"unevenly, 2.5 to 10 mm"):
        open_volume(tmp_path)


def test_a_change_of_spacing_makes_two_parts(dicom_files, tmp_path):
    along = np.array([0, 2, 4, 6, 8, 11, 14, 17, 20.0])
    places = np.stack([0 * along, 0 * along, along], axis=1)
    pixels = noise((9, 4, 5))
    dicom_files.write_series(tmp_path, pixels, places=places)
    first, second = scan_folder(tmp_path)
    assert first.geometry.spacing[0] == pytest.approx(2)
    assert second.geometry.spacing[0] == pytest.approx(3)
    volume = open_volume(tmp_path, part="2")
    np.testing.assert_array_equal(stored(volume)[0], pixels[4:])
    assert "run 2 of 2" in volume.notes[0]


def test_rounded_positions_are_even_and_told(dicom_files, tmp_path):
    places = dicom_files.positions(20, 0.625, origin=(0, 0, 0))
    dicom_files.write_series(tmp_path, noise((20, 4, 5)), places=places.round(3))
    quiet = open_volume(tmp_path)
    assert not quiet.notes
    dicom_files.write_series(tmp_path, noise((20, 4, 5)), places=places.round(1))
    uneven = [s for s in scan_folder(tmp_path) if s.notes]
    assert "0.6 to 0.7 mm apart: taken as" in uneven[0].notes[0]


def test_equal_doubled_slices_are_used_once(dicom_files, tmp_path):
    pixels = noise((4, 4, 5))
    which = [0, 1, 1, 2, 3]
    places = dicom_files.positions(4)[which]
    dicom_files.write_series(tmp_path, pixels[which], places=places)
    volume = open_volume(tmp_path)
    np.testing.assert_array_equal(stored(volume)[0], pixels)
    assert "1 slices lie at the places of others" in volume.notes[0]


def test_different_doubled_slices_are_refused(dicom_files, tmp_path):
    places = dicom_files.positions(4)[[0, 1, 1, 2, 3]]
    dicom_files.write_series(tmp_path, noise((5, 4, 5)), places=places)
    with pytest.raises(ReadError, match="1 slices lie at the places of others"):
        open_volume(tmp_path)


def test_gantry_tilt_stays_in_the_affine(dicom_files, tmp_path):
    tilt = np.radians(12)
    step = 3 * np.array([0, np.sin(tilt), np.cos(tilt)])
    places = dicom_files.positions(5, step=step)
    dicom_files.write_series(tmp_path, noise((5, 4, 5)), places=places)
    volume = open_volume(tmp_path)
    assert "by 12 degrees" in volume.notes[0]
    geometry = volume.source.geometry
    np.testing.assert_allclose(
        geometry.world([(z, 0, 0) for z in range(5)]), places * [-1, -1, 1], atol=1e-6
    )


@pytest.mark.parametrize(
    ("tag", "values", "names"),
    [
        ("EchoTime", (4.6, 9.2), ("echo time 4.6 ms", "echo time 9.2 ms")),
        ("DiffusionBValue", (0.0, 800.0), ("b-value 0 s/mm2", "b-value 800 s/mm2")),
        ("TemporalPositionIdentifier", (1, 2), None),
        ("AcquisitionTime", ("101500", "101730"), ("time +0 s", "time +150 s")),
        ("InstanceNumber", (7, 8), ("frame 1", "frame 2")),
    ],
)
def test_moments_are_channels(dicom_files, tmp_path, tag, values, names):
    pixels = noise((2, 3, 4, 5))
    for value, moment in zip(values[::-1], pixels[::-1], strict=True):
        dicom_files.write_series(
            tmp_path / str(value),
            moment,
            series="1.2.3",
            frame_of_reference="1.4",
            sop_class=dicom_files.MR,
            per_slice=[{"InstanceNumber": 1, tag: value}] * 3,
        )
    volume = open_volume(tmp_path)
    np.testing.assert_array_equal(stored(volume), pixels)
    assert "4D: 2 images of 3 slices taken as channels" in volume.notes[0]
    if names:
        assert volume.channels == names


def test_echoes_and_phases_together_are_channels(dicom_files, tmp_path):
    pixels = noise((4, 3, 4, 5))
    kinds = [(echo, kind) for echo in (2.0, 4.0) for kind in ("M", "P")]
    for number, (echo, kind) in enumerate(kinds):
        dicom_files.write_series(
            tmp_path / str(number),
            pixels[number],
            series="1.2.3",
            frame_of_reference="1.4",
            sop_class=dicom_files.MR,
            EchoTime=echo,
            ImageType=["ORIGINAL", "PRIMARY", kind],
        )
    volume = open_volume(tmp_path)
    np.testing.assert_array_equal(stored(volume), pixels)
    assert volume.channels[3] == "echo time 4 ms, phase"


def test_channels_say_their_b_value_whatever_tells_them_apart(dicom_files, tmp_path):
    for number, value in enumerate([0.0, 1000.0, 1000.0], 1):
        dicom_files.write_series(
            tmp_path / str(number),
            noise((3, 4, 5), number),
            series="1.2.3",
            frame_of_reference="1.4",
            sop_class=dicom_files.MR,
            AcquisitionNumber=number,
            DiffusionBValue=value,
        )
    assert open_volume(tmp_path).channels == (
        "acquisition 1, b-value 0 s/mm2",
        "acquisition 2, b-value 1000 s/mm2",
        "acquisition 3, b-value 1000 s/mm2",
    )


def test_directions_of_diffusion_are_channels_beside_an_image_without(
    dicom_files, tmp_path
):
    pixels = noise((3, 3, 4, 5))
    tags = [
        {"DiffusionBValue": 0.0},
        {"DiffusionBValue": 700.0, "DiffusionGradientOrientation": [0.0, 1.0, 0.0]},
        {"DiffusionBValue": 700.0, "DiffusionGradientOrientation": [1.0, 0.0, 0.0]},
    ]
    for number, own in enumerate(tags):
        dicom_files.write_series(
            tmp_path / str(number),
            pixels[number],
            series="1.2.3",
            frame_of_reference="1.4",
            sop_class=dicom_files.MR,
            per_slice=[{"InstanceNumber": 1, **own}] * 3,
        )
    volume = open_volume(tmp_path)
    assert volume.channels == (
        "no gradient, b-value 0 s/mm2",
        "gradient 1, b-value 700 s/mm2",
        "gradient 2, b-value 700 s/mm2",
    )
    np.testing.assert_array_equal(stored(volume), pixels)


def test_overlapping_acquisitions_are_parts(dicom_files, tmp_path):
    tags = {"series": "1.2.3", "frame_of_reference": "1.4"}
    places = dicom_files.positions(8)
    for number, part in enumerate([slice(0, 5), slice(4, 8)], 1):
        dicom_files.write_series(
            tmp_path / str(number),
            noise((part.stop - part.start, 4, 5), number),
            places=places[part],
            AcquisitionNumber=number,
            **tags,
        )
    found = scan_folder(tmp_path)
    assert [series.geometry.shape[0] for series in found] == [5, 4]


def test_slices_without_a_position_are_refused(dicom_files, tmp_path):
    dicom_files.write_series(tmp_path, noise((3, 4, 5)), ImagePositionPatient=None)
    with pytest.raises(ReadError, match="3 of 3 CT slices do not say where they lie"):
        open_volume(tmp_path)


def test_a_picture_without_a_position_opens_with_a_note(dicom_files, tmp_path):
    dataset = dicom_files.new_dataset(dicom_files.SECONDARY_CAPTURE, noise((4, 5)))
    path = dicom_files.save(dataset, tmp_path / "scan.dcm")
    volume = open_volume(path)
    assert volume.data.shape == (1, 1, 4, 5)
    assert any("position in the patient is not stated" in n for n in volume.notes)


def test_files_without_suffix_or_preamble_are_found(dicom_files, tmp_path):
    pixels = noise((2, 4, 5))
    for path in dicom_files.write_series(tmp_path, pixels):
        path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(stored(open_volume(tmp_path))[0], pixels)
    np.testing.assert_array_equal(stored(open_volume(path))[0], pixels[1:])


def test_scanning_reports_and_lists_nothing_where_there_is_nothing(tmp_path):
    for number in range(600):
        (tmp_path / f"{number}.txt").write_text("x" * 200)
    steps = []
    assert scan_folder(tmp_path, steps.append) == []
    assert [(step.done, step.total) for step in steps] == [(512, 600), (600, 600)]
    with pytest.raises(ReadError, match="is missing"):
        scan_folder(tmp_path / "gone")


@pytest.mark.parametrize(
    "name", ["dicom/cip_ct64", "totalsegmentator_examples/example_ct_dicom"]
)
def test_real_series_are_equal_to_gdcm(shared_data, name):
    volume = open_volume(shared_data / name)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(shared_data / name)))
    image = reader.Execute()
    np.testing.assert_array_equal(stored(volume)[0], SimpleITK.GetArrayFromImage(image))
    last = np.array(image.GetSize()) - 1
    corner = image.TransformIndexToPhysicalPoint(last.tolist())
    found = volume.source.geometry.world(last[::-1])
    np.testing.assert_allclose(found, np.array(corner) * [-1, -1, 1], atol=1e-6)


def test_a_folder_that_was_copied_into_itself_is_one_series(dicom_files, tmp_path):
    pixels = noise((3, 4, 5))
    dicom_files.write_series(tmp_path / "a", pixels)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    volume = open_volume(tmp_path)
    np.testing.assert_array_equal(stored(volume)[0], pixels)
    assert volume.notes[0] == "3 files are copies of others: each is used once"


def test_slices_that_share_one_uid_are_not_taken_for_copies(dicom_files, tmp_path):
    pixels = noise((3, 4, 5))
    dicom_files.write_series(tmp_path, pixels, SOPInstanceUID="1.2.3.4")
    np.testing.assert_array_equal(stored(open_volume(tmp_path))[0], pixels)


@pytest.mark.parametrize("name", ["study.dcm", "study.nii.gz"])
def test_a_folder_may_be_called_like_a_file(dicom_files, tmp_path, name):
    dicom_files.write_series(tmp_path / name, np.ones((4, 6, 5), np.int16))
    volume = open_volume(tmp_path / name)
    assert volume.geometry.shape == (4, 6, 5)
    assert volume.source.format == "dicom"
    (tmp_path / "empty.dcm").mkdir()
    with pytest.raises(ReadError, match="is a folder"):
        open_volume(tmp_path / "empty.dcm")
