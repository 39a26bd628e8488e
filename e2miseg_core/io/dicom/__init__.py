"""DICOM: series of images found, sorted, and read slice by slice.

`tags` names everything that is ever read of an image's header: nothing that tells who
the patient is. From there, upwards:

- `header` reads a file: its `layout`, `frames`, `frame_keys`, `pet_tags` and `dose`, or
  the `problem` that it has;
- `scan` goes through a folder, `series` sorts what it found, `grouping` finds stacks
  and their `moments`, `parting` splits sets, `stack` and `spacing` say where slices
  lie;
- `pixels` reads a box: `rows` of plain files, `decoding` of compressed ones; `samples`
  makes values of them, `suv` scales PET;
- `choosing` finds the series that is meant, `reading` makes a `Volume` of it, with
  `notes`.
"""
