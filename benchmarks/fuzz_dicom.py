"""Small sound DICOM files, for `benchmarks.fuzz` to damage."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

CT = "1.2.840.10008.5.1.4.1.1.2"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.3"


def dataset(pixels: NDArray[Any], sop_class: str, number: int) -> FileDataset:
    """Without anything that would differ from run to run."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = sop_class, f"1.2.3.4.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    made.FrameOfReferenceUID = "1.2.3.3"
    made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", 1, number
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient = [-20, -30, 2.5 * number]
    made.PixelSpacing, made.SliceThickness = [0.8, 0.7], 2.5
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.Rows, made.Columns = pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    made.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    made["PixelData"].VR = "OW"
    return made


def write_series(folder: Path, pixels: NDArray[Any]) -> list[Path]:
    folder.mkdir()
    made = []
    for number, plane in enumerate(pixels):
        made.append(folder / f"{number}.dcm")
        dataset(plane, CT, number).save_as(made[-1], enforce_file_format=True)
    return made


def write_packed(path: Path, pixels: NDArray[Any]) -> None:
    """Frames in run lengths, as fragments of their own."""
    made = dataset(pixels, MULTI_FRAME, 1)
    made.NumberOfFrames = len(pixels)
    made.compress(RLELossless, generate_instance_uid=False)
    made.save_as(path, enforce_file_format=True)


def write_structures(path: Path, planes: int) -> None:
    """A square in every plane of `write_series`."""
    made = dataset(np.zeros((1, 1), "i2"), STRUCTURES, 99)
    for keyword in ("PixelData", "Rows", "Columns", "SamplesPerPixel"):
        delattr(made, keyword)
    made.Modality, made.SeriesInstanceUID = "RTSTRUCT", "1.2.3.5"
    contours = []
    for number in range(planes):
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
        z = 2.5 * number
        corners = [(-19, -29), (-17, -29), (-17, -27), (-19, -27)]
        contour.ContourData = [value for x, y in corners for value in (x, y, z)]
        contours.append(contour)
    roi, drawn, series, study, frame = (Dataset() for _ in range(5))
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = 1, "a", ""
    roi.ReferencedFrameOfReferenceUID = "1.2.3.3"
    drawn.ReferencedROINumber, drawn.ROIDisplayColor = 1, [255, 0, 0]
    drawn.ContourSequence = contours
    series.SeriesInstanceUID = "1.2.3.2"
    study.ReferencedSOPInstanceUID = "1.2.3.1"
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = "1.2.3.3"
    frame.RTReferencedStudySequence = [study]
    made.StructureSetROISequence, made.ROIContourSequence = [roi], [drawn]
    made.ReferencedFrameOfReferenceSequence = [frame]
    made.save_as(path, enforce_file_format=True)


def write_multi_frame(path: Path, pixels: NDArray[Any]) -> None:
    made = dataset(pixels, MULTI_FRAME, 1)
    made.NumberOfFrames = len(pixels)
    made.save_as(path, enforce_file_format=True)
