"""What a training run gives."""

from dataclasses import dataclass

from e2miseg_core.networks import Network

__all__ = ["TrainedNetwork"]


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedNetwork:
    """The best network of a run and how it came to be.

    Attributes
    ----------
    network : Network
    best_epoch : int
    averaged : bool
        Its weights are a moving average.
    selection_dice : float
    seconds : float
        Of the whole run, over all sittings; looks and checkpoints included, but
        for the last one.
    samples_per_second : float
        Patches trained on, without validation.
    skipped : int
        Batches left out because their loss was no number.
    precision : str
    device : str
        Kind of the device: cpu, cuda, mps.
    threads : int
        Of torch, on the processor.
    """

    network: Network
    best_epoch: int
    averaged: bool
    selection_dice: float
    seconds: float
    samples_per_second: float
    skipped: int
    precision: str
    device: str
    threads: int
