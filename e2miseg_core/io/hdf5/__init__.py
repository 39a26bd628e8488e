"""HDF5 data sets."""
