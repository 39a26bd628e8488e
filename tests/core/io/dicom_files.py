"""Synthetic DICOM files, written with pydicom: what the readers' tests read.

Every text tag that could identify somebody holds `CANARY` where `identify` is on.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CANARY = "Zyzzyva"
CANARY_DATE = "19370513"

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
PET = "1.2.840.10008.5.1.4.1.1.128"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.130"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NUCLEAR_MEDICINE = "1.2.840.10008.5.1.4.1.1.20"
ULTRASOUND_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
MODALITIES = {
    CT: "CT",
    MR: "MR",
    PET: "PT",
    ENHANCED_CT: "CT",
    ENHANCED_MR: "MR",
    ENHANCED_PET: "PT",
    SECONDARY_CAPTURE: "OT",
    NUCLEAR_MEDICINE: "NM",
    ULTRASOUND_MULTIFRAME: "US",
}

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def new_dataset(
    sop_class: str,
    pixels: NDArray[Any],
    *,
    series: str = "",
    study: str = "",
    frame_of_reference: str = "",
    identify: bool = False,
    **tags: Any,
) -> FileDataset:
    """Make one object of stored pixels (Y, X), (F, Y, X), or (Y, X, 3) for RGB.

    `tags` are keywords of DICOM; None leaves a tag out.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = study or generate_uid()
    dataset.SeriesInstanceUID = series or generate_uid()
    dataset.FrameOfReferenceUID = frame_of_reference or generate_uid()
    dataset.Modality = MODALITIES.get(sop_class, "OT")
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    set_patient(dataset, identify=identify)
    set_pixels(dataset, pixels)
    for keyword, value in tags.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def set_pixels(dataset: Dataset, pixels: NDArray[Any]) -> None:
    """Describe and store little-endian pixels."""
    is_rgb = pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.dtype == np.uint8
    if pixels.ndim == 3 and not is_rgb:
        dataset.NumberOfFrames = pixels.shape[0]
    rows, columns = pixels.shape[:2] if is_rgb else pixels.shape[-2:]
    bits = pixels.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 3 if is_rgb else 1
    dataset.PhotometricInterpretation = "RGB" if is_rgb else "MONOCHROME2"
    if is_rgb:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    little = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = little + b"\0" * (len(little) % 2)
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"


def set_patient(dataset: Dataset, *, identify: bool) -> None:
    """Fill what identifies a patient, with canaries or with nothing."""
    text = CANARY if identify else ""
    date = CANARY_DATE if identify else ""
    for keyword in (
        "PatientName",
        "PatientID",
        "OtherPatientNames",
        "PatientAddress",
        "PatientComments",
        "InstitutionName",
        "InstitutionAddress",
        "InstitutionalDepartmentName",
        "ReferringPhysicianName",
        "PerformingPhysicianName",
        "OperatorsName",
        "StationName",
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "ImageComments",
        "AccessionNumber",
        "StudyID",
        "DeviceSerialNumber",
        "AdditionalPatientHistory",
        "RequestedProcedureDescription",
    ):
        setattr(dataset, keyword, text)
    for keyword in ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate"):
        setattr(dataset, keyword, date)
    dataset.PatientSex = "O"


