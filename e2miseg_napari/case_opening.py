"""Opening a case in a thread: all that its layers need, read from the disk."""

import shutil
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import zarr

from e2miseg_core.errors import E2MISegError
from e2miseg_core.io.naming import same_place
from e2miseg_core.progress import Progress, run
from e2miseg_core.project import (
    Case,
    CasePrediction,
    LabelStore,
    Project,
    ProjectLock,
)
from e2miseg_napari.convert import LayerData, image_layers, own_metadata, reopen
from e2miseg_napari.exporting import export_array
from e2miseg_napari.images import ImageChoice

__all__ = [
    "OpenCase",
    "OpenProject",
    "ResultMaps",
    "add_case",
    "create_project",
    "open_case",
    "open_maps",
]


@dataclass(eq=False, kw_only=True)
class OpenProject:
    """A project that this program may edit.

    Attributes
    ----------
    project : Project
    lock : ProjectLock
        Held until `close`.
    new : bool
        Whether it was made for an image that is still to be added.
    removed : bool
        Whether it was removed again, since its image was refused.
    cases : set of OpenCase
        That were opened and may not be closed yet.
    """

    project: Project
    lock: ProjectLock
    new: bool = False
    removed: bool = False
    cases: "weakref.WeakSet[OpenCase]" = field(default_factory=weakref.WeakSet)

    def close(self) -> None:
        """Let others edit it, once all of its cases are closed.

        Raises
        ------
        WriteError
            If the disk refuses what one of them still has to write.
        """
        for case in list(self.cases):
            case.close()
        self.lock.close()

    def remove_if_empty(self) -> None:
        """Leave nothing of a project that was made for an image that is refused."""
        if self.new and not self.project.cases:
            self.removed = True
            self.lock.close()
            shutil.rmtree(self.project.path)


class ResultMaps(NamedTuple):
    """What a prediction tells beside its labels, as stores of bytes.

    Attributes
    ----------
    prediction : CasePrediction
    error_map : zarr.Array
    edge_map : zarr.Array or None
        None if its model has no edge head.
    """

    prediction: CasePrediction
    error_map: Any
    edge_map: Any


@dataclass(eq=False, kw_only=True)
class OpenCase:
    """A case as read from the disk.

    Attributes
    ----------
    case : Case
    uri : str
        Where its image is, or was.
    problem : E2MISegError or None
        Why its image cannot be shown; then there is nothing else.
    images : list of LayerData
        Layers of the image.
    metadata : dict
        For the layers of labels and maps.
    store : LabelStore or None
        Its labels, to be closed by whoever gets this.
    merged : CasePrediction or None
        The prediction that the labels hold.
    newest : CasePrediction or None
        The newest complete one.
    maps : ResultMaps or None
        Of `merged`.
    """

    case: Case
    uri: str
    problem: E2MISegError | None = None
    images: list[LayerData] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    store: LabelStore | None = None
    merged: CasePrediction | None = None
    newest: CasePrediction | None = None
    maps: ResultMaps | None = None
    _closing: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """Write what is not written yet; may be called twice, and from two threads.

        Raises
        ------
        WriteError
            If the disk refuses; the labels stay open.
        """
        with self._closing:
            if self.store is not None:
                self.store.close()


def create_project(path: Path, model: str | Path) -> OpenProject:
    """Make a project that begins with a model.

    Raises
    ------
    E2MISegError
        If the folder or the model is not as it should be.
    """
    project = Project.create(path, model=model)
    return OpenProject(project=project, lock=project.lock(), new=True)


def open_case(case: Case) -> OpenCase:
    """Open image, labels and maps.

    Raises
    ------
    E2MISegError
        If the labels cannot be edited; a missing image is told in the result.
    """
    try:
        images = image_layers(case.open_image())
    except E2MISegError as error:
        return OpenCase(case=case, uri=case.image_uri, problem=error)
    uri = case.image_uri  # known better by now, if others came beside the image
    merged = case.merged
    return OpenCase(
        case=case,
        uri=uri,
        images=images,
        metadata=_metadata(case, uri),
        merged=merged,
        newest=case.prediction,
        maps=None if merged is None else open_maps(merged),
        store=case.open_labels(),
    )


def open_maps(prediction: CasePrediction) -> ResultMaps:
    """Open the maps of a prediction, for reading."""
    edges = prediction.edge_map
    return ResultMaps(
        prediction,
        zarr.open_array(str(prediction.error_map), path="0", mode="r"),
        None if edges is None else zarr.open_array(str(edges), path="0", mode="r"),
    )


def add_case(
    project: Project,
    choice: ImageChoice,
    on_progress: Callable[[Progress], None],
    cancelled: Callable[[], bool],
) -> Case:
    """Make the case of an image, or find the one that it has already.

    Parameters
    ----------
    project : Project
        Open for editing.
    choice : ImageChoice
        By reference where it shows a file, else copied into the project.
    on_progress, cancelled : callable
        As for `e2miseg_core.progress.run`.

    Raises
    ------
    E2MISegError
        If the image does not fit the project's model, or a file fails.
    """
    geometry = choice.geometry()
    if choice.uri:
        for name in project.cases:
            case = project.case(name)
            if same_place(case.image_uri, choice.uri):
                return case
        volume = reopen(choice.uri, own_metadata(choice.layer)["geometry"])
        return project.add_case(volume, name=choice.title)
    layer = choice.layer
    array = layer.data[0] if layer.multiscale else layer.data
    job = project.add_copied_case(
        choice.title, lambda path: export_array(array, geometry, path)
    )
    return run(job, on_progress, cancelled=cancelled)


def _metadata(case: Case, uri: str) -> dict[str, Any]:
    """What the layers of a case are to know: enough to write a file of them."""
    return {
        "title": case.name,
        "image": uri,
        "geometry": case.geometry.to_json(),
        "names": {label.value: label.name for label in case.project.classes},
        "colors": {label.value: label.rgb for label in case.project.classes},
    }
