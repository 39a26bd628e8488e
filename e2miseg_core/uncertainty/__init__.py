"""How sure a prediction is, voxel by voxel."""