def positions(
    n_slices: int,
    spacing: float = 2.5,
    *,
    origin: ArrayLike = (-20.0, -30.0, 10.0),
    step: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Positions (n, 3) in LPS mm of slices one `spacing` (or `step`) apart."""
    along = np.array([0, 0, spacing]) if step is None else np.asarray(step, float)
    return np.asarray(origin, float) + np.arange(n_slices)[:, None] * along


def save(dataset: Dataset, path: Path) -> Path:
    """Write a dataset as a file of part 10."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that break the rules on purpose
        dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    pixels: NDArray[Any],
    *,
    sop_class: str = CT,
    places: ArrayLike | None = None,
    orientation: Sequence[float] = AXIAL,
    spacing_yx: tuple[float, float] = (0.8, 0.7),
    names: Sequence[str] | None = None,
    per_slice: Sequence[Mapping[str, Any]] | None = None,
    **tags: Any,
) -> list[Path]:
    """Write stored pixels (Z, Y, X), or (Z, Y, X, 3), as one file a slice.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    pixels : ndarray
        Stored values.
    sop_class : str
        Of single-frame objects.
    places : array_like, shape (Z, 3), optional
        ImagePositionPatient of each slice; by default 2.5 mm apart.
    orientation : sequence of six float
        ImageOrientationPatient.
    spacing_yx : tuple of float
        PixelSpacing: between rows, between columns.
    names : sequence of str, optional
        Of the files. By default they sort against the positions.
    per_slice : sequence of mappings, optional
        Tags of each slice.
    **tags
        Of all slices; `series`, `study`, `frame_of_reference`, `identify` too.

    Returns
    -------
    list of Path
        In the order of `pixels`.
    """
    count = len(pixels)
    where = positions(count) if places is None else np.asarray(places, float)
    tags = {
        "series": generate_uid(),
        "study": generate_uid(),
        "frame_of_reference": generate_uid(),
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "SliceThickness": 2.5,
        **tags,
    }
    paths = []
    for index, plane in enumerate(pixels):
        own = dict(per_slice[index]) if per_slice is not None else {}
        dataset = new_dataset(
            sop_class,
            plane,
            **{
                "ImagePositionPatient": [f"{value:.10g}" for value in where[index]],
                "ImageOrientationPatient": list(orientation),
                "PixelSpacing": list(spacing_yx),
                "InstanceNumber": count - index,
                **tags,
                **own,
            },
        )
        name = names[index] if names is not None else f"IM{(index * 7) % 1000:03d}"
        paths.append(save(dataset, folder / name))
    return paths


def write_enhanced(
    path: Path,
    pixels: NDArray[Any],
    places: ArrayLike,
    *,
    sop_class: str = ENHANCED_MR,
    orientation: Sequence[float] = AXIAL,
    spacing_yx: tuple[float, float] = (0.8, 0.7),
    groups: Sequence[Mapping[str, Mapping[str, Any]]] | None = None,
    scales: Sequence[tuple[float, float]] | None = None,
    **tags: Any,
) -> Path:
    """Write stored pixels (F, Y, X) as one enhanced multi-frame object.

    Parameters
    ----------
    path : Path
        Of the file.
    pixels : ndarray
        Stored values.
    places : array_like, shape (F, 3)
        Position of each frame.
    sop_class, orientation, spacing_yx
        As for `write_series`.
    groups : sequence of mappings, optional
        For each frame, the functional groups of one item and their tags.
    scales : sequence of (slope, intercept), optional
        Of each frame; by default none is stated.
    **tags
        Of the whole object.
    """
    dataset = new_dataset(sop_class, pixels, **tags)
    measures = Dataset()
    measures.PixelSpacing = list(spacing_yx)
    measures.SliceThickness = 2.5
    turned = Dataset()
    turned.ImageOrientationPatient = list(orientation)
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [turned]
    dataset.SharedFunctionalGroupsSequence = [shared]
    per_frame = []
    for index, place in enumerate(np.asarray(places, float)):
        own = Dataset()
        at = Dataset()
        at.ImagePositionPatient = [f"{value:.10g}" for value in place]
        own.PlanePositionSequence = [at]
        if scales is not None:
            value = Dataset()
            value.RescaleSlope, value.RescaleIntercept = map(str, scales[index])
            value.RescaleType = "US"
            own.PixelValueTransformationSequence = [value]
        for name, values in (groups[index] if groups is not None else {}).items():
            item = Dataset()
            for keyword, content in values.items():
                setattr(item, keyword, content)
            setattr(own, name, [item])
        per_frame.append(own)
    dataset.PerFrameFunctionalGroupsSequence = per_frame
    return save(dataset, path)
