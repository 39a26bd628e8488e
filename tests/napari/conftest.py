"""Every test: own napari settings and folders; no worker is left behind."""

import gc
import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
import pytest

from e2miseg_napari.engine_client import EngineClient

HERE = Path(__file__).parent


@pytest.fixture(autouse=True, scope="session")
def folders_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Settings, installed models and projects of the user stay out of it."""
    folder = tmp_path_factory.mktemp("home")
    places = {
        "NAPARI_CONFIG": str(folder / "settings.yaml"),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HOME": str(folder),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, place in places.items():
            patch.setenv(name, place)
        yield


@pytest.fixture(autouse=True, scope="session")
def little_to_collect() -> None:
    """Keep modules and the like out of the collections to come.

    napari collects garbage whenever a layer goes, and each time would look through all
    that PyTorch and Qt have loaded, which takes longer than most tests. Only once:
    what tests leave must still be collected, or its leaking would not be seen.
    """
    importlib.import_module("napari.window")  # loads all of the viewer
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def collected_in_the_thread_of_qt() -> Iterator[None]:
    """Collect what the last test left here, and never where it happens to be due.

    That may be a thread, one that reads slices for instance: Qt's timers crash there.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def _children() -> set[int]:
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                found.add(child.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool], float], bool]:
    """Wait without Qt's event loop."""
    return _wait_for


@pytest.fixture
def children() -> Callable[[], set[int]]:
    """List this process's running descendants."""
    return _children


@pytest.fixture
def fake_worker() -> Path:
    """Script that speaks the protocol, and misbehaves as told."""
    return HERE / "fake_worker.py"


@pytest.fixture
def fake_client(qtbot, fake_worker) -> Iterator[Callable[[str], EngineClient]]:
    """Client of a fake worker in a given mode; all are ended after the test."""
    made: list[EngineClient] = []

    def make(mode: str) -> EngineClient:
        client = EngineClient([sys.executable, "-u", str(fake_worker), mode])
        made.append(client)
        return client

    yield make
    for client in made:
        client.kill()
    qtbot.wait(20)  # let Qt collect the ended processes


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model file with random weights, made by a process that may import torch."""
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    command = [sys.executable, str(HERE / "tiny_model.py"), str(path)]
    subprocess.run(command, check=True, timeout=240)
    return path


@pytest.fixture
def oblique_scan(tmp_path: Path) -> Path:
    """NIfTI file of (x, y, z) = (30, 40, 50), oblique, flipped, axes permuted."""
    generator = np.random.default_rng(3)
    values = generator.normal(100, 20, (30, 40, 50)).astype(np.int16)
    values[:4, :10, :20] += 400  # lopsided: a flip would show
    turn = np.deg2rad(20)
    rotation = np.array(
        [
            [np.cos(turn), -np.sin(turn), 0],
            [np.sin(turn), np.cos(turn), 0],
            [0, 0, 1],
        ]
    )
    axes = np.array([[0, 0, -0.8], [1.1, 0, 0], [0, 2.5, 0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ axes
    affine[:3, 3] = (12.5, -30.25, 7.75)
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    return path
