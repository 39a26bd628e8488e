"""Several processes that train one network, each on its share of every batch.

Started by `torchrun`, which tells each process its number by environment variables.

How the result stays that of one process: the logits and targets of all processes are
put together, and each process computes the loss of the whole batch, of which only its
own logits carry a gradient. The sum of the processes' gradients is then the gradient of
that loss, whatever the loss: a mean over samples, Dice over the batch, or Lovász, which
no mean of the processes' own gradients would give.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from e2miseg_core.errors import ConfigError, DeviceError
from e2miseg_core.networks.outputs import TrainingOutputs

__all__ = ["ALONE", "Team", "joined_team", "own_device"]

PATIENCE = timedelta(hours=6)  # the others wait while the first prepares or reports


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """The processes that train together.

    Attributes
    ----------
    rank : int
        Number of this process, 0 to `size` - 1; the first one writes.
    size : int
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, count: int, rank: int | None = None) -> range:
        """Numbers out of `count` that a process (this one if left out) works on."""
        at = self.rank if rank is None else rank
        return range(at * count // self.size, (at + 1) * count // self.size)

    def check_batch(self, batch_size: int) -> None:
        """Raise ConfigError where a process would be left without a sample."""
        if batch_size < self.size:
            raise ConfigError(
                found=f"a batch of {batch_size} for {self.size} processes",
                needed="a sample for each of them",
                do="raise --batch-size, or start fewer processes",
            )

    def whole_batch(self, own: Tensor, count: int) -> Tensor:
        """All processes' samples in order, of which `own` keep their gradient.

        Parameters
        ----------
        own : Tensor, shape (n, ...)
            Of this process' share of the batch; n a multiple of its samples. Floating
            point becomes float32.
        count : int
            Samples of the whole batch.
        """
        if self.size == 1:
            return own
        own = own.float() if own.is_floating_point() else own
        each = len(own) // len(self.share(count))
        parts = []
        for rank in range(self.size):
            shape = (each * len(self.share(count, rank)), *own.shape[1:])
            if rank == self.rank:
                dist.broadcast(own.detach().contiguous(), src=rank)
                parts.append(own)
            else:
                part = torch.empty(shape, dtype=own.dtype, device=own.device)
                dist.broadcast(part, src=rank)
                parts.append(part)
        return torch.cat(parts)

    def whole_outputs(self, own: TrainingOutputs, count: int) -> TrainingOutputs:
        """`whole_batch` of all that a network gives in training."""
        if self.size == 1:
            return own
        return TrainingOutputs(
            levels=tuple(self.whole_batch(level, count) for level in own.levels),
            edges=None if own.edges is None else self.whole_batch(own.edges, count),
        )

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        together = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(together)
        parts = together.split([g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum(
        self, values: NDArray[np.float64], device: torch.device
    ) -> NDArray[np.float64]:
        """Sum of the processes' arrays; `device` is what connects them."""
        if self.size == 1:
            return values
        together = torch.from_numpy(values).to(device)
        dist.all_reduce(together)
        total: NDArray[np.float64] = together.cpu().numpy()
        return total

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the tensors of the first one."""
        if self.size > 1:
            for tensor in tensors:
                own = tensor.contiguous()  # itself, or laid out for sending
                dist.broadcast(own, src=0)
                if own is not tensor:
                    tensor.copy_(own)

    def copy_text(self, text: str, device: torch.device) -> str:
        """The first process' text; `device` is what connects them."""
        if self.size == 1:
            return text
        encoded = text.encode() if self.is_first else b""
        length = torch.tensor([len(encoded)], device=device)
        dist.broadcast(length, src=0)
        if self.is_first:
            sent = torch.frombuffer(bytearray(encoded), dtype=torch.uint8).to(device)
        else:
            sent = torch.empty(int(length), dtype=torch.uint8, device=device)
        dist.broadcast(sent, src=0)
        return sent.cpu().numpy().tobytes().decode()

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """Do the block in the first process, then in the others."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            dist.barrier()


ALONE = Team()


def own_device(name: str) -> str:
    """The device of this process: with several processes, each has a GPU of its own.

    Parameters
    ----------
    name : str
        "auto" and "cuda" stand for that GPU.
    """
    gpus = torch.cuda.device_count()
    if not _is_launched() or not gpus or name not in ("auto", "cuda"):
        return name
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= gpus:
        raise DeviceError(
            found=f"{gpus} GPUs for more processes",
            needed="a GPU for each process",
            do=f"start {gpus}, or add --device cpu",
        )
    return f"cuda:{local}"


def _is_launched() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined_team(device: torch.device) -> Iterator[Team]:
    """The processes that `torchrun` started; this one alone where it did not.

    Parameters
    ----------
    device : torch.device
        NCCL connects GPUs, Gloo processors.
    """
    if not _is_launched():
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Team(rank=dist.get_rank(), size=dist.get_world_size())
    finally:
        dist.destroy_process_group()
