"""Milliseconds that a training sample takes to augment, on one thread.

python benchmarks/augmentation.py [SAMPLES]
"""

import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from rich.console import Console

from e2miseg_core.training.augment import (
    EHANET,
    Augmentation,
    AugmentationRules,
)
from e2miseg_core.training.patches import PatchSampler, sample_generator
from e2miseg_core.training.prepare import PreparedCase

CONSOLE = Console()
PATCHES = ((32, 48, 32), (64, 64, 64), (16, 160, 160), (1, 256, 256))
NONE = AugmentationRules.none()
ALWAYS = {
    "rotation": replace(NONE, rotation=1.0),
    "scaling": replace(NONE, scaling=1.0),
    "noise": replace(NONE, noise=1.0),
    "blur": replace(NONE, blur=1.0, channel=1.0),
    "contrast": replace(NONE, contrast=1.0),
    "low_resolution": replace(NONE, low_resolution=1.0, channel=1.0),
    "gamma": replace(NONE, gamma=1.0),
}


def milliseconds(
    patch: tuple[int, int, int], samples: int, augment: Augmentation
) -> float:
    """Of the processor, by sample; reading the patch is part of it."""
    shape = tuple(2 * n for n in patch)
    rng = np.random.default_rng(0)
    classes = (rng.random(shape) > 0.9).astype(np.uint8)
    case = PreparedCase(
        name="noise",
        image=rng.normal(size=(1, *shape)).astype(np.float32),
        classes=classes,
        foreground=(np.argwhere(classes)[:1000],),
    )
    sampler = PatchSampler([case], patch, batch_size=2)
    augment(sampler.sample(0, rng), rng)
    started = time.process_time()
    for step in range(samples):
        random = sample_generator(1, step, 0)
        augment(sampler.sample(step % 2, random), random)
    return 1000 * (time.process_time() - started) / samples


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for patch in PATCHES:
        of_patch = partial(milliseconds, patch, samples)
        found = {
            "nnunet": of_patch(Augmentation(patch, (0, 1, 2))),
            "cubic": of_patch(Augmentation(patch, (0, 1, 2), cubic=True)),
            "slices": of_patch(Augmentation(patch, (0, 1, 2), dummy_2d=True)),
            "ehanet": of_patch(Augmentation(patch, (1, 2), rules=EHANET)),
        }
        for name, rules in ALWAYS.items():
            found[f"{name} always"] = of_patch(Augmentation(patch, (), rules=rules))
        told = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
        CONSOLE.print(f"{' x '.join(map(str, patch))}: {told}")


if __name__ == "__main__":
    main()
