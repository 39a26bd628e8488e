"""Dropout that belongs to samples, not to batches."""

import torch
from torch import nn

from e2miseg_core.training.dropout import SampleDropout

CPU = torch.device("cpu")
LAYERS = nn.Sequential(nn.Dropout3d(0.4), nn.Dropout(0.3))


def drop(samples: range, *, step: int = 2) -> torch.Tensor:
    with SampleDropout(1, step, samples, CPU):
        dropped: torch.Tensor = LAYERS(torch.ones(len(samples), 6, 2, 3, 4))
    return dropped


def test_a_sample_is_dropped_alike_however_the_batch_is_shared() -> None:
    whole = drop(range(5))
    assert torch.equal(torch.cat([drop(range(2)), drop(range(2, 5))]), whole)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(drop(range(5), step=3), whole)


def test_what_is_kept_is_scaled_and_channels_go_as_a_whole() -> None:
    x = torch.ones(8, 500, 1, 2, 2)
    with SampleDropout(0, 0, range(8), CPU):
        dropped = nn.Dropout3d(0.4)(x)
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.6).item()}
    assert torch.equal(dropped.amin((2, 3, 4)), dropped.amax((2, 3, 4)))
    assert abs((dropped == 0).float().mean().item() - 0.4) < 0.03


def test_slices_of_a_sample_folded_into_the_batch_stay_its_own() -> None:
    def folded(samples: range) -> torch.Tensor:
        with SampleDropout(1, 1, samples, CPU):
            dropped: torch.Tensor = nn.Dropout(0.5)(torch.ones(3 * len(samples), 50))
        return dropped

    assert torch.equal(folded(range(4))[6:], folded(range(2, 4)))


def test_evaluation_drops_nothing() -> None:
    with SampleDropout(1, 1, range(2), CPU):
        x = torch.ones(2, 3)
        assert nn.Dropout(0.5).eval()(x) is x
