"""Section "Volume": which image, and what it is."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from e2miseg_core.errors import E2MISegError
from e2miseg_napari.dialogs import (
    ask_volume_address,
    ask_volume_file,
    ask_volume_folder,
    ask_voxel_size,
)
from e2miseg_napari.images import (
    ImageChoice,
    describe_image,
    orientation_tip,
    with_voxel_size,
)
from e2miseg_napari.panels.parts import TextLine, heading
from e2miseg_napari.problems import problem_of
from e2miseg_napari.slicing import HINT, read_in_background, window_waits_for

__all__ = ["VolumeSection"]

_HOW_TO_BEGIN = (
    "Open a file, a folder or a URL here, or drop it on the window and choose E2MISeg "
    "as the reader if napari asks. To try it: File > Open Sample > E2MISeg."
)


class VolumeSection(QWidget):
    """Lets the user open a volume, or take an image layer that is there."""

    chosen = Signal()
    open_asked = Signal(str)  # an address
    resize_asked = Signal(object, object)  # the choice, its address with a voxel size
    labels_asked = Signal(object)  # the choice
    problem = Signal(object)  # Problem

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._choices: list[ImageChoice] = []
        self.box = QComboBox()
        self.box.setToolTip("Image layer to segment")
        self.box.setAccessibleName("Volume")
        self.box.setPlaceholderText("no volume yet")
        self.box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.box.currentIndexChanged.connect(self._on_chosen)
        self.button = QPushButton("Open")
        self.button.setToolTip(
            "Open NIfTI, NRRD, MetaImage, TIFF, HDF5, NumPy, DICOM, zarr or a URL"
        )
        menu = QMenu(self.button)
        menu.addAction("File…", self._ask_file)
        menu.addAction("Folder (DICOM, OME-Zarr, TIFF slices)…", self._ask_folder)
        menu.addAction("URL or address…", self._ask_address)
        self.button.setMenu(menu)
        self.resize_button = QPushButton("Set voxel size…")
        self.resize_button.setToolTip(
            "The file states none, so 1 mm is assumed: say what it is"
        )
        self.resize_button.clicked.connect(self._ask_voxel_size)
        self.labels_button = QPushButton("These are labels")
        self.labels_button.setToolTip(
            "Show this volume as a segmentation, on the same grid, not as an image"
        )
        self.labels_button.clicked.connect(self._on_labels)
        self.facts = TextLine()
        self.remarks = TextLine()
        self.background = QPushButton("Read slices in the background")
        self.background.setToolTip(HINT)
        self.background.clicked.connect(self._on_background)
        row = QHBoxLayout()
        row.addWidget(self.box, 1)
        row.addWidget(self.button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(heading("Volume"))
        column.addLayout(row)
        column.addWidget(self.facts)
        column.addWidget(self.resize_button)
        column.addWidget(self.labels_button)
        column.addWidget(self.remarks)
        column.addWidget(self.background)
        self._describe()

    @property
    def choice(self) -> ImageChoice | None:
        """The image chosen."""
        index = self.box.currentIndex()
        return self._choices[index] if 0 <= index < len(self._choices) else None

    def show_choices(self, choices: list[ImageChoice]) -> None:
        """Offer images; the chosen one stays, a new one is chosen."""
        before = self.choice
        known = {choice.layer for choice in self._choices}
        new = [choice.layer for choice in choices if choice.layer not in known]
        keep = new[-1] if new else (before.layer if before else None)
        layers = [choice.layer for choice in choices]
        self._choices = choices
        blocked = self.box.blockSignals(True)
        self.box.clear()
        self.box.addItems([choice.title for choice in choices])
        index = layers.index(keep) if keep in layers else len(layers) - 1
        self.box.setCurrentIndex(index)
        self.box.blockSignals(blocked)
        self._on_chosen()

    def choose(self, layer: object) -> None:
        """Choose the image that a layer belongs to, if it is offered."""
        for index, choice in enumerate(self._choices):
            if choice.layer is layer:
                self.box.setCurrentIndex(index)

    def _on_chosen(self, _index: int = 0) -> None:
        self._describe()
        self.chosen.emit()

    def _describe(self) -> None:
        choice = self.choice
        facts, remarks = describe_image(choice) if choice else (_HOW_TO_BEGIN, "")
        self.facts.setText(facts)
        self.facts.setVisible(bool(facts))
        self.facts.setToolTip(orientation_tip(choice) if choice else "")
        self.remarks.setText(remarks)
        self.remarks.setVisible(bool(remarks))
        self.resize_button.setVisible(bool(choice and choice.lacks_spacing))
        self.labels_button.setVisible(bool(choice and choice.looks_like_labels))
        self.background.setVisible(bool(choice and window_waits_for(choice.layer)))

    def _on_background(self) -> None:
        read_in_background()
        self._describe()

    def _ask_voxel_size(self) -> None:
        choice = self.choice
        text = "" if choice is None else ask_voxel_size(self, choice.title)
        if choice is None or not text:
            return
        try:
            address = with_voxel_size(choice.uri, text)
        except E2MISegError as error:
            self.problem.emit(problem_of(error))
        else:
            self.resize_asked.emit(choice, address)

    def _on_labels(self) -> None:
        if self.choice is not None:
            self.labels_asked.emit(self.choice)

    def _ask_file(self) -> None:
        if path := ask_volume_file(self):
            self.open_asked.emit(path)

    def _ask_folder(self) -> None:
        if path := ask_volume_folder(self):
            self.open_asked.emit(path)

    def _ask_address(self) -> None:
        if address := ask_volume_address(self):
            self.open_asked.emit(address)
