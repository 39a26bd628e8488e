"""DICOM: series of images found, sorted, and read slice by slice.

`tags` names everything that is ever read of an image's header: nothing that tells who
the patient is. From there, upwards:

- `header` reads a file: its `layout`, `frames`, `frame_keys` and `pet_tags`;
- `scan` goes through a folder, `series` sorts what it found, `grouping` finds stacks
  and their `moments`, `stack` and `spacing` say where slices lie;
- `pixels` reads a box: `rows` of plain files, `decoding` of compressed ones; `samples`
  makes values of them, `suv` scales PET;
- `reading` makes a `Volume` of it all, with `notes`.
"""
