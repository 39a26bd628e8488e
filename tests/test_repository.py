"""The distribution is whole, says the truth about itself, and installs."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import metadata, version
from pathlib import Path

import nibabel
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import e2miseg_core

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
PACKAGES = ("e2miseg_core", "e2miseg_napari")


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(number) for name, number in pairs}


def requirements(*extras: str) -> list[Requirement]:
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(
        command, cwd=cwd, check=False, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tracked_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = run(git, "ls-files", "-z", cwd=ROOT)
    return [ROOT / name for name in listed.split("\0") if name]


def test_the_tested_set_lies_within_the_ranges():
    pinned = pins()
    for requirement in requirements("gui", "bench", "test", "dev"):
        name = canonicalize_name(requirement.name)
        if name == "e2miseg-napari":
            continue
        assert name in pinned, f"{name} is not pinned; run tools/constraints.py"
        assert requirement.specifier.contains(pinned[name]), name


def test_the_tested_set_installs_anywhere():
    for name, number in pins().items():
        assert number.local is None, f"{name}: a local build is on no index"


def test_the_version_stands_in_one_place():
    assert "version" not in PROJECT
    assert version("e2miseg-napari") == e2miseg_core.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {e2miseg_core.__version__}\n" in citation
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert e2miseg_core.__version__ in changelog


def test_every_runtime_package_is_in_the_notices_with_its_licence():
    text = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()]
    rows = [row for row in rows if len(row) == 4 and row[1][0].isdecimal()]
    licences = {name: licence for name, _, licence, _ in rows}
    assert {n: Version(number) for n, number, _, _ in rows}.items() <= pins().items()
    for requirement in requirements("gui"):
        assert licences[canonicalize_name(requirement.name)]
    for name, licence in licences.items():
        choices = [choice.strip() for choice in licence.split(" OR ")]
        assert any(not choice.startswith("GPL") for choice in choices), name


def test_it_says_what_it_is_not():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "not a medical device" in readme.lower()
    assert "The e2miseg-napari developers" in (ROOT / "LICENSE").read_text("utf-8")
    assert metadata("e2miseg-napari")["License-Expression"] == "BSD-3-Clause"


def test_no_file_names_a_place_on_somebodys_machine():
    # Written so that this file does not find itself.
    private = re.compile("/" + r"(?:root|work|Users)/")
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found = private.search(text)
        assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_make_knows_the_commands_people_type():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("env", "demo", "test", "lint", "bench", "clean"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for script in (ROOT / ".ci").iterdir():
        assert os.access(script, os.X_OK), script


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(*build, "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_packages_whole_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {name for name in names if ".dist-info/" not in name}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in tracked_files()
        if path.relative_to(ROOT).parts[0] in PACKAGES and path.exists()
    }
    assert wanted <= code
    assert {name.split("/")[0] for name in code} == set(PACKAGES)
    assert "e2miseg_napari/napari.yaml" in code
    info = f"e2miseg_napari-{e2miseg_core.__version__}.dist-info"
    assert f"{info}/licenses/LICENSE" in names
    assert f"{info}/licenses/THIRD_PARTY_NOTICES.md" in names
    assert f"{info}/entry_points.txt" in names
    assert not [name for name in code if "__pycache__" in name]


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that holds the wheel, not this checkout.

    The dependencies are this environment's, since installing them takes minutes.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", programs / "python"]
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    show = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = run(programs / "python", "-c", show, cwd=folder).strip()
    # A path in a .pth file comes after the wheel's own, and its .pth files (the
    # editable install of this checkout among them) are not followed.
    here = sysconfig.get_paths()["purelib"]
    Path(packages, "dependencies.pth").write_text(here, encoding="utf-8")
    return programs


@pytest.mark.slow
def test_the_wheel_runs_where_there_is_no_checkout(elsewhere, tmp_path):
    for package in PACKAGES:
        code = f"import {package}; print({package}.__file__)"
        file = run(elsewhere / "python", "-c", code, cwd=tmp_path).strip()
        assert Path(file).is_relative_to(elsewhere.parent)


@pytest.mark.slow
def test_doctor_finds_the_wheel_well(elsewhere, tmp_path):
    said = run(elsewhere / "e2miseg", "doctor", "--json", cwd=tmp_path)
    event = json.loads(said.splitlines()[-1])
    assert event["event"] == "result"
    found = {check["name"]: check for check in event["checks"]}
    for name in ("Packages", "Models", "Plugin"):
        assert found[name]["ok"] is True, found[name]


@pytest.mark.slow
def test_the_wheel_predicts(elsewhere, tmp_path):
    code = "from e2miseg_core.samples import sample_path; print(sample_path())"
    sample = run(elsewhere / "python", "-c", code, cwd=tmp_path).strip()
    assert Path(sample).is_relative_to(elsewhere.parent)
    image = nibabel.load(sample).slicer[:40, :40, :24]  # enough for a few tiles
    nibabel.save(image, tmp_path / "part.nii.gz")
    options = ["--model", "phantom-lesions", "-o", "labels.nii.gz"]
    run(elsewhere / "e2miseg", "predict", "part.nii.gz", *options, cwd=tmp_path)
    labels = nibabel.load(tmp_path / "labels.nii.gz")
    assert labels.shape == (40, 40, 24)
    np.testing.assert_allclose(labels.affine, image.affine, atol=1e-6)
