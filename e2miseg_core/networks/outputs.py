"""What a network gives while it is trained."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["TrainingOutputs"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingOutputs:
    """Logits of everything that the loss looks at.

    Attributes
    ----------
    levels : tuple of Tensor, shapes (N, n_classes, Z_i, Y_i, X_i)
        Segmentation logits of every supervised level, finest first.
    edges : Tensor of shape (N, 2, Z, Y, X), or None
        Logits of (no edge, edge), where the network has an edge head.
    """

    levels: tuple[Tensor, ...]
    edges: Tensor | None = None
