"""Who says what a voxel's label is."""

__all__ = ["ACCEPTED", "HUMAN", "MACHINE"]

MACHINE, HUMAN, ACCEPTED = 0, 1, 2
