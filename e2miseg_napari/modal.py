"""Dialogs that wait for an answer, whatever becomes of their window meanwhile."""

from collections.abc import Callable
from typing import TypeVar

from qtpy.compat import isalive
from qtpy.QtWidgets import QDialog, QWidget

__all__ = ["run_dialog"]

D = TypeVar("D", bound=QDialog)


def run_dialog(make: Callable[[], D], parent: QWidget) -> D | None:
    """Show a dialog until it is answered; return it if it was accepted.

    Parameters
    ----------
    make : callable
        Makes the dialog.
    parent : QWidget
        Its window. None is the answer once that is gone, and the dialog with it.
    """
    if not isalive(parent):
        return None
    dialog = make()
    answer = dialog.exec()
    if not isalive(dialog):
        return None
    dialog.deleteLater()  # when control is back in the event loop: it can be read
    return dialog if answer == QDialog.DialogCode.Accepted else None
