"""OME-Zarr and bare zarr."""
