"""Who may import whom, and what stays unloaded until it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

import e2miseg_core

ROOT = Path(__file__).parents[1]
HEAVY = (
    "dask",
    "magicgui",
    "monai",
    "napari",
    "nibabel",
    "numpy",
    "qtpy",
    "scipy",
    "skimage",
    "torch",
    "zarr",
)


def loaded_after(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(HEAVY) & set(run.stdout.split())


def test_the_import_contracts_hold():
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_importing_the_core_loads_nothing_heavy():
    assert loaded_after("import e2miseg_core; dir(e2miseg_core)") == set()


@pytest.mark.parametrize(
    "module", ["fit", "geometry", "io", "model_card", "models", "samples", "volume"]
)
def test_what_the_viewer_uses_loads_no_torch(module):
    loaded = loaded_after(f"import e2miseg_core.{module}")
    assert not loaded & {"torch", "monai", "napari", "qtpy"}


def test_the_public_names_are_there():
    assert set(dir(e2miseg_core)) == set(e2miseg_core.__all__)
    for name in e2miseg_core.__all__:
        assert getattr(e2miseg_core, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segment'"):
        _ = e2miseg_core.segment
