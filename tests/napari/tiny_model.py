"""Writes a model with random weights, in a process of its own: it imports torch.

`python tiny_model.py FILE` where the file's name becomes the model's.
"""

import sys
from pathlib import Path

import torch

from e2miseg_core.model import save_model
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.networks import create_network
from e2miseg_core.preprocess import Normalization

PATCH = (32, 32, 32)


def main(path: Path) -> None:
    torch.manual_seed(5)
    network = create_network("tiny", in_channels=1, n_classes=3, patch_size=PATCH)
    card = ModelCard(
        name=path.stem,
        labels=(
            LabelInfo(value=1, name="first & best", color="#E69F00"),
            LabelInfo(value=2, name="second", color="#56B4E9"),
        ),
        channels=("image",),
        normalizations=(Normalization(),),
        spacing=(3.0, 1.5, 1.5),
        patch_size=PATCH,
        network={"architecture": "e2miseg", "config": network.config.to_json()},
        description="Random weights, for tests",
        licence="CC0-1.0",
    )
    save_model(network, card, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
