"""Kinds of DICOM objects that are no images, though some hold pixels: SOP classes."""

__all__ = ["SEGMENTATION_CLASSES", "STRUCTURE_SET_CLASS", "VALUE_MAP_CLASS"]

# Segmentation Storage, Label Map Segmentation Storage.
SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
STRUCTURE_SET_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
VALUE_MAP_CLASS = "1.2.840.10008.5.1.4.1.1.67"
