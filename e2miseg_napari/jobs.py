"""What the worker can be asked to do; each job knows the message that starts it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["EdgesJob", "FinetuneJob", "Job", "PredictJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictJob:
    """A prediction: of an image into a folder, or of a project's case.

    Attributes
    ----------
    id : str
        Name under which all events of the job come back.
    image, model, output : str
        Path or URI that `e2miseg_core.io.open_volume` can open; name of an installed
        model or path of a model file; folder that the worker creates its stores in.
        Not used with a project.
    project, case : str
        Path of a project and name of one of its cases. The project's current model
        predicts, and the result is kept in the case.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    mirror : bool
        Predict mirrored copies too and average them.
    """

    id: str
    image: str = ""
    model: str = ""
    output: str = ""
    project: str = ""
    case: str = ""
    device: str = "auto"
    mirror: bool = False

    def command(self) -> dict[str, object]:
        """Message that starts the job."""
        how = {"device": self.device, "mirror": self.mirror}
        what = (
            {"project": self.project, "case": self.case}
            if self.project
            else {"image": self.image, "model": self.model, "output": self.output}
        )
        return {"command": "predict", "id": self.id, **what, **how}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgesJob:
    """A ranking of a case's uncertain edges anew, after corrections.

    Attributes
    ----------
    id : str
        Name under which all events of the job come back.
    project, case : str
        Path of a project and name of one of its cases.
    """

    id: str
    project: str
    case: str

    def command(self) -> dict[str, object]:
        """Message that starts the job."""
        return {
            "command": "edges",
            "id": self.id,
            "project": self.project,
            "case": self.case,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneJob:
    """A fine-tuning on a project's corrections.

    Attributes
    ----------
    id : str
        Name under which all events of the job come back.
    project : str
        Path of the project; its current model is where training begins.
    job : str
        Folder that holds the job, so that it can be resumed; empty: the worker
        chooses one in the project.
    resume : bool
        Go on from the checkpoint in the folder.
    settings : mapping
        What differs from the worker's defaults, JSON values only.
    """

    id: str
    project: str
    job: str = ""
    resume: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)

    def command(self) -> dict[str, object]:
        """Message that starts the job."""
        return {
            "command": "finetune",
            "id": self.id,
            "project": self.project,
            "job": self.job or None,
            "resume": self.resume,
            "settings": dict(self.settings),
        }


Job: TypeAlias = PredictJob | EdgesJob | FinetuneJob
