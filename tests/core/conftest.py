"""Small models and data sets for tests of the core."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from e2miseg_core.geometry import Geometry
from e2miseg_core.io import write_image, write_labels
from e2miseg_core.model import Model, load_model, save_model
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import (
    E2MISeg,
    Network,
    build_network,
    create_network,
    network_to_json,
    preset_config,
)
from e2miseg_core.preprocess import Normalization
from e2miseg_core.volume import Volume


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights, two labels of unusual values."""
    torch.manual_seed(3)
    network = create_network("tiny", in_channels=1, n_classes=3, patch_size=(8, 16, 16))
    assert isinstance(network, E2MISeg)
    _decide(network.heads[0])
    path = tmp_path_factory.mktemp("models") / "test.safetensors"
    _save(network, path)
    return path


def _decide(head: nn.Module) -> None:
    """Random heads are nearly undecided: make them differ from place to place."""
    assert isinstance(head, nn.Conv3d)
    nn.init.normal_(head.weight, std=3.0)


def _save(network: Network, path: Path) -> None:
    card = ModelCard(
        name="test model",
        labels=(
            LabelInfo(value=2, name="node", color="#E69F00"),
            LabelInfo(value=7, name="vessel", color="#56B4E9"),
        ),
        channels=("MR",),
        normalizations=(Normalization(),),
        spacing=(1.0, 1.0, 1.0),
        patch_size=(8, 16, 16),
        network=network_to_json(network.config),
        calibration={"temperature": 1.5},
        licence="CC0",
    )
    save_model(network, card, path)


@pytest.fixture(scope="session")
def edge_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an edge head."""
    torch.manual_seed(4)
    config = preset_config(
        "tiny", in_channels=1, n_classes=3, patch_size=(8, 16, 16), edge_head=True
    )
    network = build_network(config)
    assert isinstance(network, E2MISeg)
    assert network.edge_head is not None
    _decide(network.heads[0])
    _decide(network.edge_head.logits[-1])
    path = tmp_path_factory.mktemp("models") / "edges.safetensors"
    _save(network, path)
    return path


@pytest.fixture(scope="session")
def edge_model(edge_model_path: Path) -> Model:
    """The model of `edge_model_path`."""
    return load_model(edge_model_path)


@pytest.fixture(scope="session")
def tiny_model(tiny_model_path: Path) -> Model:
    """The model of `tiny_model_path`."""
    return load_model(tiny_model_path)


@pytest.fixture(scope="session")
def make_image(
    make_geometry: Callable[[int, tuple[int, int, int]], Geometry],
) -> Callable[..., Volume]:
    """Make an oblique, flipped image in memory from a seed."""

    def make(seed: int, shape: tuple[int, int, int] = (13, 21, 18)) -> Volume:
        rng = np.random.default_rng(seed)
        geometry = make_geometry(seed, shape)
        # About 1 mm, so that models and images meet.
        affine = geometry.affine.copy()
        affine[:3, :3] *= rng.uniform(0.8, 1.3, 3) / np.asarray(geometry.spacing)
        image = rng.normal(100, 20, shape).astype(np.float32)
        image[shape[0] // 3 :, : shape[1] // 2] += 60
        return Volume.from_array(image, Geometry(shape=shape, affine=affine))

    return make


@pytest.fixture(scope="session")
def dataset_folder(
    tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., Volume]
) -> Path:
    """Ten small cases with bright boxes to find, in the layout images, labels."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in range(10):
        volume = make_image(number, (12, 20, 22))
        rng = np.random.default_rng(number)
        labels = np.zeros(volume.geometry.shape, np.uint8)
        corner = rng.integers(1, np.array(labels.shape) // 2)
        z, y, x = (
            slice(c, c + n // 3) for c, n in zip(corner, labels.shape, strict=True)
        )
        labels[z, y, x] = 1
        image = np.asarray(volume.data[0]) + 150 * labels
        write_image(image, folder / "images" / f"case_{number}.nii.gz", like=volume)
        write_labels(labels, folder / "labels" / f"case_{number}.nii.gz", like=volume)
    return folder
