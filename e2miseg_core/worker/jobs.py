"""What the worker does for a command, as a stream of events."""

import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from e2miseg_core.errors import ConfigError
from e2miseg_core.inference.prediction import PredictionOptions, predict_job
from e2miseg_core.inference.project import predict_case_job
from e2miseg_core.io import open_volume
from e2miseg_core.model import Model, load_model
from e2miseg_core.models import find_model
from e2miseg_core.progress import Job, TimeLeft
from e2miseg_core.project import Project
from e2miseg_core.project.predictions import EDGE_MAP, ERROR_MAP, LABELS
from e2miseg_core.training.finetune import (
    FinetuneControl,
    FinetuneSettings,
    finetune_job,
)
from e2miseg_core.uncertainty.edges import rank_edges

__all__ = ["Command", "Event", "Jobs"]

T = TypeVar("T")
Command: TypeAlias = Mapping[str, Any]
# Name and fields of an event, all but the job's id.
Event: TypeAlias = tuple[str, dict[str, Any]]
TIMED = ("predicting", "training")  # stages whose time left is told


class Jobs:
    """Does jobs step by step; each step is an event, the last one the result."""

    def __init__(self) -> None:
        self._model: tuple[tuple[Path, int], Model] | None = None

    def predict(self, command: Command) -> Generator[Event, None, None]:
        """Predict an image into a folder, or a case into its project."""
        if "project" in command:
            yield from self._predict_case(command)
            return
        options = _options(command)
        volume = open_volume(_text(command, "image"))
        model = self._load(_text(command, "model"))
        folder = Path(_text(command, "output"))
        result = yield from _told(predict_job(volume, model, folder, options))
        edge_map = str(folder / EDGE_MAP)
        yield (
            "result",
            {
                "labels": str(folder / LABELS),
                "error_map": str(folder / ERROR_MAP),
                **({} if result.edge_map is None else {"edge_map": edge_map}),
                "seconds": round(result.seconds, 3),
                "voxels": {str(value): n for value, n in result.voxels.items()},
                "device": result.device,
                "precision": result.precision,
            },
        )

    def edges(self, command: Command) -> Generator[Event, None, None]:
        """Rank the uncertain edges of a case anew."""
        project = Project.open(_text(command, "project"))
        case = project.case(_text(command, "case"))
        ranked = yield from _told(rank_edges(case))
        yield "result", {"edges": len(ranked.edges)}

    def finetune(
        self, command: Command, control: FinetuneControl
    ) -> Generator[Event, None, None]:
        """Fine-tune a project's model."""
        project = Project.open(_text(command, "project"))
        folder = Path(_text(command, "job")) if command.get("job") else None
        result = yield from _told(
            finetune_job(
                project,
                _settings(command),
                folder=folder,
                resume=command.get("resume") is True,
                control=control,
            )
        )
        yield (
            "result",
            {
                "kept": result.kept,
                "sentence": result.sentence,
                "figures": dict(result.figures),
                "version": result.version,
                "job": str(result.folder),
            },
        )

    def _predict_case(self, command: Command) -> Generator[Event, None, None]:
        options = _options(command)
        project = Project.open(_text(command, "project"))
        case = project.case(_text(command, "case"))
        version = project.version
        model = self._load(version.path)
        found = yield from _told(
            predict_case_job(case, model, options, version=version.number)
        )
        yield (
            "result",
            {
                "labels": str(found.labels),
                "error_map": str(found.error_map),
                **({} if found.edge_map is None else {"edge_map": str(found.edge_map)}),
                "prediction": found.number,
                **{
                    key: found.figures[key]
                    for key in ("edges", "seconds", "voxels", "device", "precision")
                },
            },
        )

    def _load(self, name: str | Path) -> Model:
        """The model, kept in memory until another one is asked for."""
        path = find_model(name)
        key = (path, path.stat().st_mtime_ns)
        if self._model is None or self._model[0] != key:
            self._model = (key, load_model(path))
        return self._model[1]


class _Work:
    """A clock that runs only while a job is worked on."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _told(job: Job[T]) -> Generator[Event, None, T]:
    """The steps of a job as events; time spent between them does not count as work."""
    work, stage = _Work(), ""
    clock = TimeLeft(work)
    try:
        while True:
            started = time.monotonic()
            try:
                step = next(job)
            except StopIteration as end:
                value: T = end.value
                return value
            work.seconds += time.monotonic() - started
            if step.stage != stage:
                stage, clock = step.stage, TimeLeft(work)
            details = dict(step.details)
            stores, box = details.pop("stores", None), details.pop("box", None)
            if isinstance(stores, Mapping):
                yield "stores", dict(stores)
            if box is not None:
                yield "block", {"box": box}
            left = clock.update(step.done, step.total) if stage in TIMED else None
            yield (
                "progress",
                {
                    "done": step.done,
                    "total": step.total,
                    "stage": stage,
                    "seconds_left": left,
                    "details": details,
                },
            )
    finally:
        job.close()  # it cleans up now, not when it happens to be collected


def _options(command: Command) -> PredictionOptions:
    try:
        return PredictionOptions(
            device=str(command.get("device", "auto")),
            precision=str(command.get("precision", "auto")),
            overlap=float(command.get("overlap", 0.5)),
            mirror=command.get("mirror", False) is True,
            keep_edge_map=command.get("edge_map", False) is True,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(
            found=f"an overlap of {command.get('overlap')!r}",
            needed="a number from 0 to below 1",
            do="correct the command",
        ) from error


def _settings(command: Command) -> FinetuneSettings | None:
    """The settings of a fine-tuning; none to resume one with its own."""
    given = command.get("settings") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            found="settings that are no object",
            needed="names and numbers",
            do="correct the program that sent it",
        )
    if not given and command.get("resume") is True:
        return None
    return FinetuneSettings.from_json(given)


def _text(command: Command, key: str) -> str:
    value = command.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError(
            found=f"a {command.get('command')} command without {key!r}",
            needed="the fields that docs/worker.md names, each a text",
            do="correct the program that sent it",
        )
    return value
