"""All findings in one list."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from e2miseg_core.doctor.check import Check, probe
from e2miseg_core.doctor.computer import computer_checks
from e2miseg_core.doctor.copies import cache_check
from e2miseg_core.doctor.device import TORCH_PROBE, device_checks
from e2miseg_core.doctor.installed_models import model_checks
from e2miseg_core.doctor.window import (
    PLUGIN_PROBE,
    QT_PROBE,
    has_display,
    napari_check,
    plugin_check,
    qt_checks,
)

__all__ = ["checks", "works"]


def checks() -> list[Check]:
    """Look at this computer.

    Returns
    -------
    list of Check
        In the order in which a report shows them. Takes a few seconds, most of
        them for starting torch.
    """
    with ThreadPoolExecutor() as children:
        torch = children.submit(probe, *TORCH_PROBE)
        plugin = children.submit(probe, *PLUGIN_PROBE)
        hidden = {"QT_QPA_PLATFORM": "offscreen", "QT_DEBUG_PLUGINS": "1"}
        qt = children.submit(probe, *QT_PROBE, environment=hidden)
        shown = {"QT_DEBUG_PLUGINS": "1"}  # names the libraries that are missing
        display = (
            children.submit(probe, *QT_PROBE, environment=shown)
            if has_display()
            else None
        )
        return [
            *computer_checks(),
            cache_check(),
            *device_checks(torch.result()),
            *model_checks(torch.result()),
            *qt_checks(qt.result(), None if display is None else display.result()),
            napari_check(),
            plugin_check(plugin.result()),
        ]


def works(found: Iterable[Check]) -> bool:
    """Whether prediction works here: nothing that it needs is broken.

    Parameters
    ----------
    found : iterable of Check

    Returns
    -------
    bool
    """
    return not any(check.ok is False and check.needed for check in found)
