"""Colours of segments: CIELab as DICOM stores it, and RGB.

DICOM asks for CIELab relative to D50. The programs that write segmentations (pixelmed,
highdicom, dcmqi) take sRGB's own white, D65, instead, so that is what comes back as it
was meant.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["dicom_to_rgb", "rgb_to_dicom"]

_TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_EDGE = 6 / 29  # of the linear part of CIELab's curve
_SCALE = np.array([65535 / 100, 257.0, 257.0])  # of L*, a* + 128, b* + 128
_SHIFT = np.array([0.0, 128.0, 128.0])


def dicom_to_rgb(stored: Sequence[int]) -> tuple[int, int, int]:
    """Convert a Recommended Display CIELab Value.

    Parameters
    ----------
    stored : sequence of three int
        Each from 0 to 65535.

    Returns
    -------
    tuple of int
        Red, green, blue from 0 to 255; what no screen shows is clipped.
    """
    light, a, b = np.asarray(stored, dtype=np.float64) / _SCALE - _SHIFT
    y = (light + 16) / 116
    curve = np.array([y + a / 500, y, y - b / 200])
    linear = 3 * _EDGE**2 * (curve - 4 / 29)
    xyz = np.where(curve > _EDGE, curve**3, linear) * _WHITE
    rgb = np.clip(np.linalg.inv(_TO_XYZ) @ xyz, 0, 1)
    low = rgb <= 0.0031308
    encoded = np.where(low, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)
    red, green, blue = np.rint(encoded * 255).astype(int).tolist()
    return red, green, blue


def rgb_to_dicom(color: Sequence[int]) -> tuple[int, int, int]:
    """Convert red, green, blue from 0 to 255 to a Recommended Display CIELab Value."""
    encoded = np.asarray(color, dtype=np.float64) / 255
    low = encoded <= 0.04045
    rgb = np.where(low, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = _TO_XYZ @ rgb / _WHITE
    linear = xyz / (3 * _EDGE**2) + 4 / 29
    x, y, z = np.where(xyz > _EDGE**3, np.cbrt(xyz), linear)
    lab = np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])
    stored = np.clip(np.rint((lab + _SHIFT) * _SCALE), 0, 65535)
    light, a, b = stored.astype(int).tolist()
    return light, a, b
