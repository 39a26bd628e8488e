"""NRRD, attached and detached, and Slicer's segmentations."""
