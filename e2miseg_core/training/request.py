"""What is asked of a training, and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2miseg_core.model_card import ModelCard
from e2miseg_core.training.dataset import Dataset
from e2miseg_core.training.distributed import ALONE, Team
from e2miseg_core.training.plan import PlanOverrides
from e2miseg_core.training.recipe import Recipe
from e2miseg_core.training.run_folder import has_epoch
from e2miseg_core.training.splits import Split, SplitRule

__all__ = ["TrainingRequest", "TrainingResult"]


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What to train, on what, and what to say about it.

    Attributes
    ----------
    dataset : Dataset
    folder : Path
        Of the run.
    preset : str
        Network preset.
    recipe : Recipe
    fold : int
        The unseen fifth, 0 to 4, or which split of a file.
    split_by : SplitRule
        Patients that stay together, or a file that says how to split.
    device, precision : str
        See `e2miseg_core.devices`.
    resume, overwrite : bool
        Go on with the run in `folder`, or begin anew over it.
    overrides : PlanOverrides
        What is not left to planning.
    network : mapping
        Fields of the preset's network that are to be otherwise.
    team : Team
        Processes that train together.
    workers : int, optional
        Batches made at a time.
    about : mapping
        Fields of the card: name, description, intended_use, licence, credit.
    """

    dataset: Dataset
    folder: Path
    preset: str
    recipe: Recipe
    fold: int = 0
    split_by: SplitRule = field(default_factory=SplitRule)
    device: str = "auto"
    precision: str = "auto"
    resume: bool = False
    overwrite: bool = False
    overrides: PlanOverrides = field(default_factory=PlanOverrides)
    network: Mapping[str, Any] = field(default_factory=dict)
    team: Team = ALONE
    workers: int | None = None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def begins(self) -> bool:
        """Whether there is no trained epoch to go on from."""
        return not self.resume or not has_epoch(self.folder)

    @property
    def split(self) -> Split:
        """What each case is used for."""
        names = [case.name for case in self.dataset.cases]
        return self.split_by.split(names, fold=self.fold)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The model file, its card, and the figures on the unseen cases."""

    path: Path
    card: ModelCard
    report: dict[str, Any]
