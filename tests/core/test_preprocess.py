"""Laws of normalisation and resampling."""

from collections.abc import Callable

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.boxes import Box, box_slices, whole_box
from e2miseg_core.errors import ConfigError, GeometryError
from e2miseg_core.preprocess import (
    ModelView,
    Normalization,
    denormalize,
    measure_normalization,
    normalize,
    resample_box,
)
from e2miseg_core.progress import run
from e2miseg_core.volume import Volume

sizes = st.integers(1, 12)
shapes = st.tuples(sizes, sizes, sizes)


def reader(array: np.ndarray) -> Callable[[Box], np.ndarray]:
    return lambda box: array[(slice(None), *box_slices(box))]


def resample(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    return resample_box(reader(array), array.shape[1:], shape, whole_box(shape))


@given(source=shapes, target=shapes, data=st.data())
def test_a_box_is_the_same_however_the_volume_is_cut(
    source: tuple[int, int, int], target: tuple[int, int, int], data: st.DataObject
) -> None:
    array = np.random.default_rng(0).random((2, *source), dtype=np.float32)
    whole = resample(array, target)
    z, y, x = (
        tuple(sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))))
        for n in target
    )
    box = tuple((lo, max(hi, lo + 1)) for lo, hi in (z, y, x))
    box = tuple(
        (min(lo, n - 1), min(hi, n)) for (lo, hi), n in zip(box, target, strict=True)
    )
    part = resample_box(reader(array), source, target, box)
    np.testing.assert_allclose(part, whole[(slice(None), *box_slices(box))], atol=1e-6)


@given(source=shapes, target=shapes)
def test_resampling_keeps_constants_and_the_range(
    source: tuple[int, int, int], target: tuple[int, int, int]
) -> None:
    np.testing.assert_allclose(
        resample(np.full((1, *source), 3.5), target), 3.5, rtol=1e-5
    )
    array = np.random.default_rng(1).random((1, *source), dtype=np.float32)
    found = resample(array, target)
    assert found.min() >= array.min() - 1e-5
    assert found.max() <= array.max() + 1e-5


def test_upsampling_by_hand() -> None:
    found = resample(np.array([0.0, 1.0]).reshape(1, 1, 1, 2), (1, 1, 4))
    # Voxel centres of the target at -0.25, 0.25, 0.75, 1.25 source voxels; beyond the
    # outermost centres only the outermost voxel counts, scaled to 1.
    np.testing.assert_allclose(found.ravel(), [0.0, 0.25, 0.75, 1.0], atol=1e-6)


def test_downsampling_averages() -> None:
    array = np.array([0.0, 4.0, 0.0, 4.0, 0.0, 4.0, 0.0, 4.0]).reshape(1, 1, 1, 8)
    found = resample(array, (1, 1, 4)).ravel()
    # The triangle over four voxels: (1/8, 3/8, 3/8, 1/8).
    np.testing.assert_allclose(found[1:3], [2.0, 2.0], atol=1e-6)


def test_a_ramp_stays_a_ramp_inside() -> None:
    ramp = np.arange(10, dtype=np.float32).reshape(1, 1, 1, 10)
    for n_target in (5, 7, 20, 33):
        centres = (np.arange(n_target) + 0.5) * 10 / n_target - 0.5
        found = resample(ramp, (1, 1, n_target)).ravel()
        width = max(1, 10 / n_target)
        inside = (centres > width) & (centres < 9 - width)
        # Widened triangles of unequal halves keep a ramp to a fraction of a voxel.
        np.testing.assert_allclose(found[inside], centres[inside], atol=0.15)


@given(
    shape=shapes,
    mean=st.floats(-1e3, 1e3),
    std=st.floats(1e-2, 1e3),
)
def test_denormalising_undoes_normalising(
    shape: tuple[int, int, int], mean: float, std: float
) -> None:
    block = np.random.default_rng(2).normal(mean, std, (1, *shape)).astype(np.float32)
    rule = Normalization(mean=mean, std=std)
    back = denormalize(normalize(block, [rule]), [rule])
    np.testing.assert_allclose(back, block, rtol=1e-4, atol=1e-3 * (std + abs(mean)))


