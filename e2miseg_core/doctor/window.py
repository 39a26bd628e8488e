"""What the window needs: Qt and its system libraries, a display, napari, the plugin."""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

from e2miseg_core.doctor.check import Check, Probe
from e2miseg_core.doctor.computer import DISTRIBUTION, requirements

__all__ = [
    "PLUGIN_PROBE",
    "QT_PROBE",
    "has_display",
    "missing_packages",
    "napari_check",
    "plugin_check",
    "qt_checks",
]

# Run by name, in a child: the core itself knows neither Qt nor napari.
QT_PROBE = ("-m", "e2miseg_napari.qt_probe", "qt")
PLUGIN_PROBE = ("-m", "e2miseg_napari.qt_probe", "plugin")
INSTALL_GUI = f'run: {sys.executable} -m pip install "{DISTRIBUTION}[gui]"'

# Debian and Ubuntu package of each library that Qt's wheels leave to the system.
DEBIAN_PACKAGES = {
    "libEGL": "libegl1",
    "libGL": "libgl1",
    "libOpenGL": "libopengl0",
    "libX11-xcb": "libx11-xcb1",
    "libdbus-1": "libdbus-1-3",
    "libfontconfig": "libfontconfig1",
    "libglib-2.0": "libglib2.0-0",
    "libgthread-2.0": "libglib2.0-0",
    "libxcb-cursor": "libxcb-cursor0",
    "libxcb-icccm": "libxcb-icccm4",
    "libxcb-image": "libxcb-image0",
    "libxcb-keysyms": "libxcb-keysyms1",
    "libxcb-randr": "libxcb-randr0",
    "libxcb-render-util": "libxcb-render-util0",
    "libxcb-shape": "libxcb-shape0",
    "libxcb-xfixes": "libxcb-xfixes0",
    "libxcb-xkb": "libxcb-xkb1",
    "libxkbcommon": "libxkbcommon0",
    "libxkbcommon-x11": "libxkbcommon-x11-0",
}


def has_display() -> bool:
    """Whether a window could appear somewhere."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def missing_packages(complaint: str) -> list[str]:
    """Debian packages of the libraries that a loader said it cannot open.

    Parameters
    ----------
    complaint : str
        Standard error of a program that Qt or the linker ended.

    Returns
    -------
    list of str
        In alphabetical order; a library without a known package by its own name.
    """
    pattern = r"(lib[\w.+-]+?)\.so[.\d]*: cannot open shared object"
    libraries = re.findall(pattern, complaint)
    return sorted({DEBIAN_PACKAGES.get(name, f"{name}.so") for name in libraries})


def qt_checks(said: Probe, on_display: Probe | None) -> list[Check]:
    """Findings about Qt and the display.

    Parameters
    ----------
    said : Probe
        What the child of `QT_PROBE` said without a display.
    on_display : Probe or None
        What it said with the display that is there; None where there is none.

    Returns
    -------
    list of Check
    """
    if not said.facts:
        return [_no_qt(said.complaint)]
    checks = [_binding(f"{said.facts['binding']} {said.facts['version']}")]
    if on_display is None:
        checks.append(
            Check(
                name="Display",
                ok=None,
                found="none; the window cannot open here, all else works",
                do="work at the computer's own desktop, or log in with ssh -X",
                needed=False,
            )
        )
    else:
        checks.append(_display(on_display))
    return checks


def _no_qt(complaint: str) -> Check:
    packages = missing_packages(complaint)
    if packages:
        return Check(
            name="Qt",
            ok=False,
            found="cannot load its system libraries",
            do=f"run: sudo apt-get install -y {' '.join(packages)}",
            needed=False,
        )
    lines = complaint.splitlines() or ["no answer"]
    absent = "QtBindingsNotFound" in complaint or "No module named" in complaint
    return Check(
        name="Qt",
        ok=None if absent else False,
        found="not installed" if absent else f"does not start: {lines[-1]}",
        do=INSTALL_GUI,
        needed=False,
    )


def _display(said: Probe) -> Check:
    if said.facts.get("opengl"):
        found = f"{said.facts['platform']}, OpenGL by {said.facts['renderer']}"
        return Check(name="Display", ok=True, found=found, needed=False)
    if said.facts:
        return Check(
            name="Display",
            ok=False,
            found="a window opens, but without OpenGL",
            do="install a graphics driver; on Linux without a graphics card run: "
            "sudo apt-get install -y libgl1-mesa-dri",
            needed=False,
        )
    packages = missing_packages(said.complaint)
    if packages:
        remedy = f"run: sudo apt-get install -y {' '.join(packages)}"
    else:
        remedy = "check that DISPLAY names a display that you may use"
    return Check(
        name="Display",
        ok=False,
        found="Qt cannot open a window there",
        do=remedy,
        needed=False,
    )


def napari_check() -> Check:
    """Whether a fitting napari is installed.

    Returns
    -------
    Check
    """
    requirement, installed = _from_gui("napari")
    if installed is None:
        return Check(
            name="napari", ok=None, found="not installed", do=INSTALL_GUI, needed=False
        )
    return _in_range("napari", requirement, installed, installed)


def _binding(found: str) -> Check:
    """Qt that starts; ours has to be in range, another binding is taken as it is."""
    requirement, installed = _from_gui("pyside6-essentials")
    if installed is None:
        return Check(name="Qt", ok=True, found=found, needed=False)
    return _in_range("Qt", requirement, installed, found)


def _from_gui(name: str) -> tuple[Requirement, str | None]:
    return next(pair for pair in requirements("gui") if pair[0].name == name)


def _in_range(name: str, requirement: Requirement, installed: str, found: str) -> Check:
    if requirement.specifier.contains(installed, prereleases=True):
        return Check(name=name, ok=True, found=found, needed=False)
    wanted = f"{requirement.name}{requirement.specifier}"
    return Check(
        name=name,
        ok=False,
        found=f"{found}; the window needs {requirement.specifier}",
        do=f'run: {sys.executable} -m pip install "{wanted}"',
        needed=False,
    )


def plugin_check(said: Probe) -> Check:
    """Whether napari would find the plugin.

    Parameters
    ----------
    said : Probe
        What the child of `PLUGIN_PROBE` said.

    Returns
    -------
    Check
    """
    if said.facts:
        found = f"found by napari, {said.facts['commands']} commands"
        return Check(name="Plugin", ok=True, found=found, needed=False)
    lines = said.complaint.splitlines() or ["no answer"]
    try:
        version("npe2")
    except PackageNotFoundError:
        return Check(
            name="Plugin",
            ok=None,
            found="napari is not installed",
            do=INSTALL_GUI,
            needed=False,
        )
    return Check(
        name="Plugin",
        ok=False,
        found=f"napari does not find it: {lines[-1]}",
        do=f"run: {sys.executable} -m pip install --force-reinstall --no-deps "
        f"{DISTRIBUTION}",
        needed=False,
    )
