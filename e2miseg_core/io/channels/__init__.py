"""Several files, on different grids, as the channels of one case."""
