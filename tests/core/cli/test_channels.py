"""`predict` with a file a channel, named or numbered."""

from pathlib import Path

import numpy as np
import pytest
import torch

from e2miseg_core.cli import run_command
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_channels, open_volume, write_image
from e2miseg_core.model import save_model
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import create_network
from e2miseg_core.preprocess import Normalization
from e2miseg_core.volume import Volume


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of CT and PET, which gives different labels for different images."""
    torch.manual_seed(5)
    network = create_network("tiny", in_channels=2, n_classes=2, patch_size=(8, 16, 16))
    torch.nn.init.normal_(network.heads[0].weight, std=3.0)
    card = ModelCard(
        name="two channels",
        labels=(LabelInfo(value=1, name="tumour", color="#E69F00"),),
        channels=("CT", "PET"),
        normalizations=(Normalization(), Normalization()),
        spacing=(1.0, 1.0, 1.0),
        patch_size=(8, 16, 16),
        network={"architecture": "e2miseg", "config": network.config.to_json()},
        licence="CC0",
    )
    path = tmp_path_factory.mktemp("model") / "two.safetensors"
    save_model(network, card, path)
    return path


def write(path: Path, geometry: Geometry, seed: int) -> Path:
    values = np.random.default_rng(seed).normal(size=geometry.shape)
    volume = Volume.from_array(values.astype(np.float32), geometry)
    return write_image(volume.data[0], path, like=volume)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    ct = Geometry.from_spacing((9, 18, 17), (1, 1, 1))
    pet = Geometry.from_spacing((4, 9, 9), (2.2, 2.1, 2))
    return write(tmp_path / "ct.nii.gz", ct, 1), write(tmp_path / "pet.nrrd", pet, 2)


def predict(model: Path, *arguments: str | Path) -> int:
    return run_command(["predict", "--model", str(model), *map(str, arguments)])


def test_named_channels_are_put_in_the_order_of_the_model(
    model: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    ct, pet = files
    wanted = [f"--channels=PET={pet}", f"--channels=ct={ct}"]
    out, other = tmp_path / "out.nii.gz", tmp_path / "other.nii.gz"
    assert predict(model, *wanted, "-o", out) == 0
    # The first one named gives the grid.
    assert open_volume(out).geometry.matches(open_volume(pet).geometry)
    address = open_channels({"CT": ct, "PET": pet}, grid="PET").source
    assert address is not None
    assert predict(model, address.uri, "-o", other) == 0
    np.testing.assert_array_equal(
        open_volume(out).data.compute(), open_volume(other).data.compute()
    )
    assert predict(model, *wanted[::-1], "-o", out, "--overwrite") == 0
    assert open_volume(out).geometry.matches(open_volume(ct).geometry)


def test_numbered_channels_of_a_folder(
    model: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, out = tmp_path / "cases", tmp_path / "out"
    folder.mkdir()
    for case in ("one", "two_1"):
        (folder / f"{case}_0000.nii.gz").write_bytes(files[0].read_bytes())
        (folder / f"{case}_0001.nrrd").write_bytes(files[1].read_bytes())
    assert predict(model, folder, "-o", out) == 0
    assert sorted(path.name for path in out.iterdir()) == ["one.nii.gz", "two_1.nii.gz"]
    for path in out.iterdir():
        assert open_volume(path).geometry.matches(open_volume(files[0]).geometry)


def test_wrong_channels_are_one_line(
    model: Path,
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ct, pet = files
    out = tmp_path / "out.nii.gz"
    both = [f"--channels=CT={ct}", f"--channels=PET={pet}"]
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "a_0000.nii.gz").write_bytes(ct.read_bytes())
    for arguments, words in (
        (both[:1], "needed: those of the model: CT, PET"),
        ([both[0], both[0]], "every name once"),
        ([both[0], f"--channels=MR={pet}"], "CT, MR"),
        ([both[0], "--channels=PET"], "NAME=FILE"),
        ([ct, *both], "both images and --channels"),
        ([], "no image"),
        ([tmp_path / "cases"], "the channels 0000 of the case a"),
        (
            [both[0], f"--channels=PET={tmp_path / 'missing.nii'}"],
            "missing.nii cannot be read",
        ),
    ):
        assert predict(model, *arguments, "-o", out) == 2
        said = capsys.readouterr().err.strip()
        assert words in said, said
        assert "\n" not in said
    assert predict(model, *both, "-o", pet, "--overwrite") == 2
    assert "images are never written over" in capsys.readouterr().err
