"""Several files as channels of one case: addresses, grids, resampling."""

import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from e2miseg_core.errors import ConfigError, GeometryError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.io.address import Address
from e2miseg_core.io.channels.combine import combine
from e2miseg_core.io.channels.names import channels_address, images_of, open_channels
from e2miseg_core.io.channels.regrid import RegriddedChannel
from e2miseg_core.io.channels.relation import relate
from e2miseg_core.io.raw.pixels import RawPixels
from e2miseg_core.volume import Segments, Volume

LPS = np.array([-1.0, -1.0, 1.0])


def canonical(shape, spacing=(3, 2, 1.5), shift=(0, 0, 0), turn=0.0, unit="mm"):
    """A grid near the canonical one: `turn` in radians about Z and X."""
    cosine, sine = np.cos(turn), np.sin(turn)
    about_z = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    straight = Geometry.from_spacing(shape, spacing).affine
    affine = straight.copy()
    affine[:3, :3] = about_z @ about_x @ straight[:3, :3]
    affine[:3, 3] = shift
    return Geometry(shape=shape, affine=affine, unit=unit)


def noise(geometry, seed=0, dtype=np.float32):
    values = np.random.default_rng(seed).integers(0, 200, geometry.shape)
    return Volume.from_array(values.astype(dtype), geometry)


def by_simpleitk(volume, target, *, nearest, outside=0.0):
    """The same by another program: resampled onto `target`."""

    def image_of(geometry, values):
        image = SimpleITK.GetImageFromArray(values)
        lps = LPS[:, None] * geometry.affine_xyz[:3]
        image.SetSpacing(geometry.spacing[::-1])
        image.SetOrigin(lps[:, 3].tolist())
        image.SetDirection((lps[:, :3] / geometry.spacing[::-1]).ravel().tolist())
        return image

    moving = image_of(volume.geometry, volume.data[0].compute())
    fixed = image_of(target, np.zeros(target.shape, np.uint8))
    how = SimpleITK.sitkNearestNeighbor if nearest else SimpleITK.sitkLinear
    moved = SimpleITK.Resample(moving, fixed, SimpleITK.Transform(), how, outside)
    return SimpleITK.GetArrayFromImage(moved)


def inside(source, target, margin=1e-3):
    """Target voxels that surely lie in, and surely out of, the field of view."""
    index = np.moveaxis(np.indices(target.shape), 0, -1)
    places = source.voxel(target.world(index))
    top = np.array(source.shape) - 0.5
    within = np.minimum(places + 0.5, top - places).min(axis=-1)
    return within > margin, within < -margin


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    turn=st.sampled_from([0.0, 0.0, 0.2, 0.5]),
    nearest=st.booleans(),
)
def test_resampled_as_simpleitk_does(seed, turn, nearest):
    rng = np.random.default_rng(seed)
    source = canonical((7, 8, 9), rng.uniform(1, 4, 3), rng.uniform(-6, 6, 3), turn)
    target = canonical((6, 9, 7), rng.uniform(1, 4, 3), rng.uniform(-6, 6, 3))
    volume = noise(source, seed)
    channel = RegriddedChannel(
        volume.data, 0, source, target, nearest=nearest, outside=-5
    )
    found = channel.read((slice(0, 6), slice(0, 9), slice(0, 7)))
    expected = by_simpleitk(volume, target, nearest=nearest, outside=-5)
    index = np.moveaxis(np.indices(target.shape), 0, -1)
    places = source.voxel(target.world(index))
    within, beyond = inside(source, target)
    if nearest:  # a tie may go either way
        within &= (np.abs(places % 1 - 0.5) > 1e-3).all(axis=-1)
    np.testing.assert_allclose(found[within], expected[within], atol=0.02)
    assert (found[beyond] == -5).all()


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    turn=st.sampled_from([0.0, 0.3]),
    nearest=st.booleans(),
)
def test_a_voxel_is_the_same_however_the_grid_is_cut(seed, turn, nearest):
    rng = np.random.default_rng(seed)
    source = canonical((9, 8, 7), rng.uniform(1, 4, 3), rng.uniform(-4, 4, 3), turn)
    target = canonical((8, 9, 10), rng.uniform(0.5, 3, 3))
    channel = RegriddedChannel(
        noise(source, seed).data, 0, source, target, nearest=nearest
    )
    whole = channel.read(tuple(slice(0, size) for size in target.shape))
    for _ in range(4):
        low = [rng.integers(0, size) for size in target.shape]
        box = tuple(
            slice(int(a), int(rng.integers(a + 1, size + 1)))
            for a, size in zip(low, target.shape, strict=True)
        )
        np.testing.assert_array_equal(channel.read(box), whole[box])


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_small_memory_gives_the_same(monkeypatch, turn):
    source = canonical((20, 24, 28), (1, 1, 1), turn=turn)
    target = canonical((12, 14, 10), (2, 2, 2), (-3, 1, 0))
    channel = RegriddedChannel(noise(source).data, 0, source, target, nearest=False)
    box = tuple(slice(0, size) for size in target.shape)
    whole = channel.read(box)
    monkeypatch.setattr("e2miseg_core.io.channels.regrid._SOURCE_BYTES", 4000)
    monkeypatch.setattr("e2miseg_core.io.channels.regrid._TARGET_VOXELS", 100)
    np.testing.assert_array_equal(channel.read(box), whole)


