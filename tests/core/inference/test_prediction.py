"""Prediction of volumes: against whole-volume computation, on grids, in files."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from e2miseg_core.errors import (
    Cancelled,
    ConfigError,
    DeviceError,
    ModelError,
    WriteError,
)
from e2miseg_core.geometry import Geometry
from e2miseg_core.inference.engine import MIRRORS, TilePredictor
from e2miseg_core.inference.files import OutputPaths, check_outputs, predict_file
from e2miseg_core.inference.prediction import PredictionOptions, mirrors, predict
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.io import open_labels, open_volume, write_image
from e2miseg_core.model import Model
from e2miseg_core.preprocess import ModelView, measure_normalization
from e2miseg_core.progress import Progress, run
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import expected_error
from e2miseg_core.volume import Volume

OPTIONS = PredictionOptions(precision="float32", keep_probabilities=True)


def blended_at_once(volume: Volume, model: Model) -> np.ndarray:
    """Probabilities by the plain definition: every tile into one big sum."""
    rules = run(measure_normalization(volume.data, model.card.normalizations))
    view = ModelView(volume, model.card.spacing, rules)
    grid = TileGrid(shape=view.shape, patch_size=model.card.patch_size, overlap=0.5)
    pad = max(model.card.patch_size)
    size = [n + 2 * pad for n in view.shape]
    total, weights = np.zeros((3, *size)), np.zeros(size)
    for _, starts in grid.layers():
        for start in starts:
            box = tuple((s, s + p) for s, p in zip(start, grid.patch_size, strict=True))
            with torch.no_grad():
                logits = model.network(torch.from_numpy(view.read(box))[None])[0]
            place = tuple(slice(lo + pad, hi + pad) for lo, hi in box)
            tile = torch.softmax(logits, 0).numpy() * grid.tile_weight()
            total[(slice(None), *place)] += tile
            weights[place] += grid.tile_weight()
    inside = tuple(slice(pad, pad + n) for n in view.shape)
    return total[(slice(None), *inside)] / weights[inside]


def own_spacing(model: Model, volume: Volume) -> Model:
    """The model as if made for the volume's spacing: no resampling."""
    return replace(model, card=replace(model.card, spacing=volume.geometry.spacing))


def test_streaming_equals_blending_the_whole_volume(
    tiny_model: Model, make_image: Callable[..., Volume]
) -> None:
    volume = make_image(1, (25, 37, 30))
    model = own_spacing(tiny_model, volume)
    result = predict(volume, model, options=OPTIONS)
    expected = blended_at_once(volume, model)
    assert result.probabilities is not None
    found = np.asarray(result.probabilities)
    np.testing.assert_allclose(found, expected, atol=2e-3)  # stored as float16
    labels = np.asarray(result.labels)
    sure = np.sort(expected, axis=0)[-1] - np.sort(expected, axis=0)[-2] > 1e-4
    values = np.array([0, 2, 7])[expected.argmax(axis=0)]
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(labels[sure], values[sure])
    assert len(np.unique(labels)) > 1  # the law is empty for a network that says one
    error = expected_error(
        expected, expected.argmax(axis=0), Calibration(temperature=1.5)
    )
    np.testing.assert_allclose(
        np.asarray(result.error_map), error, atol=0.5 / 255 + 1e-4
    )


def test_voxel_counts_are_those_of_the_labels(
    tiny_model: Model, make_image: Callable[..., Volume]
) -> None:
    result = predict(make_image(2), tiny_model, options=OPTIONS)
    labels = np.asarray(result.labels)
    assert result.voxels == {v: int((labels == v).sum()) for v in (2, 7)}


def test_results_lie_on_the_volumes_grid_at_any_spacing(
    tiny_model: Model, make_image: Callable[..., Volume]
) -> None:
    volume = make_image(3, (15, 22, 19))
    for factor in (0.5, 0.93, 2.2):
        spacing = tuple(s * factor for s in volume.geometry.spacing)
        model = replace(tiny_model, card=replace(tiny_model.card, spacing=spacing))
        result = predict(volume, model, options=OPTIONS)
        assert result.labels.shape == volume.geometry.shape
        assert result.probabilities is not None
        total = np.asarray(result.probabilities).astype(np.float32).sum(axis=0)
        np.testing.assert_allclose(total, 1, atol=5e-3)


