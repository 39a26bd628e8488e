"""What a network in training begins to get wrong is found, and shown to it again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2miseg_core.inference.engine import TilePredictor
from e2miseg_core.model import Model
from e2miseg_core.networks import TrainingOutputs
from e2miseg_core.progress import Progress, run
from e2miseg_core.training.exam import HeldOut
from e2miseg_core.training.finetune_settings import FinetuneSettings
from e2miseg_core.training.forgetting import Watch
from e2miseg_core.training.patches import sample_generator
from e2miseg_core.training.prepare import PreparedCase
from e2miseg_core.training.replay import CaseSampler
from e2miseg_core.training.tuning import FinetuneControl, Tuning

PATCH = (8, 16, 16)
CPU = torch.device("cpu")


class Above(nn.Module):
    """Class 1 where the image is above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, image: Tensor) -> Tensor:
        logit = 10 * (image - self.threshold)
        return torch.cat([-logit, logit], dim=1)


def above(threshold: float) -> TilePredictor:
    return TilePredictor(network=Above(threshold), device=CPU)


def make_case(name: str, *, organ: bool) -> PreparedCase:
    """An object at 2 and, if asked for, an organ at 1 that is none."""
    image = np.zeros((1, 20, 40, 36), np.float32)
    image[0, 2:6, 4:9, 4:9] = 2
    if organ:
        image[0, 12:15, 30:34, 28:33] = 1
    classes = (image[0] > 1.5).astype(np.uint8)
    return PreparedCase(
        name=name, image=image, classes=classes, foreground=(np.argwhere(classes),)
    )


@pytest.fixture
def cases() -> list[PreparedCase]:
    return [make_case("plain", organ=False), make_case("organ", organ=True)]


def make_watch(cases: list[PreparedCase], folder: Path) -> Watch:
    sampler = CaseSampler(cases, PATCH)
    return Watch(sampler=sampler, patch_size=PATCH, n_classes=2, folder=folder)


def shows(sample: Any, value: float) -> bool:
    return bool((sample.image == value).any())


def share_of_organs(sampler: CaseSampler) -> float:
    drawn = [sampler.sample(sample_generator(1, step, 0)) for step in range(200)]
    return sum(shows(sample, 1) for sample in drawn) / len(drawn)


def test_what_is_newly_wrong_is_shown_in_half_of_the_patches(
    cases: list[PreparedCase], tmp_path: Path
) -> None:
    watch = make_watch(cases, tmp_path)
    rare = share_of_organs(watch.sampler)
    run(watch.look(above(1.5), above(0.5), 25))  # begins to take the organ
    found = np.load(tmp_path / "forgotten_000025.npz")
    assert len(found["arr_0"]) == 0
    np.testing.assert_array_equal(found["arr_1"], np.argwhere(cases[1].image[0] == 1))
    often = share_of_organs(watch.sampler)
    assert often == pytest.approx(0.5 + 0.5 * rare, abs=0.1)
    run(watch.look(above(1.5), above(1.4), 50))  # has learnt better
    assert share_of_organs(watch.sampler) == rare


def test_what_the_old_network_had_wrong_is_not_forgotten(
    cases: list[PreparedCase], tmp_path: Path
) -> None:
    watch = make_watch(cases, tmp_path)
    run(watch.look(above(0.5), above(0.4), 25))
    found = np.load(tmp_path / "forgotten_000025.npz")
    assert [len(found[name]) for name in found.files] == [0, 0]


def test_what_was_found_is_read_by_a_run_that_is_resumed(
    cases: list[PreparedCase], tmp_path: Path
) -> None:
    first, second = (make_watch(cases, tmp_path) for _ in range(2))
    run(first.look(above(1.5), above(0.5), 25))
    steps: list[Progress] = []
    run(second.look(above(1.5), above(1.5), 25), steps.append)
    assert steps == []
    for step in range(20):
        one, other = (
            w.sampler.sample(sample_generator(3, step, 1)) for w in (first, second)
        )
        np.testing.assert_array_equal(one.image, other.image)


