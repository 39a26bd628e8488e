"""The header of a new segmentation, and what each of its frames says of itself."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from e2miseg_core.geometry import Geometry
from e2miseg_core.io.dicom.placement import direction_cosines, plane_position
from e2miseg_core.io.dicom.segment_colors import rgb_to_dicom
from e2miseg_core.io.dicom.source_headers import complete_headers

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["SourceImage", "make_frame", "make_template"]

NAME = "E2MISeg"
_SERIES_NUMBER = 1000  # at least: above those that scanners give
_FIRST_SECOND = 1767225600  # 2026-01-01: a series number has 31 bits
_MOST_TEXT = 64  # characters of a segment's label


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """The image that a plane of labels was made on; `frame` counts from 1, if any."""

    sop_class: str
    sop_uid: str
    frame: int | None


def make_template(
    images: Sequence["Dataset"],
    geometry: Geometry,
    *,
    names: Mapping[int, str],
    colors: Mapping[int, tuple[int, int, int]],
    model: str = "",
    bits: int,
) -> "Dataset":
    """Make everything but frames and pixels.

    Parameters
    ----------
    images : sequence of Dataset
        Headers of the source series; completed where what may be empty is missing.
    geometry : Geometry
        Of the labels.
    names : mapping of int to str
        Of all segments, ascending; for 1 bit they count from 1.
    colors : mapping of int to tuple of int
        Red, green, blue.
    model : str
        That made them without a human; empty where a human took part.
    bits : int
        1 for a binary segmentation; 8 or 16 for a label map.
    """
    import highdicom as hd

    complete_headers(images)
    several = len(images) > 1 and "NumberOfFrames" in images[0]
    orientation = hd.PlaneOrientationSequence(
        "PATIENT", image_orientation=direction_cosines(geometry).ravel().tolist()
    )
    measures = _measures(geometry)
    dataset = hd.seg.Segmentation(
        source_images=images[:1] if several else images,
        further_source_images=images[1:] if several else None,
        pixel_array=_first_plane(geometry, min(names), bits),
        segmentation_type="BINARY" if bits == 1 else "LABELMAP",
        segment_descriptions=[
            _description(number, name, colors.get(number), _printable(model))
            for number, name in names.items()
        ],
        pixel_measures=measures,
        plane_orientation=orientation,
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", image_position=_position(geometry, 0))
        ],
        **_of_series(_printable(model)),
    )
    dataset.SeriesDate, dataset.SeriesTime = dataset.ContentDate, dataset.ContentTime
    shared = dataset.SharedFunctionalGroupsSequence[0]
    # Of the template's single plane, highdicom takes them from the images.
    shared.PlaneOrientationSequence = orientation
    shared.PixelMeasuresSequence = measures
    if "SegmentIdentificationSequence" in shared:
        del shared.SegmentIdentificationSequence  # of a single segment: see make_frame
    if "DimensionOrganizationType" in dataset:
        del dataset.DimensionOrganizationType
    return dataset


def _first_plane(geometry: Geometry, value: int, bits: int) -> NDArray[Any]:
    """Pixels (1, Y, X) of the template, which are replaced."""
    dtype = np.uint8 if bits < 16 else np.uint16
    return np.full((1, *geometry.shape[1:]), value, dtype=dtype)


def _of_series(model: str) -> dict[str, Any]:
    """What the new series says of itself.

    Numbers grow with time, so that lists sort what is saved again after what was.
    """
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    return {
        "series_instance_uid": generate_uid(),
        "series_number": _SERIES_NUMBER + max(0, int(time.time() - _FIRST_SECOND)),
        "sop_instance_uid": generate_uid(),
        "instance_number": 1,
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": _own_version(),
        "device_serial_number": "0",
        "content_label": "SEGMENTATION",
        "series_description": f"{NAME} {model or 'labels'}"[:_MOST_TEXT],
        "specific_character_set": "ISO_IR 192",
        "transfer_syntax_uid": ExplicitVRLittleEndian,
    }


def _own_version() -> str:
    try:
        return version("e2miseg-napari")
    except PackageNotFoundError:  # run from a folder that was never installed
        return "not installed"


def make_frame(
    number: int, segment: int, geometry: Geometry, source: SourceImage | None
) -> "Dataset":
    """Describe a frame.

    Parameters
    ----------
    number : int
        Of its plane, from 0.
    segment : int
        0 for frames of a label map.
    geometry : Geometry
        Of the labels.
    source : SourceImage or None
        None where no image was measured.
    """
    from pydicom import Dataset

    frame, content, place = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [segment, number + 1] if segment else [number + 1]
    place.ImagePositionPatient = _position(geometry, number)
    frame.FrameContentSequence = [content]
    frame.PlanePositionSequence = [place]
    frame.DerivationImageSequence = [_derivation(source)] if source else []
    if segment:
        identification = Dataset()
        identification.ReferencedSegmentNumber = segment
        frame.SegmentIdentificationSequence = [identification]
    return frame


def _derivation(source: SourceImage) -> "Dataset":
    from pydicom import Dataset
    from pydicom.sr.codedict import codes

    image, derivation = Dataset(), Dataset()
    image.ReferencedSOPClassUID = source.sop_class
    image.ReferencedSOPInstanceUID = source.sop_uid
    if source.frame is not None:
        image.ReferencedFrameNumber = source.frame
    image.SpatialLocationsPreserved = "YES"
    image.PurposeOfReferenceCodeSequence = [
        _code(codes.DCM.SourceImageForImageProcessingOperation)
    ]
    derivation.SourceImageSequence = [image]
    derivation.DerivationCodeSequence = [_code(codes.DCM.Segmentation)]
    return derivation


def _code(code: Any) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme_designator
    item.CodeMeaning = code.meaning
    return item


def _position(geometry: Geometry, plane: int) -> list[float]:
    """Where the first pixel of a plane lies, as DICOM's text of 16 characters."""
    from pydicom.valuerep import DSfloat

    point = plane_position(geometry, plane)
    return [DSfloat(float(value), auto_format=True) for value in point]


def _measures(geometry: Geometry) -> Any:
    import highdicom as hd

    affine = geometry.affine[:3, :3]
    normal = np.cross(affine[:, 2], affine[:, 1])
    between = abs(float(affine[:, 0] @ normal)) / float(np.linalg.norm(normal))
    _, row_step, column_step = geometry.spacing
    return hd.PixelMeasuresSequence(
        pixel_spacing=[row_step, column_step],
        slice_thickness=between,
        spacing_between_slices=between,
    )


def _printable(text: str) -> str:
    """Text that a DICOM header takes."""
    return "".join(c for c in text if c.isprintable()).replace("\\", "/").strip()


def _description(
    number: int, name: str, color: Sequence[int] | None, model: str
) -> Any:
    """Describe a segment; what kind of tissue it is, is not known."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=_printable(name)[:_MOST_TEXT] or f"label {number}",
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type="AUTOMATIC" if model else "SEMIAUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=(model or NAME)[:_MOST_TEXT],
            family=codes.DCM.ArtificialIntelligence,
            version=_own_version(),
        ),
        display_color=None
        if color is None
        else hd.color.CIELabColor.from_dicom_value(rgb_to_dicom(color)),
    )
