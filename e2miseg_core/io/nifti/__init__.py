"""NIfTI-1 and NIfTI-2, in one file or two, and Analyze."""