def test_a_ramp_stays_a_ramp():
    """Linear interpolation is exact for the world's own coordinates."""
    source = canonical((9, 9, 9), (2, 2, 2), (-1, 0, 1), turn=0.2)
    index = np.moveaxis(np.indices(source.shape), 0, -1)
    ramp = source.world(index) @ (1.0, -2.0, 0.5)
    volume = Volume.from_array(ramp.astype(np.float32), source)
    target = canonical((5, 5, 5), (1, 1.5, 1), tuple(source.world((4, 4, 4))))
    channel = RegriddedChannel(volume.data, 0, source, target, nearest=False)
    found = channel.read((slice(0, 3),) * 3)
    index = np.moveaxis(np.indices((3, 3, 3)), 0, -1)
    expected = target.world(index) @ (1.0, -2.0, 0.5)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_missing_values_do_not_spread_where_they_do_not_count():
    geometry = canonical((1, 1, 4), (1, 1, 1))
    values = np.array([[[1, np.nan, 3, 4]]], np.float32)
    volume = Volume.from_array(values, geometry)
    target = canonical((1, 1, 2), (1, 1, 2))
    channel = RegriddedChannel(volume.data, 0, geometry, target, nearest=False)
    found = channel.read((slice(0, 1), slice(0, 1), slice(0, 2)))
    np.testing.assert_array_equal(found, [[[1, 3]]])


def test_the_same_grid_keeps_every_bit(make_geometry):
    geometry = make_geometry(3, (3, 4, 5))
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    one = Volume.from_array(values, geometry)
    flipped = Volume.from_array(one.data[0].compute(), one.geometry)
    both = combine({"a": one, "b": flipped})
    assert both.channels == ("a", "b")
    assert both.notes == ()
    assert both.dtype == np.float64
    np.testing.assert_array_equal(both.data[0].compute(), one.data[0].compute())
    np.testing.assert_array_equal(both.data[1].compute(), one.data[0].compute())


def test_notes_say_what_was_resampled():
    pet = noise(canonical((6, 6, 6), (4, 4, 4)))
    ct = noise(canonical((12, 12, 9), (2, 2, 2), (1, 1, 1)), dtype=np.int16)
    both = combine({"PET": pet, "CT": ct}, outside=-1000)
    (note,) = both.notes
    # To superior from -2 to 22 and from 0 to 24, to right from 2 to -22 and to -16:
    # the farthest corner is away by 2 and 6 mm; 1 of 6 columns of PET is not covered.
    for words in (
        "CT: brought from voxels of 2 x 2 x 2 mm",
        "grid of PET (linear)",
        "up to 6.32 mm apart",
        "about 17 % of the grid lies outside of it: -1000",
        "sampled, not averaged",
    ):
        assert words in note, note
    assert both.geometry.matches(pet.geometry)
    assert both.dtype == np.float32
    assert both.data[1].compute().min() == -1000


def test_how_grids_lie_on_each_other():
    target = canonical((4, 4, 4), (1, 1, 1))
    half = canonical((2, 4, 4), (1, 1, 1))
    relation = relate(half, target)
    assert relation.covered == 0.5
    assert relation.shift == pytest.approx(2)
    assert not relation.is_same
    assert not relation.is_finer
    far = canonical((4, 4, 4), (1, 1, 1), (100, 0, 0))
    assert not relate(far, target).overlaps
    inch = target.in_unit("um")
    assert relate(inch, target).is_same


