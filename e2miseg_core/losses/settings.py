"""What a network is trained to make small: the numbers of a loss."""

import math
from dataclasses import dataclass

from e2miseg_core.errors import ConfigError

__all__ = ["EDGE_LOSSES", "SS_FORMS", "LossSettings"]

SS_FORMS = ("paper", "relative", "off")
EDGE_LOSSES = ("lovasz", "bce_dice")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSettings:
    """The terms of a loss and their weights; the cross-entropy always has weight 1.

    Attributes
    ----------
    ss_form : {"paper", "relative", "off"}
        Of the Dice term, see `scale_weight`; "off" is soft Dice.
    ss_weight : float
        Of the Dice term: 1.45 for ACDC and brain, 2.0 for PET as published
        (specification A.5). 0 leaves it out.
    batch_dice : bool
        Sum over the batch before taking ratios, instead of sample by sample.
    background : bool
        Count the background as a class of the Dice term.
    lovasz_weight : float
        Of the Lovász-softmax over all classes; 0 leaves it out.
    boundary_weight : float
        How much more the cross-entropy of a voxel at a boundary counts, see
        `boundary_weights`; 0 counts all alike.
    edge_weight : float
        Of the edge head's loss, where the network has one.
    edge_width : int
        Thickness of the edge head's target in voxels, see `edge_target`.
    edge_union : bool
        The edge is that of all classes together, not of each of them.
    edge_loss : {"lovasz", "bce_dice"}
        Of the edge head; as published, or half cross-entropy and half Dice.
    """

    ss_form: str = "paper"
    ss_weight: float = 1.45
    batch_dice: bool = False
    background: bool = False
    lovasz_weight: float = 0.0
    boundary_weight: float = 0.0
    edge_weight: float = 1.0
    edge_width: int = 2
    edge_union: bool = False
    edge_loss: str = "lovasz"

    def __post_init__(self) -> None:
        check_choice("SS form", self.ss_form, SS_FORMS, "--ss")
        check_choice("edge loss", self.edge_loss, EDGE_LOSSES, "--set edge_loss")
        for name in ("ss", "lovasz", "boundary", "edge"):
            weight = getattr(self, f"{name}_weight")
            if not 0 <= weight < math.inf:
                raise ConfigError(
                    found=f"a loss with the {name} weight {weight}",
                    needed="a number of at least 0",
                    do="correct the recipe",
                )
        check_edge_width(self.edge_width)


def check_choice(what: str, found: str, choices: tuple[str, ...], option: str) -> None:
    """Raise ConfigError unless `found`, of an option, is one of `choices`."""
    if found not in choices:
        raise ConfigError(
            found=f"the {what} {found!r}",
            needed=f"one of {', '.join(choices)}",
            do=f"correct {option}",
        )


def check_edge_width(width: int) -> None:
    """Raise ConfigError unless an edge may be that thick."""
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ConfigError(
            found=f"an edge {width} voxels wide",
            needed="a whole number of at least 1",
            do="correct the recipe; 2 is usual",
        )
