"""Phantoms as files: the data set, the command line, and the bundled sample."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.errors import ConfigError, WriteError
from e2miseg_core.io import open_labels, open_volume
from e2miseg_core.progress import run
from e2miseg_core.samples import (
    generate_phantom,
    sample_labels_path,
    sample_path,
    write_phantom_dataset,
    write_phantoms,
)
from e2miseg_core.samples.dataset import MOST_CASES, SAMPLE_SEED, generate_sample

SHAPE = (12, 32, 28)
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    write_phantom_dataset(folder, 2, 4, shape=SHAPE)
    return folder


@pytest.fixture(scope="module")
def sample():
    return generate_sample()


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_data_set_has_the_decathlon_layout(folder):
    card = json.loads((folder / "dataset.json").read_text())
    assert card["labels"] == {"background": 0, "lesion": 1}
    assert card["channel_names"] == {"0": "MR"}
    assert card["numTraining"] == len(card["training"]) == 2
    for pair in card["training"]:
        image = open_volume(folder / pair["image"])
        labels = open_labels(folder / pair["label"])
        assert image.geometry.matches(labels.geometry)
        assert set(np.unique(labels.data.compute())) == {0, 1}


def test_files_hold_exactly_the_phantom(folder):
    phantom = generate_phantom(50001, SHAPE)
    image = open_volume(folder / "imagesTr" / "phantom_0001.nii.gz")
    labels = open_labels(folder / "labelsTr" / "phantom_0001.nii.gz")
    np.testing.assert_array_equal(image.data[0].compute(), phantom.image)
    np.testing.assert_array_equal(labels.data[0].compute(), phantom.labels)
    assert image.geometry.matches(phantom.geometry)
    assert image.geometry.unit == "mm"


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    write_phantom_dataset(tmp_path, 2, 4, shape=SHAPE)
    assert digests(tmp_path) == digests(folder)
    sums = list(digests(folder).values())
    assert len(set(sums)) == len(sums)


def test_a_set_of_ringed_lesions_bears_other_names(tmp_path):
    write_phantom_dataset(tmp_path, 1, 4, shape=SHAPE, lesion_kind="ringed")
    phantom = generate_phantom(50000, SHAPE, lesion_kind="ringed")
    image = open_volume(tmp_path / "imagesTr" / "ringed_0000.nii.gz")
    np.testing.assert_array_equal(image.data[0].compute(), phantom.image)
    card = json.loads((tmp_path / "dataset.json").read_text())
    assert card["name"] == "phantom-ringed-lesions"
    assert "ringed lesions" in card["description"]


def test_each_case_is_reported(tmp_path):
    steps = []
    card = run(write_phantoms(tmp_path, 2, 1, shape=SHAPE), steps.append)
    assert [(step.done, step.total) for step in steps] == [(1, 2), (2, 2)]
    assert card == tmp_path / "dataset.json"


def test_wrong_arguments_are_told(folder, tmp_path):
    with pytest.raises(ConfigError, match="0 cases"):
        write_phantom_dataset(tmp_path / "new", 0, 0)
    with pytest.raises(ConfigError, match="seed -1"):
        write_phantom_dataset(tmp_path / "new", 1, -1)
    with pytest.raises(ConfigError, match="'striped'"):
        write_phantom_dataset(tmp_path / "new", 1, 0, lesion_kind="striped")
    assert not (tmp_path / "new").exists()
    with pytest.raises(WriteError, match="exists already"):
        write_phantom_dataset(folder, 1, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be made"):
        write_phantom_dataset(tmp_path / "file", 1, 0)


def test_the_command_line(folder, tmp_path):
    command = [sys.executable, "-m", "e2miseg_core.samples", str(tmp_path / "out")]
    options = ["--cases", "2", "--seed", "4", "--shape", *map(str, SHAPE)]
    first = subprocess.run([*command, *options], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() == str(tmp_path / "out" / "dataset.json")
    assert digests(tmp_path / "out") == digests(folder)
    # Lesions are bright unless asked otherwise.
    other = [*command[:-1], str(tmp_path / "ringed"), *options, "--lesions", "ringed"]
    assert subprocess.run(other, capture_output=True, text=True).returncode == 0
    names = [path.name for path in (tmp_path / "ringed" / "labelsTr").iterdir()]
    assert sorted(names) == ["ringed_0000.nii.gz", "ringed_0001.nii.gz"]
    again = subprocess.run([*command, *options], capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr.startswith("error: ")
    assert "Traceback" not in again.stderr


def test_the_bundled_sample_is_what_the_generator_makes(sample):
    image, labels = open_volume(sample_path()), open_labels(sample_labels_path())
    np.testing.assert_array_equal(image.data[0].compute(), sample.image)
    np.testing.assert_array_equal(labels.data[0].compute(), sample.labels)
    # NIfTI keeps float32.
    stored = sample.geometry.affine.astype(np.float32).astype(float)
    np.testing.assert_array_equal(image.geometry.affine, stored)
    np.testing.assert_array_equal(labels.geometry.affine, stored)


def test_no_data_set_holds_the_bundled_sample():
    assert SAMPLE_SEED < MOST_CASES  # the first seed of the set with seed 0


def test_the_bundled_sample_is_small_and_has_lesions_of_many_sizes(sample):
    assert sample_path().stat().st_size < 1_000_000
    sizes = [lesion.diameter for lesion in sample.lesions]
    assert len(sizes) == 7
    assert min(sizes) < 3.0
    assert max(sizes) > 30.0


@pytest.mark.parametrize("name", ["phantom.nii.gz", "phantom_labels.nii.gz"])
def test_the_repository_has_the_same_bytes(name):
    outside = REPOSITORY / "sample_data" / name
    assert outside.read_bytes() == sample_path().with_name(name).read_bytes()
