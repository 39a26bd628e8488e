"""One DICOM file: what it holds, where its frames lie, where its pixels are.

Only the header is read, and of it only the tags of `tags`.
"""

import gzip
import logging
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2miseg_core.io.dicom.bounded import BoundedFile
from e2miseg_core.io.dicom.dose import is_dose, read_dose
from e2miseg_core.io.dicom.frames import Frame, read_frames
from e2miseg_core.io.dicom.kinds import SEGMENTATION_CLASSES
from e2miseg_core.io.dicom.layout import PixelLayout, find_problem, read_layout
from e2miseg_core.io.dicom.pet_tags import PetTags, read_pet_tags
from e2miseg_core.io.dicom.problem import MOSAIC, Problem
from e2miseg_core.io.dicom.quiet import quietly
from e2miseg_core.io.dicom.tags import PARSE_ERRORS, TOP_LEVEL, Tags
from e2miseg_core.io.dicom.words import safe_words
from e2miseg_core.io.part_key import make_key

__all__ = ["Header", "Instance", "is_dicom", "open_file", "read_header"]

_GROUPS = (0x0002, 0x0008)
# Others may be anything that somebody typed.
_MODALITY_CODES = """
AR AU BDUS BI BMD CR CT DG DOC DX ECG EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN
LS MG MR NM OAM OCT OP OPM OPT OPV OT PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN
RTRECORD RTSTRUCT RWV SEG SM SMR SR SRF STAIN TG US VA XA XC
"""
_MODALITIES = frozenset(_MODALITY_CODES.split())
# Objects without pixels have other classes: these were cut off.
_ALWAYS_IMAGES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{end}"
    for end in ("2", "2.1", "4", "4.1", "20", "128", "130", "6.1", "3.1")
)
_UID = re.compile(r"[0-9.]{1,64}")
_DIRECTORY = "1.2.840.10008.1.3.10"

# Values of tags must reach no log: pydicom quotes some.
logging.getLogger("pydicom").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One object: a file with its frames.

    Attributes
    ----------
    path : Path
        Of the file.
    sop_uid, sop_class : str
        UIDs of the object and of its kind.
    layout : PixelLayout or None
        None where it holds no pixels.
    frames : tuple of Frame
        In the order of the file; empty where it is not an image, or has a problem.
    problem : Problem or None
        Why its pixels cannot be read, None if they can.
    """

    path: Path
    sop_uid: str = field(repr=False)
    sop_class: str
    layout: PixelLayout | None
    frames: tuple[Frame, ...] = field(repr=False)
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is kept of a file's header.

    Attributes
    ----------
    instance : Instance
        The object.
    series_uid, study_uid, reference_uid : str
        Of the series, of its study and of its frame of reference; empty if blank.
    patient_key : str
        Equal for one patient, and tells nothing of them; empty if not stated.
    modality, description : str
        "CT"; words of the series description that cannot name anybody.
    padding : float or None
        PixelPaddingValue, as stored.
    has_lut : bool
        Whether values are scaled by a table, which is not applied.
    pet : PetTags or None
        For SUV.
    """

    instance: Instance
    series_uid: str = field(repr=False)
    study_uid: str = field(repr=False)
    patient_key: str = field(repr=False)
    reference_uid: str = field(repr=False)
    modality: str
    description: str
    padding: float | None
    has_lut: bool
    pet: PetTags | None


def open_file(path: Path) -> Any:
    """Open a file for reading, unpacked where its name ends in .gz."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with or without its preamble."""
    try:
        return _begins(path)
    except PARSE_ERRORS:
        return False


def _begins(path: Path) -> bool:
    with open_file(path) as file:
        start = file.read(132)
    return start[128:132] == b"DICM" or _is_bare(start)


def _is_bare(start: bytes) -> bool:
    """Whether a data set begins at once: a low tag of group 2 or 8, and its length."""
    if len(start) < 16:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", start[:4])
        if group not in _GROUPS or element > 0x1000:
            continue
        if start[4:6].isalpha() and start[4:6].isupper():
            return True
        (length,) = struct.unpack(f"{order}I", start[4:8])
        if order == "<" and length <= 64:
            return True
    return False


def read_header(path: Path) -> Header | None:
    """Read what is needed of a file's header.

    Returns
    -------
    Header or None
        None if the file is not DICOM, or only an index of others.

    Raises
    ------
    ValueError
        If it is DICOM, but damaged, or may not be read.
    """
    from pydicom import dcmread
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        if not _begins(path):
            return None
        with open_file(path) as file, quietly():
            bounded: Any = BoundedFile(file)
            dataset = dcmread(
                bounded, stop_before_pixels=True, force=True, specific_tags=TOP_LEVEL
            )
            return _make_header(path, dataset, bounded)
    except (*PARSE_ERRORS, BytesLengthException, InvalidDicomError) as error:
        msg = "a damaged header"
        raise ValueError(msg) from error


def _make_header(path: Path, dataset: Any, file: Any) -> Header | None:
    tags = Tags(dataset)
    meta = dataset.file_meta
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if not _UID.fullmatch(syntax):
        syntax = ""
    sop_class = tags.text("SOPClassUID") or str(meta.get("MediaStorageSOPClassUID", ""))
    if sop_class == _DIRECTORY:
        return None
    if not (sop_class or tags.has("Rows")):
        if dataset.preamble is None:
            return None  # it only began like a data set
        msg = "nothing after the preamble"
        raise ValueError(msg)
    layout = read_layout(tags, dataset.original_encoding, syntax, file)
    if layout is None and (tags.has("Rows") or sop_class in _ALWAYS_IMAGES):
        msg = "cut off before the pixels"
        raise ValueError(msg)
    problem = find_problem(layout, path) if layout is not None else None
    if "MOSAIC" in tags.texts("ImageType"):
        problem = MOSAIC
    frames: tuple[Frame, ...] = ()
    # Frames of segmentations are read when one is opened: there may be thousands.
    has_frames = sop_class not in SEGMENTATION_CLASSES
    if layout is not None and problem is None and has_frames:
        frames = read_frames(tags, layout.n_frames)
        if is_dose(sop_class):
            frames, problem = read_dose(tags, frames)
    modality, patient = tags.text("Modality"), tags.text("PatientID")
    words = safe_words(tags.texts("SeriesDescription"))
    instance = Instance(
        path=path,
        sop_uid=tags.text("SOPInstanceUID"),
        sop_class=sop_class,
        layout=layout,
        frames=frames,
        problem=problem,
    )
    return Header(
        instance=instance,
        series_uid=tags.text("SeriesInstanceUID"),
        study_uid=tags.text("StudyInstanceUID"),
        patient_key=make_key([patient]) if patient else "",
        reference_uid=tags.text("FrameOfReferenceUID"),
        modality=modality if modality in _MODALITIES else "",
        description=words,
        padding=_read_padding(tags),
        has_lut=tags.has("ModalityLUTSequence"),
        pet=read_pet_tags(tags) if modality == "PT" else None,
    )


def _read_padding(tags: Tags) -> float | None:
    value = tags.number("PixelPaddingValue")
    bits = tags.whole("BitsAllocated", 16)
    # The tag has the sign of the pixels, which an implicit VR does not tell.
    is_wrapped = value is not None and value >= 2 ** (bits - 1)
    if value is not None and is_wrapped and tags.whole("PixelRepresentation"):
        value -= 2**bits
    return value
