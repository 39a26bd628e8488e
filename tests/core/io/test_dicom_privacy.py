"""Nothing that tells who the patient is comes out of a DICOM file."""

import logging
import pickle
import re
import warnings

import numpy as np
import pydicom
import pytest

from e2miseg_core.errors import ReadError
from e2miseg_core.io import open_volume
from e2miseg_core.io.dicom.scan import scan_folder


def everything(root):
    """Yield the text of all that can be reached from an object."""
    seen, waiting = set(), [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen.add(id(item))
        yield repr(item)
        if isinstance(item, bytes):
            yield item.decode("latin-1")
        if isinstance(item, dict) or hasattr(item, "items"):
            waiting += [part for pair in item.items() for part in pair]
        elif isinstance(item, (tuple, list, set, frozenset)):
            waiting += item
        slots = [
            slot
            for kind in type(item).__mro__
            for slot in getattr(kind, "__slots__", ())
        ]
        waiting += [getattr(item, slot) for slot in slots if hasattr(item, slot)]
        waiting += vars(item).values() if hasattr(item, "__dict__") else ()


def write(dicom_files, folder, n_slices=3, **tags):
    drug = pydicom.Dataset()
    drug.RadiopharmaceuticalStartTime = "091317"
    drug.RadiopharmaceuticalStartDateTime = f"{dicom_files.CANARY_DATE}091317"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = 3e8, 6586
    return dicom_files.write_series(
        folder,
        np.ones((n_slices, 4, 5), np.int16),
        sop_class=dicom_files.PET,
        identify=True,
        Units="BQML",
        CorrectedImage=["DECY", "ATTN"],
        DecayCorrection="START",
        PatientWeight=70,
        SeriesTime="101317",
        AcquisitionTime="101317",
        ContentTime="101317",
        ImageType=["ORIGINAL", "PRIMARY", dicom_files.CANARY.upper()],
        RadiopharmaceuticalInformationSequence=[drug],
        **tags,
    )


def found(dicom_files, texts):
    text = "\n".join(texts)
    days = str(np.datetime64("1937-05-13", "D").astype(int) + 719163)
    secrets = (dicom_files.CANARY, dicom_files.CANARY_DATE, "1937-05-13", days)
    return [s for s in (*secrets, "101317", "091317") if re.search(s, text, re.I)]


def test_the_crawler_would_find_it(dicom_files):
    assert found(dicom_files, everything({"a": [(dicom_files.CANARY,)]}))


def test_nothing_identifying_is_reachable(dicom_files, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    write(dicom_files, tmp_path)
    series = scan_folder(tmp_path)
    volume = open_volume(tmp_path)
    volume.data.compute()
    assert volume.channels == ("SUV body weight",)
    assert not found(dicom_files, everything(series))
    assert not found(dicom_files, everything(volume))
    assert not found(dicom_files, [pickle.dumps(volume.data).decode("latin-1")])
    assert not found(dicom_files, [caplog.text])


def test_nothing_identifying_stands_in_errors(dicom_files, tmp_path, capfd):
    write(dicom_files, tmp_path / "a")
    write(dicom_files, tmp_path / "b", Modality=dicom_files.CANARY.upper())
    with pytest.raises(ReadError) as several:
        open_volume(tmp_path)
    places = dicom_files.positions(4)[[0, 1, 3, 3]]
    write(dicom_files, tmp_path / "c", 4, places=places**2)
    with pytest.raises(ReadError) as uneven:
        open_volume(tmp_path / "c")
    for error in (several, uneven):
        assert not found(dicom_files, [str(error.value), repr(error.value)])
    assert not found(dicom_files, capfd.readouterr())


def test_values_that_break_the_rules_are_not_quoted(dicom_files, tmp_path, caplog):
    canary = dicom_files.CANARY
    (path, *_) = write(dicom_files, tmp_path)
    content = path.read_bytes()
    for old in (b"101317", b"ORIGINAL", b"3.0e8", b"2.5"):
        content = content.replace(old, canary.encode()[: len(old)].ljust(len(old)))
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        series = scan_folder(tmp_path)
    texts = [str(warning.message) for warning in warned]
    assert not found(dicom_files, [*texts, caplog.text, *everything(series)])
