"""Who says what a voxel's label is."""

__all__ = ["ACCEPTED", "HUMAN", "MACHINE", "NAMES"]

MACHINE, HUMAN, ACCEPTED = 0, 1, 2
NAMES = {
    MACHINE: "machine",
    HUMAN: "drawn by a human",
    ACCEPTED: "accepted by a human",
}
