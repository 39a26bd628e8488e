"""Seeded phantoms to try, train and test with, and one small bundled sample."""

from pathlib import Path

from e2miseg_core.samples.dataset import (
    write_phantom_dataset,
    write_phantoms,
    write_sample,
)
from e2miseg_core.samples.phantom import Phantom, generate_phantom

__all__ = [
    "Phantom",
    "generate_phantom",
    "sample_labels_path",
    "sample_path",
    "write_phantom_dataset",
    "write_phantoms",
    "write_sample",
]

_DATA = Path(__file__).parent / "data"


def sample_path() -> Path:
    """Path of the bundled sample image, a .nii.gz file."""
    return _DATA / "phantom.nii.gz"


def sample_labels_path() -> Path:
    """Path of the true labels of the bundled sample."""
    return _DATA / "phantom_labels.nii.gz"
