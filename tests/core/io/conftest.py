"""What the tests of the formats share."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def dicom_files() -> ModuleType:
    """`dicom_files.py` beside this file: tests cannot import each other by name."""
    path = Path(__file__).with_name("dicom_files.py")
    spec = importlib.util.spec_from_file_location("dicom_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
