"""Random changes of training samples, by the lists of specification A.6 and B.7."""

from e2miseg_core.training.augment.augmentation import Augmentation
from e2miseg_core.training.augment.rules import (
    EHANET,
    FIRST,
    NNUNET,
    NNUNET_CODE,
    AugmentationRules,
)

__all__ = [
    "EHANET",
    "FIRST",
    "NNUNET",
    "NNUNET_CODE",
    "Augmentation",
    "AugmentationRules",
]