def test_measured_cases_have_mean_zero_and_deviation_one() -> None:
    rng = np.random.default_rng(3)
    array = rng.normal([[[[50.0]]], [[[-3.0]]]], 7, (2, 30, 20, 10)).astype(np.float32)
    array[0, 0, 0, 0] = np.nan
    array[1, 5, 5, 5] = np.inf
    data = da.from_array(array, chunks=(1, 7, 20, 10))
    rules = run(measure_normalization(data, [Normalization(), Normalization()]))
    found = normalize(array, rules)
    assert np.isfinite(found).all()
    assert found[0, 0, 0, 0] == 0
    for channel in found:
        assert channel.mean(dtype=float) == pytest.approx(0, abs=1e-3)
        assert channel.std(dtype=float) == pytest.approx(1, abs=1e-3)


def test_measuring_slab_by_slab_equals_measuring_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = np.random.default_rng(4).gamma(2, 50, (1, 40, 9, 7))
    whole = run(measure_normalization(da.from_array(array), [Normalization()]))
    monkeypatch.setattr("e2miseg_core.preprocess.SLAB_BYTES", 1)
    parts = run(measure_normalization(da.from_array(array), [Normalization()]))
    assert whole[0].mean == pytest.approx(array.mean())
    assert parts[0].mean == pytest.approx(array.mean())
    assert parts[0].std == pytest.approx(array.std())


def test_clipping_takes_the_training_sets_numbers() -> None:
    rule = Normalization(scheme="clipped", low=-100, high=300, mean=50, std=25)
    block = np.array([-1000, -100, 50, 300, 3000.0]).reshape(1, 1, 1, 5)
    np.testing.assert_allclose(normalize(block, [rule]).ravel(), [-6, -6, 0, 10, 10])
    assert run(measure_normalization(da.from_array(block), [rule])) == (rule,)


def test_a_constant_image_stays_finite() -> None:
    data = da.full((1, 4, 4, 4), 7.0)
    rules = run(measure_normalization(data, [Normalization()]))
    assert not normalize(np.asarray(data), rules).any()


def test_wrong_numbers_of_channels_and_unknown_schemes_are_refused() -> None:
    with pytest.raises(GeometryError, match="2 channels"):
        run(measure_normalization(da.zeros((2, 3, 3, 3)), [Normalization()]))
    with pytest.raises(ConfigError, match="'minmax'"):
        Normalization(scheme="minmax")
    with pytest.raises(ConfigError, match="gain"):
        Normalization.from_json({"scheme": "zscore", "gain": 2})


def test_a_view_reads_zeros_outside_and_the_same_inside(
    make_image: Callable[..., Volume],
) -> None:
    volume = make_image(5)
    rules = run(measure_normalization(volume.data, [Normalization()]))
    view = ModelView(volume, (1.7, 0.9, 1.1), rules)
    whole = view.read(whole_box(view.shape))
    z, y, x = view.shape
    around = view.read(((-3, z + 2), (-1, y + 4), (-2, x + 5)))
    assert around.shape == (1, z + 5, y + 5, x + 7)
    np.testing.assert_allclose(
        around[:, 3 : 3 + z, 1 : 1 + y, 2 : 2 + x], whole, atol=1e-6
    )
    around[:, 3 : 3 + z, 1 : 1 + y, 2 : 2 + x] = 0
    assert not around.any()
    outside = view.read(((z + 10, z + 12), (0, 2), (0, 2)))
    assert outside.shape == (1, 2, 2, 2)
    assert not outside.any()


def test_a_view_at_the_images_own_spacing_is_the_image(
    make_image: Callable[..., Volume],
) -> None:
    volume = make_image(6)
    view = ModelView(volume, volume.geometry.spacing, [Normalization(mean=0, std=1)])
    assert view.geometry.matches(volume.geometry)
    np.testing.assert_array_equal(
        view.read(whole_box(view.shape)), np.asarray(volume.data)
    )