def test_every_voxel_is_announced_final_once(tiny_model: Model) -> None:
    image = np.random.default_rng(4).normal(size=(150, 16, 16)).astype(np.float32)
    volume = Volume.from_array(image, spacing=(1, 1, 1))
    boxes = []
    predict(
        volume,
        tiny_model,
        on_progress=lambda step: boxes.append(step.details.get("box")),
    )
    rows = [box[0] for box in boxes if box is not None]
    assert len(rows) > 1
    assert rows[0][0] == 0
    assert rows[-1][1] == 150
    assert all(a[1] == b[0] for a, b in pairwise(rows))


def test_mirrored_passes_are_averaged_in_place() -> None:
    """A network that answers with its input sees every flip undone."""

    class Echo(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, -x], dim=1)

    tile = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    cpu = torch.device("cpu")
    plain = TilePredictor(network=Echo(), device=cpu)(tile)
    mirrored = TilePredictor(network=Echo(), device=cpu, mirrors=MIRRORS)(tile)
    np.testing.assert_allclose(mirrored, plain, atol=1e-6)
    expected = 1 / (1 + np.exp(-2 * tile[0]))
    np.testing.assert_allclose(plain[0], expected, atol=1e-6)


def test_only_axes_mirrored_in_training_are_mirrored(tiny_model: Model) -> None:
    card = replace(tiny_model.card, training={"mirror_axes": [2]})
    assert mirrors(card) == ((), (4,))
    assert mirrors(replace(card, training={})) == ((),)
    assert len(mirrors(replace(card, training={"mirror_axes": [0, 1, 2]}))) == 8


def test_predicting_leaves_no_inference_mode_behind(
    tiny_model: Model, make_image: Callable[..., Volume]
) -> None:
    predict(
        make_image(5),
        tiny_model,
        on_progress=lambda _: (
            (_ for _ in ()).throw(AssertionError)
            if torch.is_inference_mode_enabled()
            else None
        ),
    )
    assert not torch.is_inference_mode_enabled()


def test_what_the_model_was_not_made_for_is_refused(
    tiny_model: Model, make_image: Callable[..., Volume]
) -> None:
    volume = make_image(6)
    two = Volume.from_array(np.zeros((2, 8, 9, 10), np.float32), spacing=(1, 1, 1))
    with pytest.raises(ModelError, match=r"2 channels.*1 \(MR\)"):
        predict(two, tiny_model)
    tiny_voxels = Volume.from_array(
        np.zeros((8, 9, 10), np.float32),
        Geometry(shape=(8, 9, 10), affine=np.diag([50.0, 4.6, 4.6, 1]), unit="nm"),
    )
    with pytest.raises(ModelError, match="choose another model"):
        predict(tiny_voxels, tiny_model)
    with pytest.raises(DeviceError, match="'cuda:9'"):
        predict(volume, tiny_model, options=PredictionOptions(device="cuda:9"))
    with pytest.raises(ConfigError, match="float16"):
        predict(
            volume,
            tiny_model,
            options=PredictionOptions(device="cpu", precision="float16"),
        )


