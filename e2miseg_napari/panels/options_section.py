"""Part "Options": device and mirroring, closed at first."""

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from e2miseg_napari.panels.parts import collapsible
from e2miseg_napari.predicting import Options

__all__ = ["OptionsSection"]

_DEVICES = {
    "auto": "automatic",
    "cpu": "CPU",
    "cuda": "NVIDIA GPU (CUDA)",
    "mps": "Apple GPU (MPS)",
}


class OptionsSection(QWidget):
    """How to predict."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.device = QComboBox()
        self.device.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.device.setToolTip("Where the network runs")
        self.mirror = QCheckBox("more careful, 8 times slower")
        self.mirror.setToolTip(
            "Predict the volume in all 8 mirrored ways and average: a little better"
        )
        form_holder = QWidget()
        form = QFormLayout(form_holder)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Device", self.device)
        form.addRow("Mirroring", self.mirror)
        self.fold = collapsible("Options")
        self.fold.addWidget(form_holder)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.fold)
        self.show_device("")

    @property
    def options(self) -> Options:
        """What is chosen."""
        device = str(self.device.currentData() or "auto")
        return Options(device=device, mirror=self.mirror.isChecked())

    def show_device(self, automatic: str) -> None:
        """Offer the devices there are.

        Parameters
        ----------
        automatic : str
            What the engine would take, empty where it has not said so. A GPU that it
            does not take by itself does not work here.
        """
        chosen = self.device.currentData() or "auto"
        kind = automatic.partition(":")[0]
        others = {"": ["cuda"], "cpu": []}.get(kind, [kind])
        offered = ["auto", "cpu", *others]
        self.device.clear()
        for name in offered:
            title = _DEVICES.get(name, name)
            if name == "auto" and kind:
                title += f": {_DEVICES.get(kind, kind)}"
            self.device.addItem(title, name)
        self.device.setCurrentIndex(max(0, self.device.findData(chosen)))
