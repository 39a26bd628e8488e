"""Opening in threads: what is told while it goes on, chosen, cancelled, refused."""

import threading

import pytest
from napari.utils import progress
from qtpy.QtWidgets import QWidget

from e2miseg_core.errors import Choice, ChoiceError, ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.progress import Progress
from e2miseg_napari import choosing, volume_opening
from e2miseg_napari.volume_opening import VolumeOpening


@pytest.fixture
def opening(qtbot):
    parent = QWidget()  # not qtbot's, which would delete it before the threads end
    made = VolumeOpening(parent)
    yield made
    made.cancel()
    qtbot.waitUntil(lambda: not made.busy, timeout=10_000)
    qtbot.waitUntil(lambda: not made._background.busy, timeout=10_000)
    parent.deleteLater()


@pytest.fixture
def go() -> threading.Event:
    return threading.Event()


def bars() -> list[tuple[str, int, int]]:
    """What the activity dock shows: words, part and whole."""
    return [
        (bar.desc.removesuffix(": "), bar.n, bar.total)
        for bar in progress._all_instances
    ]


def test_the_dock_shows_how_far_it_is(opening, go, qtbot, monkeypatch):
    def load(address, report, cancelled):
        report(Progress(done=3, total=4, stage="unpacking"))
        go.wait(10)
        return [address, cancelled()]

    monkeypatch.setattr(volume_opening, "load_layers", load)
    notices = []
    opening.notice.connect(notices.append)
    opening.open("away/scan.h5#part=/raw")
    assert notices == ["Opening scan.h5 (/raw)…"]
    qtbot.waitUntil(lambda: bars() == [("unpacking", 750, 1000)], timeout=10_000)
    with qtbot.waitSignal(opening.opened) as opened:
        go.set()
    assert opened.args == [[Address("away/scan.h5", "/raw"), False]]
    assert notices[-1] == ""
    assert not bars()


def test_a_cancelled_volume_is_forgotten_at_once(opening, go, qtbot, monkeypatch):
    asked = []

    def load(address, report, cancelled):
        go.wait(10)
        asked.append(cancelled())
        return [address]

    monkeypatch.setattr(volume_opening, "load_layers", load)
    opened = []
    opening.opened.connect(opened.append)
    opening.open("scan.nii")
    (bar,) = progress._all_instances
    bar.is_canceled = True  # as the dock's button does
    qtbot.waitUntil(lambda: not opening.busy, timeout=10_000)
    assert not bars()
    go.set()
    qtbot.waitUntil(lambda: asked == [True], timeout=10_000)
    qtbot.waitUntil(lambda: not opening._background.busy, timeout=10_000)
    assert opened == []


def test_of_several_the_chosen_ones_are_opened(opening, qtbot, monkeypatch):
    choices = (Choice("1", "CT"), Choice("2", "PT"), Choice("3", "SEG"))

    def load(address, report, cancelled):
        if not address.part:
            raise ChoiceError.among(address, "series", choices)
        return [address.part]

    monkeypatch.setattr(volume_opening, "load_layers", load)
    monkeypatch.setattr(choosing, "ask_choices", lambda *_: choices[1:])
    opened = []
    opening.opened.connect(lambda layers: opened.extend(layers))
    opening.open("study")
    qtbot.waitUntil(lambda: len(opened) == 2, timeout=10_000)
    assert sorted(opened) == ["2", "3"]


@pytest.mark.parametrize("address", ["scan.nii", "scan.nii#frame=two"])
def test_what_is_wrong_is_one_line(opening, qtbot, monkeypatch, address):
    def load(address, report, cancelled):
        raise ReadError(found="a scan.nii", needed="another", do="get it")

    monkeypatch.setattr(volume_opening, "load_layers", load)
    with qtbot.waitSignal(opening.problem) as told:
        opening.open(address)
    (problem,) = told.args
    assert "scan.nii" in problem.line
    assert not problem.details


def test_cancelling_counts_though_the_thread_ends_at_once(
    opening, go, qtbot, monkeypatch
):
    def load(address, report, cancelled):
        go.wait(10)
        return [address]

    monkeypatch.setattr(volume_opening, "load_layers", load)
    opened = []
    opening.opened.connect(opened.append)
    opening.open("scan.nii")
    opening.cancel()
    go.set()  # sooner than anybody looks whether it was cancelled
    qtbot.waitUntil(lambda: not opening._background.busy, timeout=10_000)
    assert opened == []
    assert not opening.busy


def test_nothing_is_asked_after_cancelling(opening, go, qtbot, monkeypatch):
    def load(address, report, cancelled):
        go.wait(10)
        raise ChoiceError.among(address, "series", (Choice("1", "CT"),) * 2)

    asked = []
    monkeypatch.setattr(volume_opening, "load_layers", load)
    monkeypatch.setattr(choosing, "ask_choices", lambda *_: asked.append(1) or [])
    opening.open("study")
    opening.cancel()
    go.set()
    qtbot.waitUntil(lambda: not opening._background.busy, timeout=10_000)
    assert asked == []


def test_an_answer_after_cancelling_opens_nothing(opening, qtbot, monkeypatch):
    loaded = []

    def load(address, report, cancelled):
        loaded.append(address.part)
        raise ChoiceError.among(address, "series", (Choice("1", "CT"),) * 2)

    def ask(*_):
        opening.cancel()
        return [Choice("1", "CT")]

    monkeypatch.setattr(volume_opening, "load_layers", load)
    monkeypatch.setattr(choosing, "ask_choices", ask)
    opening.open("study")
    qtbot.waitUntil(lambda: not opening._background.busy, timeout=10_000)
    assert loaded == [""]
    assert not opening.busy
