"""What may tell frames at one position apart: echo time, b-value, moment, ..."""

import zlib
from collections.abc import Callable, Iterator

from e2miseg_core.io.dicom.pet_tags import read_moment
from e2miseg_core.io.dicom.tags import Tags

__all__ = ["MOMENTS", "Key", "enhanced_keys", "plain_keys"]

Key = float | str | tuple[float | str, ...]

MOMENTS = frozenset({"acquisition time", "content time"})

_DAY = 86400.0

# Functional group, tag in it, name of the key.
_ENHANCED_KEYS = (
    ("FrameContentSequence", "StackID", "stack"),
    ("FrameContentSequence", "TemporalPositionIndex", "temporal position"),
    ("MREchoSequence", "EffectiveEchoTime", "echo time"),
    ("MRDiffusionSequence", "DiffusionBValue", "b-value"),
    (
        "CardiacSynchronizationSequence",
        "NominalCardiacTriggerDelayTime",
        "trigger time",
    ),
)

# Values of ImageType that are kept as they are; all others as a check sum.
_KEPT_TYPES = """
ADC AXIAL DERIVED DIFFUSION DIS2D DYNAMIC F FA FAT FFE GATED I IMAGINARY IN_PHASE IP
I_FFE LOCALIZER M MAGNITUDE MIP MIXED MPR M_FFE M_SE ND NORM OP ORIGINAL OUT_PHASE P
PHASE PRIMARY P_FFE R REAL R_FFE SE SECONDARY STATIC TRACEW W WATER
"""
_IMAGE_TYPES = frozenset(_KEPT_TYPES.split())


def plain_keys(tags: Tags) -> Iterator[tuple[str, Key]]:
    """Keys of an object of one frame."""
    numbers = {
        "temporal position": "TemporalPositionIdentifier",
        "echo time": "EchoTime",
        "echo": "EchoNumbers",
        "inversion time": "InversionTime",
        "flip angle": "FlipAngle",
        "b-value": "DiffusionBValue",
        "trigger time": "TriggerTime",
        "frame time": "FrameReferenceTime",
        "acquisition": "AcquisitionNumber",
        "instance": "InstanceNumber",
    }
    for name, keyword in numbers.items():
        value = tags.number(keyword)
        if value is not None:
            yield name, value
    if not tags.has("DiffusionBValue") and tags.text("SiemensCreator").startswith(
        "SIE"
    ):
        value = tags.number("SiemensBValue")
        if value is not None:
            yield "b-value", value
    direction = tags.numbers("DiffusionGradientOrientation", 3)
    if direction is not None:
        yield "gradient", direction
    kind = tags.texts("ImageType")
    if kind:
        yield "image type", tuple(map(_known_type, kind))
    for name, date, time in (
        ("acquisition time", tags.text("AcquisitionDate"), "AcquisitionTime"),
        ("content time", "", "ContentTime"),
    ):
        moment = read_moment(date, tags.text(time))
        if moment is not None:
            yield name, (moment[0] or 0) * _DAY + moment[1]


def _known_type(text: str) -> str:
    known = text.upper()
    return known if known in _IMAGE_TYPES else f"{zlib.crc32(text.encode()):08x}"


def enhanced_keys(group: Callable[[str], Tags | None]) -> Iterator[tuple[str, Key]]:
    """Keys of a frame of an enhanced object.

    Parameters
    ----------
    group : callable
        Returns the frame's functional group of a name, None if there is none.
    """
    for sequence, keyword, name in _ENHANCED_KEYS:
        found = group(sequence)
        value = found.number(keyword) if found is not None else None
        if value is not None:
            yield name, value
    diffusion = group("MRDiffusionSequence")
    gradient = diffusion and diffusion.first("DiffusionGradientDirectionSequence")
    direction = gradient and gradient.numbers("DiffusionGradientOrientation", 3)
    if direction:
        yield "gradient", direction
    kind = group("MRImageFrameTypeSequence")
    if kind is not None and (part := kind.text("ComplexImageComponent")):
        yield "image type", (_known_type(part),)
