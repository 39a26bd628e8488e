"""File dialogs, kept apart so that a test or a script can answer them."""

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from e2miseg_core.io import is_writable_suffix, known_suffixes
from e2miseg_core.project import Case, LabelStore
from e2miseg_napari.saving import Saver

__all__ = [
    "ask_and_save",
    "ask_model_file",
    "ask_moved_image",
    "ask_project",
    "ask_replace_model",
    "ask_volume_file",
    "ask_volume_folder",
]

_SAVE_FILTER = "NIfTI, packed (*.nii.gz);;NIfTI (*.nii);;OME-Zarr folder (*.ome.zarr)"


def ask_volume_file(parent: QWidget) -> str:
    """Path of an image file, empty if the user thinks better of it."""
    patterns = " ".join(f"*{suffix}" for suffix in known_suffixes() if suffix != "z")
    path, _ = QFileDialog.getOpenFileName(
        parent, "Open volume", "", f"Volumes ({patterns});;All files (*)"
    )
    return path


def ask_volume_folder(parent: QWidget) -> str:
    """Path of a folder that is an image, empty if the user thinks better of it."""
    return QFileDialog.getExistingDirectory(parent, "Open OME-Zarr folder")


def ask_moved_image(parent: QWidget, missing: str) -> str:
    """Path where an image is now, empty if the user thinks better of it.

    Parameters
    ----------
    parent : QWidget
    missing : str
        Where it was; says whether it is a file or a folder.
    """
    was = Path(missing)
    title = f"Where is {was.name} now?"
    if was.suffix in ("", ".zarr"):
        return QFileDialog.getExistingDirectory(parent, title)
    kind = "".join(was.suffixes[-2:]) if was.suffix == ".gz" else was.suffix
    path, _ = QFileDialog.getOpenFileName(
        parent, title, "", f"Images like it (*{kind});;All files (*)"
    )
    return path


def ask_model_file(parent: QWidget) -> str:
    """Path of a model file, empty if the user thinks better of it."""
    path, _ = QFileDialog.getOpenFileName(
        parent, "Add model file", "", "Models (*.safetensors)"
    )
    return path


def ask_replace_model(parent: QWidget, name: str) -> bool:
    """Whether an installed model may be replaced by another of the same name."""
    answer = QMessageBox.question(
        parent,
        "Replace model?",
        f"A model named {name} is installed already. Replace it?",
    )
    return answer == QMessageBox.StandardButton.Yes


def ask_project(parent: QWidget) -> str:
    """Path of a project folder, empty if the user thinks better of it."""
    return QFileDialog.getExistingDirectory(parent, "Open project (a folder .e2m)")


def ask_and_save(
    parent: QWidget, saver: Saver, case: Case, store: LabelStore, what: str
) -> None:
    """Ask for a path and begin to save there."""
    suggested = str(saver.suggest(case, what))
    chosen, _ = QFileDialog.getSaveFileName(
        parent, f"Save {what}", suggested, _SAVE_FILTER
    )
    if not chosen:
        return
    path = Path(chosen)
    known = is_writable_suffix(path)
    if not known:
        path = path.with_name(f"{path.name}.nii.gz")
    # The dialog has asked about the name that it saw, not about a completed one.
    saver.save(case, store, what, path, overwrite=known)
