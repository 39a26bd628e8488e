"""The edge probability of networks with an edge head, in stores and in files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from e2miseg_core.errors import ModelError
from e2miseg_core.inference.engine import MIRRORS, TilePredictor
from e2miseg_core.inference.files import OutputPaths, predict_file
from e2miseg_core.inference.prediction import PredictionOptions, predict
from e2miseg_core.inference.project import predict_case_job
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.model import Model
from e2miseg_core.preprocess import ModelView, measure_normalization
from e2miseg_core.progress import Progress, run
from e2miseg_core.project import Case, Project
from e2miseg_core.volume import Volume
from e2miseg_core.worker.jobs import Jobs

OPTIONS = PredictionOptions(device="cpu", precision="float32")
WITH_EDGES = replace(OPTIONS, keep_edge_map=True)
EDGE_MAP = "edge_map.ome.zarr"
CPU = torch.device("cpu")


class Sides(torch.nn.Module):
    """Classes by the brightness of a voxel, an edge above its right neighbour."""

    has_edges = True

    def forward_with_edges(
        self, image: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cat([image, -image], dim=1), torch.sigmoid(image)


def test_edges_are_one_channel_more_and_mirrored_back() -> None:
    tile = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)
    for mirrors in (((),), MIRRORS):
        found = TilePredictor(
            network=Sides(), device=CPU, mirrors=mirrors, edge_map=True
        )(tile)
        assert found.shape == (3, 4, 5, 6)
        np.testing.assert_allclose(found[:2].sum(0), 1, atol=1e-6)
        expected = 1 / (1 + np.exp(-tile[0]))
        np.testing.assert_allclose(found[2], expected, atol=1e-6)


def test_one_tile_s_edges_are_the_network_s(edge_model: Model) -> None:
    image = np.random.default_rng(1).normal(size=(8, 16, 16)).astype(np.float32)
    volume, card = Volume.from_array(image, spacing=(1, 1, 1)), edge_model.card
    result = predict(volume, edge_model, options=WITH_EDGES)
    rules = run(measure_normalization(volume.data, card.normalizations))
    tile = ModelView(volume, card.spacing, rules).read(((0, 8), (0, 16), (0, 16)))
    with torch.no_grad():
        _, expected = edge_model.network.forward_with_edges(
            torch.from_numpy(tile)[None]
        )
    assert result.edge_map is not None
    assert result.edge_map.dtype == np.float32
    found = np.asarray(result.edge_map)
    assert found.std() > 0.01  # the law is empty for a head that says one thing
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=0.5 / 255 + 1e-5)


def test_edges_lie_on_the_volume_s_grid_and_change_no_label(
    edge_model: Model, make_image: Callable[..., Volume]
) -> None:
    volume = make_image(2, (15, 22, 19))
    z, y, x = (1.7 * s for s in volume.geometry.spacing)
    model = replace(edge_model, card=replace(edge_model.card, spacing=(z, y, x)))
    with_edges = predict(volume, model, options=WITH_EDGES)
    assert with_edges.edge_map is not None
    assert with_edges.edge_map.shape == volume.geometry.shape

    class Blind(torch.nn.Module):
        """The network, asked for classes alone."""

        def __init__(self) -> None:
            super().__init__()
            self.network = model.network

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(image)
            return logits

    other = replace(model, network=Blind())  # type: ignore[arg-type]
    blind = predict(volume, other, options=WITH_EDGES)
    assert blind.edge_map is None
    assert not (blind.folder / EDGE_MAP).exists()
    np.testing.assert_array_equal(
        np.asarray(with_edges.labels), np.asarray(blind.labels)
    )
    np.testing.assert_array_equal(
        np.asarray(with_edges.error_map), np.asarray(blind.error_map)
    )


def test_edges_that_nobody_wants_are_not_worked_out(
    edge_model: Model,
    make_image: Callable[..., Volume],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(edge_model.network, "forward_with_edges", unwanted)
    result = predict(make_image(3), edge_model, options=OPTIONS)
    assert result.edge_map is None
    names = {path.name for path in result.folder.iterdir()}
    assert names == {"labels.ome.zarr", "error_map.ome.zarr"}


def test_stores_hold_bytes_and_are_announced(
    edge_model: Model, make_image: Callable[..., Volume], tmp_path: Path
) -> None:
    steps: list[Progress] = []
    result = predict(
        make_image(3),
        edge_model,
        options=WITH_EDGES,
        folder=tmp_path / "out",
        on_progress=steps.append,
    )
    stored = zarr.open_array(str(tmp_path / "out" / EDGE_MAP), path="0")
    assert stored.dtype == np.uint8
    assert result.edge_map is not None
    np.testing.assert_array_equal(
        np.asarray(stored[:]) / np.float32(255), np.asarray(result.edge_map)
    )
    told = [s.details["stores"] for s in steps if "stores" in s.details]
    assert told[0]["edge_map"] == str(tmp_path / "out" / EDGE_MAP)  # type: ignore[index]


def test_a_failing_prediction_leaves_no_edges(
    edge_model: Model, make_image: Callable[..., Volume], tmp_path: Path
) -> None:
    def fail(step: Progress) -> None:
        if step.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(
            make_image(3),
            edge_model,
            options=WITH_EDGES,
            folder=tmp_path,
            on_progress=fail,
        )
    assert not list(tmp_path.iterdir())


@pytest.fixture
def scan(tmp_path: Path, make_image: Callable[..., Volume]) -> Path:
    volume = make_image(7, (14, 22, 17))
    return write_image(
        np.asarray(volume.data[0]), tmp_path / "scan.nii.gz", like=volume
    )


def test_an_edge_map_is_written_on_the_image_s_grid(
    edge_model: Model, scan: Path, tmp_path: Path
) -> None:
    outputs = OutputPaths(
        labels=tmp_path / "labels.nii.gz", edge_map=tmp_path / "edges.nii.gz"
    )
    run(predict_file(scan, outputs, edge_model, OPTIONS))
    written, image = open_volume(tmp_path / "edges.nii.gz"), open_volume(scan)
    assert written.geometry.matches(image.geometry)
    direct = predict(image, edge_model, options=WITH_EDGES)
    assert direct.edge_map is not None
    np.testing.assert_allclose(
        np.asarray(written.data[0]), np.asarray(direct.edge_map), atol=1e-6
    )


def test_a_model_without_an_edge_head_has_no_edge_map(
    tiny_model: Model, scan: Path, tmp_path: Path
) -> None:
    outputs = OutputPaths(labels=tmp_path / "a.nii.gz", edge_map=tmp_path / "b.nii.gz")
    with pytest.raises(ModelError, match="test model, without an edge head"):
        run(predict_file(scan, outputs, tiny_model, OPTIONS))
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


@pytest.fixture
def case(tmp_path: Path, edge_model_path: Path, scan: Path) -> Case:
    project = Project.create(tmp_path / "study.e2m", model=edge_model_path)
    return project.add_case(open_volume(scan))


def test_a_project_keeps_the_edges_of_a_prediction(
    case: Case, edge_model: Model, tiny_model: Model
) -> None:
    found = run(predict_case_job(case, edge_model, OPTIONS, version=0))
    assert found.edge_map is not None
    stored = zarr.open_array(str(found.edge_map), path="0", mode="r")
    assert stored.shape == case.geometry.shape
    assert np.asarray(stored[:]).std() > 1
    without = run(predict_case_job(case, tiny_model, OPTIONS, version=0))
    assert without.edge_map is None


def test_the_worker_names_the_edge_map_where_one_was_asked_for(
    edge_model_path: Path, tiny_model_path: Path, scan: Path, tmp_path: Path
) -> None:
    found = []
    for name, model in (("a", edge_model_path), ("b", tiny_model_path)):
        command = {
            "image": str(scan),
            "model": str(model),
            "output": str(tmp_path / name),
            "device": "cpu",
        }
        with_edges = {**command, "edge_map": True}
        found.append(list(Jobs().predict(with_edges))[-1])
    command = {**command, "model": str(edge_model_path), "output": str(tmp_path / "c")}
    found.append(list(Jobs().predict(command))[-1])
    assert [event for event, _ in found] == ["result", "result", "result"]
    assert found[0][1]["edge_map"] == str(tmp_path / "a" / EDGE_MAP)
    assert "edge_map" not in found[1][1]
    assert "edge_map" not in found[2][1]
