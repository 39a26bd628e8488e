"""MetaImage: .mha, and .mhd with its voxels in other files."""