def stripped(seed: int, shape: tuple[int, int, int] = (9, 8, 7)) -> np.ndarray:
    """Two channels that are 0 outside of a box; inside, one of them now and then."""
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 5, (2, *shape)).astype(np.float32)
    array[:, :2] = array[:, :, -3:] = 0
    return array


MASKED = [Normalization(nonzero=True), Normalization(nonzero=True)]


def test_only_what_lies_inside_is_measured_and_the_outside_stays_zero() -> None:
    array = stripped(1)
    inside = array.any(axis=0)
    assert ((array[0] == 0) & inside).any()  # 0 in one channel only: not outside
    rules = run(measure_normalization(da.from_array(array), MASKED))
    found = normalize(array, rules)
    for values, rule, seen in zip(array, rules, found, strict=True):
        assert rule.mean == pytest.approx(values[inside].mean())
        assert rule.std == pytest.approx(values[inside].std())
        assert seen[inside].mean(dtype=float) == pytest.approx(0, abs=1e-6)
        assert seen[inside].all()  # 0 means outside, nothing else
        assert not seen[~inside].any()


def test_a_masked_channel_beside_plain_and_measured_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("e2miseg_core.preprocess.SLAB_BYTES", 1)
    array = np.concatenate([stripped(2), stripped(3)[:1] + 7])
    known = Normalization(scheme="clipped", low=0, high=4, mean=2, std=3)
    rules = [known, Normalization(nonzero=True), Normalization()]
    array[2, 0] = 0
    found = run(measure_normalization(da.from_array(array), rules))
    inside = array.any(axis=0)
    assert found[0] == known
    assert found[1].mean == pytest.approx(array[1][inside].mean())
    assert found[2].mean == pytest.approx(array[2].mean())


@given(shape=shapes, at=st.integers(0, 2))
def test_denormalising_undoes_the_masked_normalisation(
    shape: tuple[int, int, int], at: int
) -> None:
    array = stripped(4, shape)
    # Some voxels inside are exactly the mean.
    rules = [Normalization(mean=float(at), std=0.5, nonzero=True), *MASKED[1:]]
    rules = run(measure_normalization(da.from_array(array), rules))
    back = denormalize(normalize(array, rules), rules)
    inside = array.any(axis=0)
    np.testing.assert_allclose(back[:, inside], array[:, inside], atol=1e-5)
    assert not back[:, ~inside].any()


def test_a_masked_view_is_the_same_however_it_is_cut(
    make_image: Callable[..., Volume],
) -> None:
    volume = make_image(5)
    image = np.asarray(volume.data)
    image[:, :3] = 0
    volume = Volume.from_array(image, volume.geometry)
    rules = run(measure_normalization(volume.data, [Normalization(nonzero=True)]))
    view = ModelView(volume, (1.7, 0.9, 1.1), rules)
    whole = view.read(whole_box(view.shape))
    box = ((0, 3), (2, 9), (1, 5))
    np.testing.assert_allclose(
        view.read(box), whole[(slice(None), *box_slices(box))], atol=1e-6
    )


def test_values_that_are_no_numbers_lie_outside() -> None:
    array = np.array([np.nan, np.inf, 0, 2, 4.0]).reshape(1, 1, 1, 5)
    rules = run(measure_normalization(da.from_array(array), MASKED[:1]))
    assert (rules[0].mean, rules[0].std) == (3.0, 1.0)
    np.testing.assert_allclose(normalize(array, rules).ravel(), [0, 0, 0, -1, 1])


def test_rules_are_stored_as_before_and_read_back() -> None:
    plain = Normalization(scheme="clipped", low=-1, high=2, mean=0, std=1)
    # The hash of a model file covers its card, so an older rule keeps its keys.
    assert set(plain.to_json()) == {"scheme", "low", "high", "mean", "std"}
    for rule in (plain, Normalization(nonzero=True)):
        assert Normalization.from_json(rule.to_json()) == rule
