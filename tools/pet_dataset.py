"""Lay the FDG-PET of the soft-tissue sarcoma set out as a training set, by links.

    python tools/pet_dataset.py ../shared/data/ibsi_soft_tissue_sarcoma OUT

One case a patient, so that a split by cases is one by patients. Nothing is copied; CT
and MR, which some patients lack, are left out.
"""

import argparse
import json
from pathlib import Path

__all__ = ["lay_out"]

DESCRIPTION = {
    "name": "soft-tissue-sarcoma-pet",
    "licence": "CC BY 3.0",
    "channel_names": {"0": "PET"},
    "labels": {"background": 0, "tumour": 1},
    "file_ending": ".nii.gz",
}


def lay_out(source: Path, folder: Path) -> int:
    """Make imagesTr, labelsTr and dataset.json of links to every patient's PET.

    Parameters
    ----------
    source : Path
        Holds a folder a patient, with PET_image.nii.gz and PET_mask.nii.gz.
    folder : Path
        To be made; links that are there are made again.

    Returns
    -------
    int
        Patients.
    """
    patients = sorted(path.parent for path in source.glob("*/PET_image.nii.gz"))
    for kind, name in (("imagesTr", "PET_image"), ("labelsTr", "PET_mask")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for patient in patients:
            link = folder / kind / f"{patient.name}.nii.gz"
            link.unlink(missing_ok=True)
            link.symlink_to((patient / f"{name}.nii.gz").resolve(strict=True))
    description = DESCRIPTION | {"numTraining": len(patients)}
    text = json.dumps(description, indent=1) + "\n"
    (folder / "dataset.json").write_text(text, encoding="utf-8")
    return len(patients)


def main() -> None:
    """Lay out the set that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    print(f"{lay_out(given.source, given.folder)} patients in {given.folder}")


if __name__ == "__main__":
    main()
