from qtpy.QtGui import QColor

from e2miseg_napari.panels.done_bar import DoneBar

GREEN = QColor("#3fa34d")


def test_a_quarter_done_is_a_quarter_green(qtbot):
    bar = DoneBar()
    qtbot.addWidget(bar)
    bar.setRange(0, 4)
    bar.setValue(1)
    bar.resize(100, bar.height())
    drawn = bar.grab().toImage()
    middle = drawn.height() // 2
    colors = [drawn.pixelColor(x, middle) for x in range(drawn.width())]
    assert sum(color == GREEN for color in colors) == drawn.width() // 4
    assert colors[0] == GREEN
    assert drawn.height() >= 10  # no hairline
