"""What a study is asked to do."""

from dataclasses import asdict, dataclass
from typing import Any

from e2miseg_core.errors import ConfigError
from e2miseg_core.inference.prediction import PredictionOptions
from e2miseg_core.simulation.guides import GUIDES
from e2miseg_core.training.finetune import FinetuneSettings

__all__ = ["StudySettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """The numbers of a study.

    Attributes
    ----------
    regions : tuple of int
        Counts of corrected regions a case at which the Dice is measured; rising.
    guides : tuple of str
        Some of "error-map", "entropy", "random".
    finetune : int
        Cases that are corrected for a fine-tuning, each in as many regions as the last
        of `regions` says; 0 for none.
    steps : int
        Of the fine-tuning.
    seed : int
        Of the random regions and of the fine-tuning.
    device, precision : str
        See `e2miseg_core.devices`.

    Raises
    ------
    ConfigError
        If a number or a guide makes no sense.
    """

    regions: tuple[int, ...] = (0, 5, 10)
    guides: tuple[str, ...] = GUIDES
    finetune: int = 3
    steps: int = FinetuneSettings().steps
    seed: int = FinetuneSettings().seed
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        self._check_regions()
        strange = [guide for guide in self.guides if guide not in GUIDES]
        if strange or len(set(self.guides)) != len(self.guides) or not self.guides:
            raise ConfigError(
                found=f"the guides {', '.join(self.guides) or '(none)'}",
                needed=f"some of {', '.join(GUIDES)}, each once",
                do="correct --guide",
            )
        if min(self.finetune, self.seed) < 0 or self.steps < 1:
            raise ConfigError(
                found=f"a fine-tuning on {self.finetune} cases in {self.steps} steps, "
                f"seed {self.seed}",
                needed="no negative number, and at least 1 step",
                do="correct the number",
            )

    @property
    def most(self) -> int:
        """Regions that are corrected in a case in all."""
        return self.regions[-1]

    @property
    def prediction(self) -> PredictionOptions:
        """How cases are predicted."""
        return PredictionOptions(device=self.device, precision=self.precision)

    @property
    def finetuning(self) -> FinetuneSettings:
        """How the model is fine-tuned."""
        return FinetuneSettings(
            steps=self.steps,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
        )

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    def _check_regions(self) -> None:
        rising = sorted(set(self.regions))
        if list(self.regions) != rising or not rising or rising[0] < 0:
            raise ConfigError(
                found="regions " + ",".join(str(count) for count in self.regions),
                needed="one or more rising counts, none negative",
                do="give for example 0,5,10",
            )
        if self.finetune and not rising[-1]:
            raise ConfigError(
                found="a fine-tuning without any corrected region",
                needed="at least one region a case",
                do="give more regions, or fine-tune on 0 cases",
            )
