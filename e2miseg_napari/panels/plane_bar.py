"""Buttons for the plane on show."""

from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget

from e2miseg_napari.anatomical_view import AnatomicalView, Plane, plane_names

__all__ = ["PlaneBar"]

# Where a file does not say how it lies in a patient, planes are named by their axes.
_BARE_NAMES: dict[Plane, str] = {"axial": "XY", "coronal": "XZ", "sagittal": "YZ"}


class PlaneBar(QWidget):
    """One button a plane; the one on show is pressed.

    Parameters
    ----------
    view : AnatomicalView
    """

    def __init__(self, view: AnatomicalView) -> None:
        super().__init__()
        self._view = view
        self._group = QButtonGroup(self)
        self.buttons: dict[Plane, QPushButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for plane in plane_names():
            button = QPushButton()
            button.setCheckable(True)
            button.clicked.connect(lambda _checked, plane=plane: self._show(plane))
            self._group.addButton(button)
            self.buttons[plane] = button
            row.addWidget(button, 1)
        view.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Press the button of the plane on show; none in three dimensions."""
        self.setVisible(self._view.has_volume)
        self._group.setExclusive(False)  # else the last one pressed stays pressed
        for plane, button in self.buttons.items():
            title = plane.capitalize() if self._view.is_on else _BARE_NAMES[plane]
            button.setText(title)
            button.setToolTip(f"Show the {title} plane through the same point")
            button.setChecked(self._view.plane == plane)
        self._group.setExclusive(self._view.plane is not None)

    def _show(self, plane: Plane) -> None:
        self._view.show_plane(plane)
        self.refresh()