def test_a_failing_prediction_removes_what_it_made_and_nothing_else(
    tiny_model: Model, make_image: Callable[..., Volume], tmp_path: Path
) -> None:
    volume = make_image(8)
    (tmp_path / "mine.txt").write_text("mine")

    def fail(step: Progress) -> None:
        if step.stage == "predicting" and step.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(volume, tiny_model, folder=tmp_path, on_progress=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    predict(volume, tiny_model, folder=tmp_path)
    with pytest.raises(WriteError, match=r"labels.ome.zarr exists"):
        predict(volume, tiny_model, folder=tmp_path)


def test_the_expected_number_of_errors_is_not_rounded_to_bytes(
    tiny_model: Model, make_image: Callable[..., Volume]
) -> None:
    model = replace(tiny_model, card=replace(tiny_model.card, calibration={}))
    result = predict(make_image(9), model, options=OPTIONS)
    assert result.probabilities is not None
    sure = np.asarray(result.probabilities).astype(np.float32).max(axis=0)
    expected = float((1 - sure).sum(dtype=np.float64))
    assert result.expected_wrong == pytest.approx(expected, rel=1e-2)


@pytest.fixture
def image_file(tmp_path: Path, make_image: Callable[..., Volume]) -> Path:
    volume = make_image(7, (14, 22, 17))
    return write_image(
        np.asarray(volume.data[0]), tmp_path / "scan.nii.gz", like=volume
    )


def test_files_lie_on_the_input_s_exact_grid(
    tiny_model: Model, image_file: Path, tmp_path: Path
) -> None:
    outputs = OutputPaths(
        labels=tmp_path / "labels.nii.gz",
        error_map=tmp_path / "error.nii",
        probabilities=tmp_path / "p.ome.zarr",
    )
    run(predict_file(image_file, outputs, tiny_model, OPTIONS))
    image = open_volume(image_file)
    assert image.source is not None
    for path in outputs.wanted():
        written = open_volume(path)
        assert written.geometry.matches(image.geometry, tolerance=1e-6)
    stored = open_labels(outputs.labels)
    assert stored.source is not None
    assert stored.source.geometry.matches(image.source.geometry, tolerance=1e-6)
    direct = predict(image, tiny_model, options=OPTIONS)
    np.testing.assert_array_equal(np.asarray(stored.data[0]), np.asarray(direct.labels))
    np.testing.assert_array_equal(
        np.asarray(open_volume(tmp_path / "error.nii").data[0]),
        np.asarray(direct.error_map),
    )


def test_files_that_are_named_are_written_and_no_stores_beyond(
    tiny_model: Model, image_file: Path, tmp_path: Path
) -> None:
    named = OutputPaths(
        labels=tmp_path / "labels.nii.gz", probabilities=tmp_path / "p.nii.gz"
    )
    plain = replace(OPTIONS, keep_probabilities=False)
    run(predict_file(image_file, named, tiny_model, plain))
    assert open_volume(tmp_path / "p.nii.gz").n_channels == 3
    alone = OutputPaths(labels=tmp_path / "alone.nii.gz")
    steps: list[Progress] = []
    run(predict_file(image_file, alone, tiny_model, OPTIONS), steps.append)
    stores = next(s.details["stores"] for s in steps if "stores" in s.details)
    assert set(stores) == {"labels", "error_map"}  # type: ignore[call-overload]


def test_a_cancelled_prediction_leaves_nothing(
    tiny_model: Model, image_file: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    outputs = OutputPaths(labels=tmp_path / "labels.nii.gz")
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        run(
            predict_file(image_file, outputs, tiny_model, OPTIONS),
            seen.append,
            cancelled=lambda: bool(seen) and seen[-1].stage == "predicting",
        )
    assert set(tmp_path.iterdir()) == before


def test_outputs_are_checked_before_any_work(tmp_path: Path) -> None:
    there = tmp_path / "there.nii.gz"
    there.write_bytes(b"precious")
    cases = {
        "exists": OutputPaths(labels=there),
        "name ending in": OutputPaths(labels=tmp_path / "labels.jpg"),
        "no folder": OutputPaths(labels=tmp_path / "no" / "labels.nii"),
        "one name": OutputPaths(
            labels=tmp_path / "a.nii", error_map=tmp_path / "a.nii"
        ),
    }
    for message, outputs in cases.items():
        with pytest.raises(WriteError, match=message):
            check_outputs(outputs, overwrite=False)
    check_outputs(OutputPaths(labels=there), overwrite=True)
    assert there.read_bytes() == b"precious"


def test_no_slice_of_a_series_is_written_over(
    tiny_model: Model, image_file: Path, tmp_path: Path
) -> None:
    volume = open_volume(image_file)
    store = write_image(volume.data[0], tmp_path / "scan.ome.zarr", like=volume)
    inside = store / "labels.nii.gz"
    inside.write_bytes(b"precious")
    with pytest.raises(WriteError, match="never written over"):
        check_outputs(OutputPaths(labels=inside), overwrite=True, inputs=[store])
    job = predict_file(
        store, OutputPaths(labels=inside), tiny_model, OPTIONS, overwrite=True
    )
    with pytest.raises(WriteError, match="never written over"):
        run(job)
    assert inside.read_bytes() == b"precious"
