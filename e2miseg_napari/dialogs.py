"""File dialogs, kept apart so that a test or a script can answer them."""

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QInputDialog, QMessageBox, QWidget

from e2miseg_core.errors import WriteError
from e2miseg_core.io import is_writable_suffix, known_suffixes, split_suffix
from e2miseg_core.io.address import Address
from e2miseg_core.io.formats import FORMATS, format_of
from e2miseg_core.io.naming import short_name
from e2miseg_core.project import Case, LabelStore
from e2miseg_napari.problems import problem_of
from e2miseg_napari.saving import LABELS, Saver

__all__ = [
    "ask_and_save",
    "ask_model_file",
    "ask_moved_image",
    "ask_project",
    "ask_replace_model",
    "ask_volume_address",
    "ask_volume_file",
    "ask_volume_folder",
    "ask_voxel_size",
]

_DICOM = "dicom"  # keys of its formats begin so


def ask_volume_file(parent: QWidget) -> str:
    """Path of an image file, empty if the user thinks better of it."""
    patterns = " ".join(f"*{suffix}" for suffix in known_suffixes())
    path, _ = QFileDialog.getOpenFileName(
        parent, "Open volume", "", f"Volumes ({patterns});;All files (*)"
    )
    return path


def ask_volume_folder(parent: QWidget) -> str:
    """Path of a folder that is an image, empty if the user thinks better of it."""
    return QFileDialog.getExistingDirectory(
        parent, "Open folder: DICOM files, OME-Zarr, TIFF slices"
    )


def ask_volume_address(parent: QWidget) -> str:
    """Address of an image, empty if the user thinks better of it."""
    text, agreed = QInputDialog.getText(
        parent,
        "Open address",
        "URL (https://, s3://) or path; what is inside it after #part=\n"
        "Such as https://host.org/brain.ome.zarr or /data/scan.h5#part=/raw",
    )
    return text.strip() if agreed else ""


def ask_voxel_size(parent: QWidget, name: str) -> str:
    """Size of voxels in words, empty if the user thinks better of it."""
    text, agreed = QInputDialog.getText(
        parent,
        f"Voxel size of {name}",
        "The file states no voxel size. What is it along Z, Y, X? The unit may be mm, "
        "um or nm,\nsuch as 50, 4.6, 4.6 nm",
    )
    return text.strip() if agreed else ""


def ask_moved_image(parent: QWidget, missing: str) -> str:
    """Path where an image is now, empty if the user thinks better of it.

    Parameters
    ----------
    parent : QWidget
    missing : str
        Where it was; says whether it is a file or a folder.
    """
    was = Address.parse(missing)
    title = f"Where is {short_name(was)} now?"
    found = format_of(was.place)
    suffix = split_suffix(was.place)[1] or Path(was.place).suffix
    if not suffix or (found is not None and found.is_folder):
        return QFileDialog.getExistingDirectory(parent, title)
    path, _ = QFileDialog.getOpenFileName(
        parent, title, "", f"Images like it (*{suffix});;All files (*)"
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
    suggested = saver.suggest(case, what)
    filters = _save_filters(case, what)
    first = next(iter(filters.values()))
    if what == LABELS and _is_dicom(case.image_uri):
        suggested = suggested.with_name(split_suffix(suggested)[0] + first)
    usual = next(
        (words for words, suffix in filters.items() if suggested.name.endswith(suffix)),
        "",
    )
    chosen, used = QFileDialog.getSaveFileName(
        parent, f"Save {what}", str(suggested), ";;".join(filters), usual
    )
    if not chosen:
        return
    path = Path(chosen)
    known = is_writable_suffix(path)
    suffix = split_suffix(path)[1]
    if suffix and not known:  # "o.tif.nii.gz" is not what the user means
        saver.failed.emit(problem_of(_cannot_be_written(path, suffix, filters)))
        return
    if not known:
        path = path.with_name(path.name + filters.get(used, ".nii.gz"))
    # The dialog has asked about the name that it saw, not about a completed one.
    saver.save(case, store, what, path, overwrite=known)


def _cannot_be_written(path: Path, suffix: str, filters: dict[str, str]) -> WriteError:
    return WriteError(
        found=f"{path.name}: files of {suffix} cannot be written",
        needed="one of " + ", ".join(filters.values()),
        do="save under another name",
    )


def _is_dicom(image: str) -> bool:
    """Whether an image is a DICOM file, or a folder of them, which has no suffix."""
    address = Address.parse(image)
    found = format_of(address.place)
    if found is not None or address.is_remote or not address.path.exists():
        return found is not None and found.key.startswith(_DICOM)
    held = next((known for known in FORMATS if known.holds(address.path)), None)
    return held is not None and held.key.startswith(_DICOM)


def _save_filters(case: Case, what: str) -> dict[str, str]:
    """Words for the dialog, and the suffix that each stands for, DICOM's first."""
    # A segmentation refers to the series that it was drawn on.
    fits = what == LABELS and _is_dicom(case.image_uri)
    filters: dict[str, str] = {}
    for known in sorted(FORMATS, key=lambda one: not one.key.startswith(_DICOM)):
        if known.writer and (fits or not known.key.startswith(_DICOM)):
            filters |= {
                f"{known.name} (*{suffix})": suffix for suffix in known.suffixes
            }
    return filters
