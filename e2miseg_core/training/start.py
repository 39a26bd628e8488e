"""The first weights of a training: random, or an encoder's that others trained."""

import hashlib
from dataclasses import replace
from pathlib import Path

from e2miseg_core.errors import ReadError
from e2miseg_core.networks import EHANet, EHANetConfig, Network
from e2miseg_core.networks.ehanet.pretrained import fetch_weights, load_weights
from e2miseg_core.progress import Job
from e2miseg_core.training.plan import TrainingPlan

__all__ = ["find_first_weights", "give_first_weights"]

FOUND = (
    "The encoder has its ImageNet weights (Apple's MobileViT-S, under the licence of "
    "CVNets) and stays as it is."
)


def find_first_weights(plan: TrainingPlan) -> Job[tuple[TrainingPlan, Path | None]]:
    """Look which weights there are to begin with, and note it in the plan.

    A network that asks for pretrained weights gets them if they can be had; else it
    begins at random and trains all of them.

    Parameters
    ----------
    plan : TrainingPlan
        Of a new run. A resumed one goes on with the weights it has.

    Returns
    -------
    TrainingPlan
        Its network is frozen only where there are weights for that.
    Path or None
        For `give_first_weights`.
    """
    network = plan.network
    if not isinstance(network, EHANetConfig) or not network.pretrained:
        return plan, None
    path: Path | None = None
    try:
        path = yield from fetch_weights()
        with path.open("rb") as file:  # which ones: the hub's may change
            told = (
                f"{FOUND} SHA-256: {hashlib.file_digest(file, 'sha256').hexdigest()}."
            )
    except ReadError as error:
        told = f"The encoder begins at random and is trained too: {error}."
        network = replace(network, pretrained=False)
    # A run that was killed in its first epoch has been told before.
    notes = [note for note in plan.notes if not note.startswith(FOUND)]
    return replace(plan, network=network, notes=(*notes, told)), path


def give_first_weights(network: Network, path: Path | None) -> None:
    """Give a new network what `find_first_weights` found.

    Raises
    ------
    ReadError
        If the file has been damaged since.
    """
    if path is not None and isinstance(network, EHANet):
        load_weights(network.encoder, path)
