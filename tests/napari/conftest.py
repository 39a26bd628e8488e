"""Every test: own napari settings, no leftover process of a worker."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from e2miseg_napari.engine_client import EngineClient


def _wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition about other processes comes true within some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def _children() -> set[int]:
    """Descendants of the test's process that really run."""
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
    """Script that speaks the protocol."""
    return Path(__file__).with_name("fake_worker.py")


@pytest.fixture(autouse=True, scope="session")
def napari_settings_of_our_own(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    before = os.environ.get("NAPARI_CONFIG")
    folder = tmp_path_factory.mktemp("napari-settings")
    os.environ["NAPARI_CONFIG"] = str(folder / "settings.yaml")
    yield
    if before is None:
        del os.environ["NAPARI_CONFIG"]
    else:
        os.environ["NAPARI_CONFIG"] = before


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
