"""What the set-up does on machines that lack something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "env", "grep", "head", "mktemp", "rm", "tail", "touch")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other systems bring what Qt needs"
)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder of programs for PATH: a Linux with a shell and little else."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in TOOLS:
        for place in ("/usr/bin", "/bin"):
            if Path(place, name).exists():
                (folder / name).symlink_to(Path(place, name))
                break
    add(folder, "uname", "echo Linux")
    add(folder, "ldconfig", "echo '  libGL.so.1 (libc6) => /lib/libGL.so.1'")
    add(folder, "id", "echo 1000")
    return folder


def add(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.unlink(missing_ok=True)
    program.write_text(f"#!/usr/bin/env bash\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def call(bare: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(bare), "HOME": str(bare)}
    return subprocess.run(
        ["bash", ROOT / ".ci" / script, *arguments],
        cwd=bare,
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_without_the_right_to_install_it_says_in_one_line_what_to(bare):
    done = call(bare, "system-packages")
    assert done.returncode == 0
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "sudo apt-get install -y" in line
    packages = line.split(" -y ")[1].split()
    assert {"libegl1", "libxcb-cursor0", "xvfb", "xauth", "python3-venv"} <= set(
        packages
    )
    assert "libgl1" not in packages  # the linker knows that one


def test_with_the_right_it_installs_just_what_is_missing(bare):
    add(bare, "id", "echo 0")
    add(bare, "apt-get", f'echo "$DEBIAN_FRONTEND $*" >> {bare}/log')
    done = call(bare, "system-packages")
    assert done.returncode == 0
    update, install = (bare / "log").read_text().splitlines()
    assert update.startswith("noninteractive update")
    assert " install -y " in install
    assert "--no-install-recommends" in install
    assert "libxcb-icccm4" in install.split()
    assert "libgl1" not in install.split()


def test_a_failing_apt_leaves_the_line_and_goes_on(bare):
    add(bare, "id", "echo 0")
    add(bare, "apt-get", "echo 'E: no network' >&2; exit 100")
    done = call(bare, "system-packages")
    assert done.returncode == 0
    assert "E: no network" in done.stderr
    assert "To install" in done.stderr.splitlines()[-1]


def test_no_display_and_no_virtual_one_is_told_in_one_line(bare):
    done = call(bare, "with-display", "touch", "ran")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no display")
    assert len(done.stderr.splitlines()) == 1
    assert not (bare / "ran").exists()


def test_a_virtual_display_is_preferred(bare):
    # Like the real one, it takes options and then the command.
    add(bare, "xvfb-run", 'echo "$QT_QPA_PLATFORM $*"')
    done = call(bare, "with-display", "touch", "ran")
    assert done.returncode == 0
    assert done.stdout.startswith("xcb -a -s")
    assert done.stdout.endswith("touch ran\n")


def test_a_python_that_is_too_old_is_told(bare):
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        add(bare, name, "exit 1")
    done = call(bare, "make-venv", "venv")
    assert done.returncode == 2
    assert "Python 3.11 or newer" in done.stderr
    assert not (bare / "venv").exists()


def test_the_scripts_parse():
    for script in (ROOT / ".ci").iterdir():
        done = subprocess.run(
            ["bash", "-n", script], check=False, capture_output=True, env=os.environ
        )
        assert done.returncode == 0, done.stderr
