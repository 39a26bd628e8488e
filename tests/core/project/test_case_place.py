"""Where a case's image is, kept in the case's description."""

import json
from pathlib import Path

import pytest

from e2miseg_core.io.address import Address
from e2miseg_core.project.case_file import image_place, placed_image


@pytest.mark.parametrize(
    "inside",
    ["", "#part=/raw", "#frame=3", "#part=a&spacing=50,4.6,4.6&unit=nm"],
)
def test_description_keeps_all_of_an_address(tmp_path: Path, inside: str) -> None:
    image = Address.parse(f"{tmp_path / 'scan.h5'}{inside}")
    stored = json.loads(json.dumps(image_place(image, tmp_path / "project")))
    assert placed_image(stored, tmp_path / "case", tmp_path / "project") == image
