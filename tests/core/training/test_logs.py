"""What a run leaves to look at: numbers, curves, pictures, TensorBoard."""

import csv
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.io import imread
from tensorboardX.proto.event_pb2 import Event

from e2miseg_core.training.curves import Curve, Panel, write_curves
from e2miseg_core.training.logs import COLUMNS, RunLog, clear_logs
from e2miseg_core.training.pictures import (
    CAPTION,
    ShownSlice,
    keep_newest,
    middle_slice,
    sample_picture,
    write_picture,
)

SVG = "{http://www.w3.org/2000/svg}"


def row(epoch: int, **values: float) -> dict[str, float | None]:
    return {name: values.get(name) for name in COLUMNS} | {"epoch": epoch}


def shown() -> ShownSlice:
    """A structure of 80 voxels, found 5 voxels away."""
    truth = np.zeros((20, 30), np.uint8)
    truth[4:12, 5:15] = 1
    predicted = np.roll(truth, 5, axis=1)
    return ShownSlice(
        image=np.linspace(0, 1, truth.size).reshape(truth.shape),
        truth=truth,
        predicted=predicted,
        error=(predicted != truth) * 1.0,
    )


def events(folder: Path) -> list[Event]:
    """What a TensorBoard folder holds: length, checksum, message, checksum."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_an_epoch_is_written_in_every_form(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.epoch(row(1, loss=0.5, learning_rate=0.1), None)
    log.epoch(row(2, loss=0.25, selection_dice=0.75), shown())
    log.close()
    lines = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [line["loss"] for line in lines] == ["0.5", "0.25"]
    assert [line["selection_dice"] for line in lines] == ["", "0.75"]
    assert imread(tmp_path / "pictures" / "epoch-00002.png").ndim == 3
    assert "selection_dice 0.75" in (tmp_path / "log.txt").read_text()
    told = [e for e in events(tmp_path / "tensorboard") if e.summary.value]
    values = {(e.step, v.tag): v.simple_value for e in told for v in e.summary.value}
    assert values[1, "loss"] == 0.5
    assert values[2, "selection_dice"] == 0.75
    assert any(v.tag == "sample" for e in told for v in e.summary.value)


def test_an_epoch_repeated_after_a_kill_stands_once(tmp_path: Path) -> None:
    for epochs in ((1, 2, 3), (3, 4)):  # the third was not in the checkpoint
        log = RunLog(tmp_path)
        for epoch in epochs:
            log.epoch(row(epoch, loss=1.0), None)
        log.close()
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4"]
    # TensorBoard hides what an earlier file tells from the step of such an event on.
    starts = [e for e in events(tmp_path / "tensorboard") if e.HasField("session_log")]
    assert [e.step for e in starts] == [1, 3]


def test_another_process_of_the_team_writes_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path, writes=False)
    log.say("something")
    log.epoch(row(1, loss=1.0), shown())
    log.close()
    assert not list(tmp_path.iterdir())


def test_beginning_anew_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.epoch(row(1, loss=1.0), shown())
    log.close()
    clear_logs(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_curve_goes_through_its_points(tmp_path: Path) -> None:
    curve = Curve(name="a < b", points=[(0, 1.0), (1, 3.0), (2, 2.0)])
    write_curves(tmp_path / "c.svg", [Panel(title="t", curves=[curve])])
    tree = ET.parse(tmp_path / "c.svg")
    (line,) = tree.iter(f"{SVG}polyline")
    points = np.array([p.split(",") for p in line.attrib["points"].split()], float)
    across = (points[:, 0] - points[0, 0]) / (points[2, 0] - points[0, 0])
    assert across == pytest.approx([0, 0.5, 1])
    up = (points[:, 1] - points[0, 1]) / (points[1, 1] - points[0, 1])
    assert up == pytest.approx([0, 1, 0.5])
    assert points[1, 1] < points[0, 1]  # up is larger
    assert "a < b" in [text.text for text in tree.iter(f"{SVG}text")]


def test_a_curve_of_one_or_no_point_is_drawn(tmp_path: Path) -> None:
    curves = [Curve(name="one", points=[(1, 1.0)]), Curve(name="none", points=[])]
    empty = Panel(title="empty", curves=[Curve(name="none", points=[])])
    write_curves(tmp_path / "c.svg", [Panel(title="t", curves=curves), empty])
    tree = ET.parse(tmp_path / "c.svg")
    assert len(list(tree.iter(f"{SVG}circle"))) == 1


def ticks(path: Path, kind: str) -> list[list[float]]:
    """Numbers at the axes of each panel."""
    return [
        [
            float(text.text or "")
            for text in panel.iter(f"{SVG}text")
            if text.get("class") == kind
        ]
        for panel in ET.parse(path).iter(f"{SVG}g")
    ]


def test_axes_have_round_numbers_and_the_same_whole_epochs(tmp_path: Path) -> None:
    loss = Curve(name="loss", points=[(n, 1.7 - n / 50) for n in range(1, 65)])
    dice = Curve(name="Dice", points=[(8, 0.62), (16, 0.97)])
    panels = [
        Panel(title="loss", curves=[loss]),
        Panel(title="Dice", curves=[dice], within=(0, 1)),
    ]
    write_curves(tmp_path / "c.svg", panels)
    assert ticks(tmp_path / "c.svg", "epoch") == [[20, 40, 60]] * 2
    assert ticks(tmp_path / "c.svg", "value") == [
        [0, 0.5, 1, 1.5, 2],
        [0.6, 0.7, 0.8, 0.9, 1],
    ]
    words = [text.text for text in ET.parse(tmp_path / "c.svg").iter(f"{SVG}text")]
    assert words.count("epoch") == 2


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(1, 3), st.booleans()
)
def test_every_point_lies_within_its_panel(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[float],
    first: int,
    bounded: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "bounds.svg"
    within = (0.0, 1.0) if bounded else (-np.inf, np.inf)
    curve = Curve(name="a", points=list(enumerate(values, start=first)))
    write_curves(path, [Panel(title="t", curves=[curve], within=within)])
    tree = ET.parse(path)
    text = [line.attrib["points"] for line in tree.iter(f"{SVG}polyline")]
    text += [f"{c.get('cx')},{c.get('cy')}" for c in tree.iter(f"{SVG}circle")]
    points = np.array([p.split(",") for p in text[0].split()], float)
    assert (points >= (64, 32)).all()
    assert (points <= (696, 196)).all()
    shown = ticks(path, "value")[0]
    assert len(shown) >= 1
    assert not bounded or (min(shown) >= 0 and max(shown) <= 1)
    assert all(epoch.is_integer() for epoch in ticks(path, "epoch")[0])


def whole_array_slice(truth: np.ndarray) -> int:
    """The definition, with all pieces of the volume at once."""
    parts, count = ndimage.label(truth > 0)
    if count == 0:
        return len(truth) // 2
    largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
    rows = np.flatnonzero((parts == largest).any(axis=(1, 2)))
    return int(rows[len(rows) // 2])


def test_the_slice_goes_through_the_largest_structure() -> None:
    truth = np.zeros((5, 20, 30), np.uint8)
    truth[2:4, 4:12, 5:15] = 1
    truth[0, :, :6] = 2  # more of them in a slice, fewer in all
    assert middle_slice(truth) == 3
    assert middle_slice(np.zeros((7, 4, 4), np.uint8)) == 3


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.2, 0.35, 0.5]))
def test_the_slice_is_that_of_the_whole_array(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    truth = (random.random(random.integers(1, 9, 3)) < share).astype(np.uint8)
    assert middle_slice(truth) == whole_array_slice(truth)


def test_the_picture_shows_image_truth_prediction_and_error() -> None:
    picture = sample_picture(shown())
    panels = picture[CAPTION:]
    factor = panels.shape[0] // 20
    width = 30 * factor
    starts = range(0, 4 * (width + 4), width + 4)
    image, truth, predicted, error = (
        panels[::factor, start : start + width : factor].astype(int) for start in starts
    )
    assert (np.ptp(image, axis=-1) == 0).all()
    assert (np.ptp(truth, axis=-1) > 0).sum() == 80
    coloured = np.ptp(predicted, axis=-1) > 0
    assert (coloured == np.roll(np.ptp(truth, axis=-1) > 0, 5, axis=1)).all()
    assert set(np.unique(error)) == {0, 255}
    assert (error[..., 0] == 255).sum() == 80
    for start in starts:  # a name in black on white, not cut off at the sides
        name = picture[:CAPTION, start : start + width]
        assert name.min() < 50
        assert (name[:, [0, -1]] == 255).all()


def test_only_the_newest_pictures_stay(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        write_picture(
            tmp_path / f"epoch-{number:05d}.png", np.zeros((4, 4, 3), np.uint8)
        )
    keep_newest(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "epoch-00002.png",
        "epoch-00010.png",
    ]
