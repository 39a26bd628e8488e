"""`train` and `predict` with EHANet, on volumes slice by slice and on pictures."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from e2miseg_core.errors import ConfigError, ReadError
from e2miseg_core.geometry import Geometry
from e2miseg_core.inference.prediction import PredictionOptions, predict_job
from e2miseg_core.io import open_volume, write_image, write_labels
from e2miseg_core.model import load_model
from e2miseg_core.networks import EHANetConfig
from e2miseg_core.networks.ehanet.encoder import Encoder
from e2miseg_core.progress import run
from e2miseg_core.training import start
from e2miseg_core.training.dataset import find_dataset
from e2miseg_core.training.distributed import Team
from e2miseg_core.training.plan import PlanOverrides
from e2miseg_core.training.recipes import preset_recipe
from e2miseg_core.training.run import TrainingRun
from e2miseg_core.training.train import (
    TrainingRequest,
    plan_training_of,
    train_model,
)
from e2miseg_core.volume import Volume

RECIPE = replace(preset_recipe("ehanet"), epochs=1, iterations=2)


def request(dataset, folder, **changes):
    return TrainingRequest(
        dataset=find_dataset(dataset),
        folder=folder,
        preset="ehanet",
        recipe=RECIPE,
        device="cpu",
        precision="float32",
        **changes,
    )


@pytest.fixture
def no_hub(monkeypatch):
    def fail():
        yield from ()
        raise ReadError(found="no hub", needed="a hub", do="connect")

    monkeypatch.setattr(start, "fetch_weights", fail)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    torch.manual_seed(11)
    path = tmp_path / "encoder.safetensors"
    encoder = Encoder(frozen=True, norm="batch", whole=False)
    # Numbers that a model file of float16 holds exactly.
    halves = {
        k: v.half().float() if v.is_floating_point() else v
        for k, v in encoder.state_dict().items()
    }
    save_file(halves, path)

    def give():
        yield from ()
        return path

    monkeypatch.setattr(start, "fetch_weights", give)
    return halves


def write_set(folder, shape):
    """Seven images with a bright box, and their labels."""
    upright = np.eye(4)[[2, 1, 0, 3]] * [[-1.0], [-1.0], [1.0], [1.0]]
    geometry = Geometry(shape=shape, affine=upright)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(7):
        random = np.random.default_rng(number)
        labels = np.zeros(shape, np.uint8)
        first = [int(random.integers(0, 1 + n // 3)) for n in shape]
        labels[
            tuple(slice(f, f + 1 + n // 3) for f, n in zip(first, shape, strict=True))
        ] = 1
        image = random.normal(100, 20, shape) + 100 * labels
        volume = Volume.from_array(image.astype(np.float32), geometry)
        write_image(image, folder / "images" / f"case_{number}.nii.gz", like=volume)
        write_labels(labels, folder / "labels" / f"case_{number}.nii.gz", like=volume)
    return folder


@pytest.fixture
def pictures(tmp_path):
    return write_set(tmp_path / "pictures", (1, 40, 36))


def predict(model, image, folder):
    options = PredictionOptions(device="cpu", precision="float32", keep_edge_map=True)
    return run(predict_job(image, model, folder, options))


def test_volumes_are_learnt_and_predicted_slice_by_slice(tmp_path, no_hub):
    volumes = write_set(tmp_path / "volumes", (20, 4, 24))
    overrides = PlanOverrides(slice_axis=1)
    steps = []
    result = run(
        train_model(request(volumes, tmp_path / "run", overrides=overrides)),
        steps.append,
    )
    plan = next(s.details["plan"] for s in steps if "plan" in s.details)
    assert "begins at random" in plan["notes"][-1]
    assert "no hub" in plan["notes"][-1]
    model = load_model(result.path)
    config = model.network.config
    assert (config.axis, config.patch_size) == (1, (32, 1, 32))
    assert config.pretrained is False
    assert result.card.training["mirror_axes"] == [0, 2]
    assert result.card.training["plan"]["notes"] == plan["notes"]

    image = open_volume(volumes / "images" / "case_0.nii.gz")
    found = predict(model, image, tmp_path)
    assert found.labels.shape == image.geometry.shape
    assert set(np.unique(np.asarray(found.labels))) <= {0, 1}
    assert found.edge_map is not None
    assert found.edge_map.shape == image.geometry.shape


def test_pictures_are_learnt_with_the_encoder_as_it_was(pictures, tmp_path, weights):
    result = run(train_model(request(pictures, tmp_path / "run")))
    note = result.card.training["plan"]["notes"][-1]
    assert "ImageNet" in note
    content = (tmp_path / "encoder.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() in note
    model = load_model(result.path)
    assert model.network.config.patch_size == (1, 64, 64)
    assert model.network.config.pretrained is True
    for name, tensor in model.network.encoder.state_dict().items():
        assert torch.equal(tensor, weights[name]), name

    picture = open_volume(pictures / "images" / "case_0.nii.gz")
    found = predict(model, picture, tmp_path)
    assert found.labels.shape == (1, 40, 36)


def test_a_batch_of_one_slice_is_refused_before_batch_norms_stumble(pictures, tmp_path):
    alone = request(
        pictures,
        tmp_path / "run",
        network={"norm": "batch"},
        overrides=PlanOverrides(batch_size=1),
    )
    with pytest.raises(ConfigError, match="one slice in a batch"):
        run(plan_training_of(alone))
    config = EHANetConfig(in_channels=1, slice_size=(32, 32), norm="batch")
    recipe = replace(RECIPE, batch_size=3)
    with pytest.raises(ConfigError, match="of each process"):
        TrainingRun(tmp_path, config, recipe, device="cpu", team=Team(rank=1, size=2))


def test_a_resumed_run_keeps_to_the_weights_it_began_with(
    pictures, tmp_path, weights, monkeypatch
):
    folder = tmp_path / "run"
    job = train_model(request(pictures, folder))
    for _ in job:
        if (folder / "checkpoint.safetensors").exists():
            break
    job.close()

    def never():
        pytest.fail("something was fetched")

    monkeypatch.setattr(start, "fetch_weights", never)
    result = run(train_model(request(pictures, folder, resume=True)))
    model = load_model(result.path)
    assert model.network.config.pretrained is True
    for name, tensor in model.network.encoder.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
