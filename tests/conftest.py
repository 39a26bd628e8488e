"""What tests of both packages share."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from e2miseg_core.geometry import Geometry

# Tests assert correctness, never a clock time.
settings.register_profile("e2miseg", deadline=None)
settings.load_profile("e2miseg")

_displays: list[subprocess.Popen[str]] = []


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_configure_node(node: Any) -> None:
    """Give each process of tests a display: on one they would take the focus away."""
    if screen := os.environ.get("VIRTUAL_SCREEN"):
        node.workerinput["display"] = _start_display(screen)


def pytest_configure(config: pytest.Config) -> None:
    """Use the display of this process, where it has been given one."""
    if display := getattr(config, "workerinput", {}).get("display"):
        os.environ["DISPLAY"] = display


def pytest_unconfigure() -> None:
    """End the displays."""
    for server in _displays:
        server.terminate()
        server.wait()


def _start_display(screen: str) -> str:
    """Start a server, which chooses a free number, and wait until it serves."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", screen]
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(
            [*command, "-nolisten", "tcp"],
            stderr=said,
            text=True,
            pass_fds=[writing],
        )
        _displays.append(server)
        os.close(writing)
        with os.fdopen(reading) as told:
            number = told.readline()
        if not number:  # it has ended
            server.wait()
            said.seek(0)
            msg = f"no display with the screen {screen!r}: {said.read().strip()}"
            raise RuntimeError(msg)
    return f":{int(number)}"


SHARED_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep tests, and the processes that they start, away from the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("E2MISEG_CACHE_DIR", str(folder))
        patch.delenv("E2MISEG_CACHE_GB", raising=False)
        yield folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real volumes, which most machines do not have."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def make_geometry() -> Callable[[int, tuple[int, int, int]], Geometry]:
    """Make any geometry from a seed: turned, flipped, oblique, anisotropic."""

    def make(seed: int, shape: tuple[int, int, int]) -> Geometry:
        rng = np.random.default_rng(seed)
        axes = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        x, y, z = rng.normal(size=3)
        generator = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        generator *= rng.uniform(0, 0.5) / np.linalg.norm([x, y, z])
        # Cayley's transform makes an exact rotation of a skew matrix.
        rotation = np.linalg.solve(np.eye(3) + generator, np.eye(3) - generator)
        affine = np.eye(4)
        affine[:3, :3] = rotation @ axes * rng.uniform(0.2, 6, 3)
        affine[:3, 3] = rng.uniform(-300, 300, 3)
        return Geometry(shape=shape, affine=affine)

    return make