def test_labels_stay_whole():
    target = noise(canonical((6, 6, 6), (2, 2, 2)))
    labels = noise(canonical((5, 5, 5), (3, 3, 3), turn=0.2), dtype=np.uint8)
    labels = replace(labels, segments=Segments(names={1: "one"}))
    both = combine({"image": target, "labels": labels})
    assert both.segments is None
    values = np.unique(both.data[1].compute())
    assert set(values) <= {0, *np.unique(labels.data.compute())}
    again = combine({"a": labels, "b": labels})
    assert again.segments.names == {1: "one"}


def test_segments_that_overlap_keep_the_names_of_their_channels():
    grid = canonical((4, 4, 4), (1, 1, 1))
    layers = Volume.from_array(
        np.ones((2, 4, 4, 4), np.uint8), grid, channels=("liver", "tumour")
    )
    segments = Segments(names={3: "liver", 8: "tumour"}, colors={8: (1, 2, 3)})
    layers = replace(layers, segments=segments.stacked())
    plain = Volume.from_array(np.ones((4, 4, 4), np.uint8), grid)
    plain = replace(plain, segments=Segments(names={1: "bone", 2: "air"}))
    both = combine({"a": plain, "b": layers})
    found = [both.frame(number).segments for number in range(3)]
    assert [each.names for each in found] == [
        {1: "bone", 2: "air"}, {1: "liver"}, {1: "tumour"},
    ]  # fmt: skip
    assert [each.colors for each in found] == [{}, {}, {1: (1, 2, 3)}]


def test_units_are_brought_together():
    one = noise(canonical((4, 4, 4), (2, 2, 2)))
    same = Volume.from_array(one.data[0].compute() * 2, one.geometry.in_unit("um"))
    both = combine({"a": one, "b": same})
    assert both.notes == ()
    np.testing.assert_array_equal(both.data[1].compute(), 2 * both.data[0].compute())


def test_images_of_other_places_are_refused():
    one = noise(canonical((4, 4, 4)))
    far = noise(canonical((4, 4, 4), shift=(999, 0, 0)))
    with pytest.raises(GeometryError, match="field of view of b shares nothing"):
        combine({"a": one, "b": far})
    with pytest.raises(ConfigError, match="no channels"):
        combine({})


def test_only_what_a_box_needs_is_read(tmp_path, monkeypatch):
    reads = []
    read = RawPixels.read

    def spy(self, box):
        if self.shape[1] == 400:
            reads.append(box[1])
        return read(self, box)

    monkeypatch.setattr(RawPixels, "read", spy)
    np.save(tmp_path / "fine.npy", np.zeros((400, 20, 20), np.float32))
    np.save(tmp_path / "coarse.npy", np.zeros((200, 10, 10), np.float32))
    case = open_channels({"a": tmp_path / "coarse.npy", "b": tmp_path / "fine.npy"})
    case.data[1, 30].compute()
    assert reads
    assert all(part.start >= 25 and part.stop <= 35 for part in reads), reads


def files(tmp_path, make_geometry):
    pet = Volume.from_array(
        np.random.default_rng(1).normal(size=(5, 6, 7)).astype(np.float32),
        make_geometry(1, (5, 6, 7)),
    )
    ct = Volume.from_array(
        np.random.default_rng(2).integers(0, 9, (8, 8, 8)).astype(np.int16),
        replace_spacing(pet.geometry),
    )
    first = write_image(pet.data[0], tmp_path / "pet.nii", like=pet)
    first = first.rename(tmp_path / "pet #1.nii")
    other = tmp_path / "other = half|"
    other.mkdir()
    second = write_image(ct.data[0], other / "ct.mha", like=ct)
    second = second.rename(other / "ct#%20é.mha")
    return first, second


def replace_spacing(geometry):
    return geometry.resampled([size * 0.8 for size in geometry.spacing]).__class__(
        shape=(8, 8, 8), affine=geometry.affine, unit=geometry.unit
    )


