"""Conversion between formats; to OME-Zarr as a pyramid, streamed and resumable."""

from e2miseg_core.conversion.converting import Conversion, conversion_job, convert
from e2miseg_core.conversion.options import ConversionOptions

__all__ = ["Conversion", "ConversionOptions", "conversion_job", "convert"]
