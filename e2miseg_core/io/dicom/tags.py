"""The tags that are read, and no others; their values straight from the bytes.

Names, identifiers, dates of birth, institutions, physicians and free text are not in
the list, so they cannot come out. Dates and times serve to compute differences while a
header is read, and are not kept.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

__all__ = ["PARSE_ERRORS", "TAGS", "TOP_LEVEL", "Tags"]

# Keyword: tag, and the VR where the file does not say it.
TAGS: dict[str, tuple[int, str]] = {
    "ImageType": (0x0008_0008, "CS"),
    "SOPClassUID": (0x0008_0016, "UI"),
    "SOPInstanceUID": (0x0008_0018, "UI"),
    "PatientID": (0x0010_0020, "LO"),  # only a key of it is kept
    "SeriesDate": (0x0008_0021, "DA"),
    "AcquisitionDate": (0x0008_0022, "DA"),
    "AcquisitionDateTime": (0x0008_002A, "DT"),
    "SeriesTime": (0x0008_0031, "TM"),
    "AcquisitionTime": (0x0008_0032, "TM"),
    "ContentTime": (0x0008_0033, "TM"),
    "Modality": (0x0008_0060, "CS"),
    "Manufacturer": (0x0008_0070, "LO"),
    "SeriesDescription": (0x0008_103E, "LO"),
    "TimezoneOffsetFromUTC": (0x0008_0201, "SH"),
    "ComplexImageComponent": (0x0008_9208, "CS"),
    "GEPetCreator": (0x0009_0010, "LO"),
    "GEScanDateTime": (0x0009_100D, "DT"),
    "PatientWeight": (0x0010_1030, "DS"),
    "SliceThickness": (0x0018_0050, "DS"),
    "EchoTime": (0x0018_0081, "DS"),
    "InversionTime": (0x0018_0082, "DS"),
    "EchoNumbers": (0x0018_0086, "IS"),
    "SpacingBetweenSlices": (0x0018_0088, "DS"),
    "FrameTime": (0x0018_1063, "DS"),
    "TriggerTime": (0x0018_1060, "DS"),
    "RadiopharmaceuticalStartTime": (0x0018_1072, "TM"),
    "RadionuclideTotalDose": (0x0018_1074, "DS"),
    "RadionuclideHalfLife": (0x0018_1075, "DS"),
    "RadiopharmaceuticalStartDateTime": (0x0018_1078, "DT"),
    "ImagerPixelSpacing": (0x0018_1164, "DS"),
    "ActualFrameDuration": (0x0018_1242, "IS"),
    "FlipAngle": (0x0018_1314, "DS"),
    "SequenceOfUltrasoundRegions": (0x0018_6011, "SQ"),
    "PhysicalUnitsXDirection": (0x0018_6024, "US"),
    "PhysicalUnitsYDirection": (0x0018_6026, "US"),
    "PhysicalDeltaX": (0x0018_602C, "FD"),
    "PhysicalDeltaY": (0x0018_602E, "FD"),
    "EffectiveEchoTime": (0x0018_9082, "FD"),
    "DiffusionBValue": (0x0018_9087, "FD"),
    "DiffusionGradientOrientation": (0x0018_9089, "FD"),
    "DiffusionGradientDirectionSequence": (0x0018_9076, "SQ"),
    "MREchoSequence": (0x0018_9114, "SQ"),
    "MRImageFrameTypeSequence": (0x0018_9226, "SQ"),
    "MRDiffusionSequence": (0x0018_9117, "SQ"),
    "CardiacSynchronizationSequence": (0x0018_9118, "SQ"),
    "NominalCardiacTriggerDelayTime": (0x0020_9153, "FD"),
    "SiemensCreator": (0x0019_0010, "LO"),
    "SiemensBValue": (0x0019_100C, "IS"),
    "StudyInstanceUID": (0x0020_000D, "UI"),
    "SeriesInstanceUID": (0x0020_000E, "UI"),
    "SeriesNumber": (0x0020_0011, "IS"),
    "AcquisitionNumber": (0x0020_0012, "IS"),
    "InstanceNumber": (0x0020_0013, "IS"),
    "ImagePositionPatient": (0x0020_0032, "DS"),
    "ImageOrientationPatient": (0x0020_0037, "DS"),
    "FrameOfReferenceUID": (0x0020_0052, "UI"),
    "TemporalPositionIdentifier": (0x0020_0100, "IS"),
    "StackID": (0x0020_9056, "SH"),
    "InStackPositionNumber": (0x0020_9057, "UL"),
    "FrameContentSequence": (0x0020_9111, "SQ"),
    "PlanePositionSequence": (0x0020_9113, "SQ"),
    "PlaneOrientationSequence": (0x0020_9116, "SQ"),
    "TemporalPositionIndex": (0x0020_9128, "UL"),
    "SamplesPerPixel": (0x0028_0002, "US"),
    "PhotometricInterpretation": (0x0028_0004, "CS"),
    "PlanarConfiguration": (0x0028_0006, "US"),
    "NumberOfFrames": (0x0028_0008, "IS"),
    "FrameIncrementPointer": (0x0028_0009, "AT"),
    "Rows": (0x0028_0010, "US"),
    "Columns": (0x0028_0011, "US"),
    "PixelSpacing": (0x0028_0030, "DS"),
    "CorrectedImage": (0x0028_0051, "CS"),
    "BitsAllocated": (0x0028_0100, "US"),
    "BitsStored": (0x0028_0101, "US"),
    "HighBit": (0x0028_0102, "US"),
    "PixelRepresentation": (0x0028_0103, "US"),
    "PixelPaddingValue": (0x0028_0120, "US"),
    "RescaleIntercept": (0x0028_1052, "DS"),
    "RescaleSlope": (0x0028_1053, "DS"),
    "ModalityLUTSequence": (0x0028_3000, "SQ"),
    "PixelMeasuresSequence": (0x0028_9110, "SQ"),
    "PixelValueTransformationSequence": (0x0028_9145, "SQ"),
    "RadiopharmaceuticalInformationSequence": (0x0054_0016, "SQ"),
    "DetectorInformationSequence": (0x0054_0022, "SQ"),
    "Units": (0x0054_1001, "CS"),
    "SUVType": (0x0054_1006, "CS"),
    "DecayCorrection": (0x0054_1102, "CS"),
    "FrameReferenceTime": (0x0054_1300, "DS"),
    "DoseUnits": (0x3004_0002, "CS"),
    "GridFrameOffsetVector": (0x3004_000C, "DS"),
    "DoseGridScaling": (0x3004_000E, "DS"),
    "SharedFunctionalGroupsSequence": (0x5200_9229, "SQ"),
    "PerFrameFunctionalGroupsSequence": (0x5200_9230, "SQ"),
    "PhilipsPetCreator": (0x7053_0010, "LO"),
    "PhilipsSUVFactor": (0x7053_1000, "DS"),
    "PhilipsActivityFactor": (0x7053_1009, "DS"),
}
TOP_LEVEL = [tag for tag, _ in TAGS.values()]

# What the parsing of damaged bytes raises; none of it is worth a traceback.
PARSE_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}
_TEXT = frozenset({"AE", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UI"})


class Tags:
    """A data set, of which only the tags of the list can be asked.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Its elements are taken as raw bytes: decoding would warn with their values.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Values of a text tag, empty if it is missing."""
        content = self._content(keyword)[0]
        text = content.decode("latin-1").rstrip(" \0")
        parts = tuple(part.strip(" \0") for part in text.split("\\"))
        return parts if any(parts) else ()

    def text(self, keyword: str) -> str:
        """First value of a text tag, or an empty text."""
        return next(iter(self.texts(keyword)), "")

    def numbers(self, keyword: str, count: int = 1) -> tuple[float, ...] | None:
        """At least `count` finite numbers, None if they are not all there."""
        content, kind, order = self._content(keyword)
        try:
            if kind in _BINARY:
                size = struct.calcsize(_BINARY[kind])
                whole = len(content) // size
                values = struct.unpack(
                    f"{order}{whole}{_BINARY[kind]}", content[: whole * size]
                )
                found = tuple(float(value) for value in values)
            else:
                found = tuple(float(value) for value in self.texts(keyword))
        except (ValueError, struct.error):
            return None
        if len(found) < count or not all(math.isfinite(value) for value in found):
            return None
        return found

    def number(self, keyword: str) -> float | None:
        """First number of a tag, None if there is none."""
        found = self.numbers(keyword)
        return None if found is None else found[0]

    def whole(self, keyword: str, missing: int = 0) -> int:
        """First number of a tag as a whole one."""
        found = self.number(keyword)
        return missing if found is None else int(found)

    def pointers(self, keyword: str) -> tuple[int, ...]:
        """Tags that a tag points to."""
        content, _, order = self._content(keyword)
        whole = len(content) // 4 * 4
        halves = struct.unpack(f"{order}{whole // 2}H", content[:whole])
        return tuple(
            group << 16 | element
            for group, element in zip(halves[::2], halves[1::2], strict=True)
        )

    def items(self, keyword: str) -> Iterator["Tags"]:
        """Data sets of a sequence, none if it is missing."""
        element = self._dataset.get_item(TAGS[keyword][0])
        if element is None:
            return
        for item in self._dataset[TAGS[keyword][0]].value or ():
            yield Tags(item)

    def first(self, keyword: str) -> "Tags | None":
        """First data set of a sequence, None if there is none."""
        return next(self.items(keyword), None)

    def has(self, keyword: str) -> bool:
        """Whether the tag is there."""
        return TAGS[keyword][0] in self._dataset

    def _content(self, keyword: str) -> tuple[bytes, str, str]:
        """Bytes, VR and byte order of an element."""
        tag, usual = TAGS[keyword]
        element = self._dataset.get_item(tag)
        value = getattr(element, "value", None)
        if not isinstance(value, bytes):
            return b"", usual, "<"
        stated = element.VR
        kind = stated if stated in _BINARY or stated in _TEXT else usual
        return value, kind, "<" if element.is_little_endian else ">"
