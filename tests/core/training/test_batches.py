"""Batches made ahead, in order; a team's shares make up the whole batch."""

import threading
import time
from contextlib import closing

import pytest
import torch

from e2miseg_core.errors import ConfigError
from e2miseg_core.training.batches import Batch, batches_ahead, default_workers
from e2miseg_core.training.distributed import ALONE, Team

CPU = torch.device("cpu")


def make(step: int) -> Batch:
    time.sleep(0.01 if step % 2 else 0)  # those asked for later may be ready earlier
    return torch.tensor([step]), torch.tensor([-step])


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_in_order(workers: int) -> None:
    steps = range(4, 12)
    with closing(batches_ahead(make, steps, CPU, workers)) as batches:
        assert [int(image) for image, _ in batches] == list(steps)


def test_the_next_batch_is_made_while_the_network_works() -> None:
    made = threading.Event()

    def slow(step: int) -> Batch:
        if step == 1:
            made.set()
        return make(step)

    with closing(batches_ahead(slow, range(3), CPU, 1)) as batches:
        next(batches)
        assert made.wait(5)


def test_no_thread_is_left_when_training_stops() -> None:
    batches = batches_ahead(make, range(100), CPU, 2)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_a_fault_in_making_a_batch_is_told() -> None:
    def broken(_step: int) -> Batch:
        raise ConfigError(found="a", needed="b", do="c")

    with (
        pytest.raises(ConfigError),
        closing(batches_ahead(broken, range(2), CPU, 1)) as b,
    ):
        next(b)


def test_one_worker_beside_a_processor() -> None:
    assert default_workers(CPU) == 1
    assert 1 <= default_workers(torch.device("cuda"), 2) <= 12


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_shares_are_the_whole_batch_once(count: int) -> None:
    for size in range(1, count + 1):
        shares = [Team(rank=r, size=size).share(count) for r in range(size)]
        assert [n for share in shares for n in share] == list(range(count))
        assert all(len(share) > 0 for share in shares)


def test_a_batch_too_small_for_the_team_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 2 for 3 processes"):
        Team(rank=0, size=3).check_batch(2)
    ALONE.check_batch(1)
