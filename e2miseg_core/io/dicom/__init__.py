"""DICOM: series of images found, sorted, and read slice by slice.

`tags` names everything that is ever read of a header: nothing that tells who the
patient is. `header` reads a file, `scan` a folder, `grouping` finds the stacks of a
series, `stack` their geometry, `pixels` their voxels, `suv` the scale of PET, `reading`
makes a `Volume` of it all.
"""
