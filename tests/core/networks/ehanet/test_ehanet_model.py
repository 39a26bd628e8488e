"""EHANet as a model: one file, volumes tile by tile, no network connection."""

import subprocess

import numpy as np
import pytest
import torch

from e2miseg_core.inference.engine import TilePredictor, stream_probabilities
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.model import load_model, save_model
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import EHANet, EHANetConfig, network_to_json
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import run


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(7)
    config = EHANetConfig(in_channels=1, axis=1, slice_size=(32, 64)).as_published()
    network = EHANet(config).eval()
    # What float16 can hold, as a file does; counts of steps beyond that stay whole.
    network.load_state_dict(
        {
            k: v.half().float() if v.is_floating_point() else v + 100_001
            for k, v in network.state_dict().items()
        }
    )
    return network


def test_a_model_file_holds_all_weights(network, tmp_path, monkeypatch):
    card = ModelCard(
        name="slices",
        labels=(LabelInfo(value=1, name="polyp", color="#E69F00"),),
        channels=("endoscopy",),
        normalizations=(Normalization(),),
        spacing=(1.0, 1.0, 1.0),
        patch_size=network.config.patch_size,
        network=network_to_json(network.config),
        licence="CC0",
    )
    save_model(network, card, tmp_path / "model.safetensors")

    def never(*_args, **_kwargs):
        pytest.fail("something was fetched")

    monkeypatch.setattr(subprocess, "Popen", never)
    loaded = load_model(tmp_path / "model.safetensors").network
    assert loaded.config == network.config
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    image = torch.randn(1, 1, 32, 1, 64)
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))


def test_tiles_of_slices_put_together_are_the_slices():
    torch.manual_seed(7)
    config = EHANetConfig(in_channels=1, axis=1, slice_size=(32, 64), pretrained=False)
    network = EHANet(config).eval()
    network.head[-1].weight.data *= 30  # random ones are nearly undecided
    random = np.random.default_rng(0)
    volume = random.standard_normal((1, 32, 3, 64)).astype(np.float32)

    class View:
        def read(self, box):
            return volume[(slice(None), *(slice(*pair) for pair in box))]

    predictor = TilePredictor(network=network, device=torch.device("cpu"))
    grid = TileGrid(shape=(32, 3, 64), patch_size=(32, 1, 64), overlap=0.5)
    found = np.zeros((2, 32, 3, 64), np.float32)

    def keep(first, slab):
        found[:, first : first + slab.shape[1]] = slab

    run(stream_probabilities(predictor, View(), grid, 2, keep))
    with torch.no_grad():
        logits = network(torch.from_numpy(volume)[None])[0]
    expected = torch.softmax(logits, dim=0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert expected[1].std() > 0.05  # there is something to compare
