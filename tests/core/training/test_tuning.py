"""The loop of a fine-tuning: patches of single slices, and what batches show."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from e2miseg_core.errors import ConfigError
from e2miseg_core.model import Model
from e2miseg_core.networks import build_network, network_to_json, preset_config
from e2miseg_core.preprocess import Normalization
from e2miseg_core.progress import run
from e2miseg_core.training.crops import Crop, CropSampler, crop_size, save_crop
from e2miseg_core.training.exam import HeldOut
from e2miseg_core.training.finetune_settings import FinetuneSettings
from e2miseg_core.training.patches import sample_generator
from e2miseg_core.training.tuning import VERSION, FinetuneControl, Tuning
from e2miseg_core.training.tuning_batches import TuningBatches

PATCH = (8, 16, 12)


def test_a_network_of_single_slices_is_fine_tuned(
    tiny_model: Model, tmp_path: Path
) -> None:
    config = preset_config("ehanet", slice_size=(32, 32), pretrained=False)
    card = replace(
        tiny_model.card,
        labels=tiny_model.card.labels[:1],
        normalizations=(Normalization(),),
        patch_size=config.patch_size,
        network=network_to_json(config),
    )
    torch.manual_seed(3)
    random = np.random.default_rng(3)
    size = crop_size(config.patch_size)
    crop = Crop(
        image=random.normal(size=(1, *size)).astype(np.float32),
        classes=random.integers(0, 2, size).astype(np.uint8),
        valid=np.ones(size, np.bool_),
    )
    save_crop(tmp_path / "a.npz", crop)
    sampler = CropSampler([tmp_path / "a.npz"], config.patch_size)
    tuning = Tuning(
        tmp_path,
        Model(network=build_network(config), card=card),
        FinetuneSettings(steps=1, batch=2, device="cpu", precision="float32"),
        corrections=sampler,
        memory=sampler,
    )
    run(tuning.train(HeldOut(paths=()), FinetuneControl()))
    assert tuning.state.step == 1
    assert not tuning.state.diverged
    tuning.resume()
    tuning.state.settings["version"] = 1  # as one from before would be
    tuning.save()
    tuning.state.settings["version"] = VERSION
    with pytest.raises(ConfigError, match=r"version.*start a new one"):
        tuning.resume()


def test_batches_show_corrections_and_memory_as_they_are() -> None:
    """In order, nothing changed, the same again."""
    rng = np.random.default_rng(1)

    class Drawn:
        """Gives the crop of a number out of some."""

        def __init__(self) -> None:
            self.crops = [
                Crop(
                    image=rng.normal(size=(2, *PATCH)).astype(np.float32),
                    classes=rng.integers(0, 3, PATCH).astype(np.uint8),
                    valid=rng.random(PATCH) < 0.5,
                )
                for _ in range(4)
            ]

        def sample(self, random: np.random.Generator) -> Crop:
            return self.crops[int(random.integers(4))]

    corrections, memory = Drawn(), Drawn()
    samplers = [corrections, memory, memory]
    batches = TuningBatches(samplers, seed=5)
    with ThreadPoolExecutor(1) as pool:
        found = list(batches.ahead(pool, range(6)))
        again = list(batches.ahead(pool, range(3, 6)))
    for step, (image, classes, valid) in enumerate(found):
        assert (classes.dtype, valid.dtype) == (torch.int64, torch.bool)
        for index, sampler in enumerate(samplers):
            shown = sampler.sample(sample_generator(5, step, index))
            np.testing.assert_array_equal(image[index], shown.image)
            np.testing.assert_array_equal(classes[index], shown.classes)
            np.testing.assert_array_equal(valid[index], shown.valid)
    for one, other in zip(found[3:], again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert len({float(batch[0].sum()) for batch in found}) > 1