def test_what_is_wrongly_found_in_an_empty_patch_costs_as_much_as_what_is_missed(
    tiny_model: Model, tmp_path: Path, cases: list[PreparedCase]
) -> None:
    """Dice patch by patch is flat where a patch is empty: nothing would be unlearnt."""
    watch = make_watch(cases, tmp_path)
    tuning = Tuning(
        tmp_path,
        tiny_model,
        FinetuneSettings(),
        corrections=watch.sampler,
        memory=watch.sampler,
        watch=watch,
    )
    logits = torch.zeros(3, 2, 8, 16, 16)  # a correction and two patches of memory
    classes = torch.zeros(3, 8, 16, 16, dtype=torch.long)
    classes[:2, :4] = 1
    logits[:, 1] = -4.0  # nothing is found,
    logits[:, 1, 4:6] = 1.0  # but for this, in each
    logits.requires_grad_()
    outputs = TrainingOutputs(levels=(logits,), edges=None)
    valid = torch.ones_like(classes, dtype=torch.bool)
    tuning._loss(outputs, classes, valid).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    correction, full, empty = logits.grad[:, 1, 5].mean(dim=(1, 2))
    torch.testing.assert_close(empty, full)
    assert correction > 0


def test_few_known_voxels_of_a_correction_weigh_more_than_their_number(
    tiny_model: Model, tmp_path: Path, cases: list[PreparedCase]
) -> None:
    sampler = CaseSampler(cases, PATCH)
    tuning = Tuning(
        tmp_path, tiny_model, FinetuneSettings(), corrections=sampler, memory=sampler
    )
    logits = torch.zeros(3, 2, 8, 16, 16, requires_grad=True)
    classes = torch.ones(3, 8, 16, 16, dtype=torch.long)
    valid = torch.ones_like(classes, dtype=torch.bool)
    valid[0] = False
    valid[0, :2, :4, :4] = True  # a 64th of the patch
    outputs = TrainingOutputs(levels=(logits,), edges=None)
    tuning._loss(outputs, classes, valid).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    pulls = logits.grad[:, 1].sum(dim=(1, 2, 3)).abs()
    assert pulls[0] > 10 * pulls[1] / 64  # in one sum they would be equal


def weights(tuning: Tuning) -> dict[str, NDArray[np.float32]]:
    return {k: v.numpy().copy() for k, v in tuning.network.state_dict().items()}


def test_a_watched_run_resumes_to_the_same_weights(
    cases: list[PreparedCase], tiny_model: Model, tmp_path: Path
) -> None:
    settings = FinetuneSettings(
        steps=5,
        learning_rate=1e-2,
        checkpoint_every=1,
        test_every=9,
        watch_every=2,
        device="cpu",
        precision="float32",
    )
    patch = tiny_model.card.patch_size

    def make(name: str) -> Tuning:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        sampler = CaseSampler(cases, patch)
        n_classes = tiny_model.card.n_classes
        return Tuning(
            folder,
            tiny_model,
            settings,
            corrections=CaseSampler(cases[1:], patch),
            memory=sampler,
            watch=Watch(
                sampler=sampler, patch_size=patch, n_classes=n_classes, folder=folder
            ),
        )

    def train(tuning: Tuning) -> Iterator[Progress]:
        return tuning.train(HeldOut(paths=()), FinetuneControl())

    whole = make("whole")
    run(train(whole))
    looks = sorted(p.name for p in (tmp_path / "whole").glob("forgotten_*"))
    assert looks == ["forgotten_000002.npz", "forgotten_000004.npz"]
    for stop in (2, 3):
        killed = make(f"killed at {stop}")
        job = train(killed)
        while next(job).done < stop or killed.state.step < stop:
            pass
        job.close()
        resumed = make(f"killed at {stop}")
        resumed.resume()
        run(train(resumed))
        for name, value in weights(whole).items():
            np.testing.assert_array_equal(weights(resumed)[name], value, err_msg=name)
