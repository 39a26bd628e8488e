"""Voxels that lie one after another in a file, plain or compressed."""