def test_the_address_opens_the_case_again(tmp_path, make_geometry):
    pet, ct = files(tmp_path, make_geometry)
    case = open_channels({"PET": pet, "CT = x|": ct})
    assert case.channels == ("PET", "CT = x|")
    again = open_volume(case.source.uri)
    assert again.data.name == case.data.name
    assert again.notes == case.notes
    np.testing.assert_array_equal(again.data.compute(), case.data.compute())
    np.testing.assert_array_equal(
        case.data[0].compute(), open_volume(pet).data[0].compute()
    )
    one = open_volume(case.source.uri, frame=1)
    assert one.channels == ("CT = x|",)
    sent = pickle.loads(pickle.dumps(case.data))
    np.testing.assert_array_equal(sent.compute(), case.data.compute())


def test_many_channels_make_long_addresses(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    other = tmp_path / f"{'long' * 40}.npy"
    np.save(other, np.ones((3, 4, 5)))
    sources = {"a": tmp_path / "a.npy", **{f"b{number}": other for number in range(9)}}
    case = open_channels(sources)
    assert case.source.uri.startswith(f"{tmp_path}/a.npy#part=channels:a=|b0=long")
    assert len(case.source.uri) > 1000
    assert open_volume(case.source.uri).n_channels == 10
    with pytest.raises(ReadError):
        open_volume("x" * 999)


def test_the_grid_may_be_that_of_any_channel(tmp_path, make_geometry):
    pet, ct = files(tmp_path, make_geometry)
    case = open_channels({"PET": pet, "CT": ct}, grid="CT")
    assert case.channels == ("PET", "CT")
    assert case.geometry.matches(open_volume(ct).geometry)
    np.testing.assert_array_equal(
        case.data[1].compute(), open_volume(ct).data[0].compute()
    )
    again = open_volume(case.source.uri)
    assert again.data.name == case.data.name
    images = images_of(case.source.uri)
    assert [image.path.resolve() for image in images] == [pet.resolve(), ct.resolve()]
    assert images_of(pet) == (Address(str(pet)),)
    with pytest.raises(ConfigError, match="on the grid of MR"):
        open_channels({"PET": pet, "CT": ct}, grid="MR")


def test_files_that_move_together_are_found(tmp_path, make_geometry):
    (tmp_path / "here").mkdir()
    pet, ct = files(tmp_path / "here", make_geometry)
    address = channels_address({"PET": pet, "CT": ct})
    before = open_volume(address).data.compute()
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = replace(address, place=str(tmp_path / "there" / pet.name))
    np.testing.assert_array_equal(open_volume(moved).data.compute(), before)
    with pytest.raises(ReadError):
        open_volume(address)


def test_relative_names_count_from_where_they_were_given(
    tmp_path, make_geometry, monkeypatch
):
    pet, ct = files(tmp_path, make_geometry)
    monkeypatch.chdir(tmp_path)
    case = open_channels({"PET": pet.name, "CT": os.path.relpath(ct)})
    assert case.n_channels == 2


def test_parts_and_frames_of_channels_are_kept(tmp_path):
    path = tmp_path / "case.npz"
    np.savez(path, one=np.zeros((3, 4, 5)), two=np.arange(120.0).reshape(2, 3, 4, 5))
    case = open_channels({"a": f"{path}#part=one", "b": f"{path}#part=two&frame=1"})
    again = open_volume(case.source.uri)
    assert again.data[1, 0, 0, 0].compute() == 60
    assert again.data[0].compute().max() == 0


@pytest.mark.parametrize(
    "part",
    ["channels:", "channels:a", "channels:=", "channels:a=|a=b", "channels:a=|b="],
)
def test_damaged_addresses_are_one_line(tmp_path, part):
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    with pytest.raises(ReadError, match=r"channels|is missing"):
        open_volume(tmp_path / "a.npy", part=part)
    with pytest.raises(ConfigError):
        channels_address({})
    with pytest.raises(ConfigError):
        channels_address({"": "a.npy"})


def test_labels_of_a_case_lie_on_the_grid_of_the_first(tmp_path, make_geometry):
    pet, ct = files(tmp_path, make_geometry)
    case = open_channels({"PET": pet, "CT": ct})
    labels = np.random.default_rng(0).integers(0, 3, case.geometry.shape)
    path = write_labels(labels, tmp_path / "labels.nii", like=case)
    again = open_volume(path)
    np.testing.assert_array_equal(
        again.source.geometry.affine, open_volume(pet).source.geometry.affine
    )
