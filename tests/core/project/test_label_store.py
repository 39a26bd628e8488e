"""Laws of the label store, against a plain model in numpy."""

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from e2miseg_core.boxes import Box, box_slices, make_box
from e2miseg_core.errors import Cancelled, ConfigError
from e2miseg_core.progress import run
from e2miseg_core.project import (
    ACCEPTED,
    HUMAN,
    Case,
    LabelStore,
    Project,
    ProjectInUse,
)

SHAPE = (20, 70, 530)  # three levels, odd sizes, several chunks


@dataclass
class Model:
    """What the store should hold: the human's word over the prediction."""

    prediction: NDArray[np.uint8]
    human: NDArray[np.uint8]
    authority: NDArray[np.uint8]
    done: list[Any] = field(default_factory=list)
    undone: list[Any] = field(default_factory=list)

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> "Model":
        return cls(*(np.zeros(shape, np.uint8) for _ in range(3)))

    @property
    def labels(self) -> NDArray[np.uint8]:
        return np.where(self.authority > 0, self.human, self.prediction)

    def remember(self) -> None:
        self.done.append((self.human.copy(), self.authority.copy()))
        self.undone.clear()

    def write(self, box: Box, labels: Any) -> None:
        inside = box_slices(box)
        differs = self.labels[inside] != labels
        np.copyto(self.human[inside], labels, where=differs, casting="unsafe")
        self.authority[inside][differs] = HUMAN

    def vouch(self, box: Box, mask: Any, authority: int) -> None:
        inside = box_slices(box)
        np.copyto(self.human[inside], self.labels[inside], where=mask)
        self.authority[inside][mask] = authority

    def step(self, source: list[Any], target: list[Any]) -> None:
        if source:
            target.append((self.human.copy(), self.authority.copy()))
            self.human, self.authority = source.pop()


def random_box(rng: np.random.Generator, shape: tuple[int, ...] = SHAPE) -> Box:
    size = [int(rng.integers(1, 1 + min(n, 40))) for n in shape]
    if rng.random() < 0.7:
        size[rng.integers(3)] = 1  # painted in a plane
    start = [int(rng.integers(0, n - s + 1)) for n, s in zip(shape, size, strict=True)]
    return make_box(start, size)


def check(store: LabelStore, model: Model) -> None:
    labels = np.asarray(store.levels[0])
    np.testing.assert_array_equal(np.asarray(store.authority), model.authority)
    np.testing.assert_array_equal(labels, model.labels)
    for level, volume in enumerate(store.levels[1:], start=1):
        check_level(labels, np.asarray(volume), 2**level)


def check_level(finest: NDArray[Any], coarse: NDArray[Any], factor: int) -> None:
    """Every coarse voxel has the label of some voxel of its block."""
    pad = [(0, n * factor - m) for n, m in zip(coarse.shape, finest.shape, strict=True)]
    filled = np.pad(finest, pad, mode="edge")
    found = np.zeros(coarse.shape, bool)
    for z, y, x in np.ndindex(factor, factor, factor):
        found |= filled[z::factor, y::factor, x::factor] == coarse
    assert found.all()


def edit_at_random(rng: np.random.Generator, store: LabelStore, model: Model) -> None:
    """One random step of undo, on both."""
    kind = rng.choice(["write", "paint", "stroke", "accept", "truth"])
    box = random_box(rng)
    size = [high - low for low, high in box]
    label = int(rng.choice([0, 2, 7]))
    before = model.human.copy(), model.authority.copy()
    if kind == "write":
        store.levels[0][box_slices(box)] = label
        model.write(box, label)
    elif kind == "paint":
        mask = rng.random(size) < 0.5
        values = rng.choice([0, 2, 7], size if rng.random() < 0.5 else [])
        store.paint(box, mask, values)
        inside = box_slices(box)
        np.copyto(model.human[inside], values, where=mask, casting="unsafe")
        model.authority[inside][mask] = HUMAN
    elif kind == "stroke":
        with store.stroke("brush"):
            for _ in range(4):
                box = random_box(rng)
                values = rng.choice([0, 2, 7], [high - low for low, high in box])
                store.levels[0][box_slices(box)] = values
                model.write(box, values)
    elif kind == "accept":
        store.accept(box)
        model.vouch(box, model.authority[box_slices(box)] == 0, ACCEPTED)
    else:
        values = rng.choice(np.array([0, 2, 7], np.uint8), size)
        store.set_truth(box, values)
        inside = box_slices(box)
        if not (
            (model.labels[inside] == values) & (model.authority[inside] == 1)
        ).all():
            model.human[inside] = values
            model.authority[inside] = HUMAN
    after = model.human, model.authority
    if any((a != b).any() for a, b in zip(before, after, strict=True)):
        model.done.append(before)
        model.undone.clear()


@pytest.mark.parametrize("seed", range(4))
def test_random_edits_agree_with_the_model(
    seed: int,
    make_case: Callable[..., Case],
    predict: Any,
    project: Project,
    tmp_path: Path,
    locked: None,
) -> None:
    rng = np.random.default_rng(seed)
    case, model = make_case(SHAPE), Model.empty(SHAPE)
    store = case.open_labels()
    for step in range(45):
        action = rng.random()
        if action < 0.5:
            edit_at_random(rng, store, model)
        elif action < 0.7:
            store.undo()
            model.step(model.done, model.undone)
        elif action < 0.8:
            store.redo()
            model.step(model.undone, model.done)
        elif action < 0.9:
            prediction, model.prediction = predict(case, 10 * seed + step)
            run(store.merge(prediction))
        elif action < 0.95:
            store.close()
            store = case.open_labels()
        else:
            check_copy_of_now(project, store, model, tmp_path / f"{step}.e2m")
        if step % 5 == 0:
            check(store, model)
    check(store, model)
    while model.done:
        store.undo()
        model.step(model.done, model.undone)
    check(store, model)
    assert store.undo() is None
    store.close()


def check_copy_of_now(
    project: Project, store: LabelStore, model: Model, path: Path
) -> None:
    """What is on disk at any moment opens to what the store holds."""
    while store.saved_seq < store.seq:
        pass  # the journal's thread needs no button
    shutil.copytree(project.path, path, ignore=shutil.ignore_patterns("lock"))
    copy = Project.open(path)
    with copy.lock(), copy.case("case").open_labels() as again:
        check(again, model)
        mine, its = store._journal.strokes, again._journal.strokes
        assert (mine.done, mine.undone) == (its.done, its.undone)


def test_an_edit_on_any_plane_shows_at_all_levels(
    make_case: Callable[..., Case], locked: None
) -> None:
    case = make_case((13, 40, 530))
    with case.open_labels() as store:
        for axis, n in enumerate((13, 40, 530)):
            for plane in {0, 1, 6, n - 2, n - 1}:
                key: list[Any] = [slice(0, 12), slice(4, 30), slice(100, 120)]
                key[axis] = plane
                for label in (7, 0):  # drawn, then erased
                    store.levels[0][tuple(key)] = label
                    for level, volume in enumerate(store.levels):
                        coarse = [
                            k >> level
                            if isinstance(k, int)
                            else slice(k.start >> level, (k.stop - 1 >> level) + 1)
                            for k in key
                        ]
                        assert (np.asarray(volume[tuple(coarse)]) == label).all()


def test_undo_across_a_merge_gives_the_current_prediction(
    make_case: Callable[..., Case], predict: Any, locked: None
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        first, _ = predict(case, 1)
        run(store.merge(first))
        with store.stroke("brush"):
            store.paint(((2, 3), (3, 6), (1, 9)), np.ones((1, 3, 8), bool), 2)
            store.levels[0][2, 3:6, 1:9] = 7
        second, labels = predict(case, 2)
        run(store.merge(second))
        assert case.merged is not None
        assert case.merged.number == 2
        assert (np.asarray(store.levels[0][2, 3:6, 1:9]) == 7).all()
        assert store.undo() is not None
        np.testing.assert_array_equal(np.asarray(store.levels[0]), labels)
        assert not np.asarray(store.authority).any()
        assert store.redo() is not None
        assert (np.asarray(store.levels[0][2, 3:6, 1:9]) == 7).all()


def test_undo_has_no_limit_and_survives_reopening(
    make_case: Callable[..., Case], locked: None
) -> None:
    case = make_case((6, 8, 10))
    rng = np.random.default_rng(0)
    states = []
    with case.open_labels() as store:
        for number in range(250):
            state, seq = np.asarray(store.levels[0]), store.seq
            box = random_box(rng, (6, 8, 10))
            store.set_truth(box, np.full([h - lo for lo, h in box], number % 8))
            if store.seq > seq:
                states.append(state)
    assert len(states) > 200
    with case.open_labels() as store:
        for state in reversed(states[1:]):
            store.undo()
            np.testing.assert_array_equal(np.asarray(store.levels[0]), state)
    with case.open_labels() as store:
        store.undo()
        assert store.undo() is None
        assert not np.asarray(store.authority).any()


def test_a_stroke_is_one_step_and_an_aborted_one_is_none(
    make_case: Callable[..., Case], steps: Any, locked: None
) -> None:
    told: list[Box] = []
    with make_case((6, 8, 10)).open_labels() as store:
        store.changed.append(told.append)
        with store.stroke("brush"):
            store.levels[0][1, 2:4, 3] = 2
            store.levels[0][1, 3:6, 3] = 7
        assert told == []  # a viewer that paints knows
        assert steps(store) == (["brush"], [])
        with pytest.raises(IndexError), store.stroke("polygon"):
            store.levels[0][1] = store.levels[0][99]  # not reached: outside
        store.begin_stroke("polygon")
        store.levels[0][1] = 2
        store.abort_stroke()
        assert told == [((1, 2), (0, 8), (0, 10))]
        assert steps(store) == (["brush"], [])
        assert np.asarray(store.levels[0]).sum() == 2 + 3 * 7
        assert store.undo() == ((1, 2), (2, 6), (3, 4))
        assert not np.asarray(store.levels[0]).any()
        assert steps(store) == ([], ["brush"])
        store.begin_stroke("empty")
        store.end_stroke()
        assert steps(store) == ([], ["brush"])  # nothing was done


def test_only_voxels_whose_label_changes_become_a_humans(
    make_case: Callable[..., Case], predict: Any, locked: None
) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        prediction, labels = predict(case, 4)
        run(store.merge(prediction))
        store.levels[0][3] = 7
        np.testing.assert_array_equal(np.asarray(store.authority[3]), labels[3] != 7)
        store.paint(((3, 4), (0, 8), (0, 10)), np.ones((1, 8, 10), bool), 7)
        assert (np.asarray(store.authority[3]) == HUMAN).all()
        store.accept(((2, 99), (0, 99), (0, 99)))  # clipped
        assert (np.asarray(store.authority[3]) == HUMAN).all()
        assert (np.asarray(store.authority[4:]) == ACCEPTED).all()
        np.testing.assert_array_equal(np.asarray(store.levels[0][4:]), labels[4:])


@pytest.mark.parametrize("label", [2, 7], ids=["another label", "the label it had"])
def test_painting_during_a_merge_means_the_painted_voxels_only(
    label: int,
    make_case: Callable[..., Case],
    predict: Any,
    locked: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = make_case((6, 8, 10))
    box = make_box((1, 2, 3), (3, 4, 5))
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 1:3, 2] = True
    with case.open_labels() as store:
        store.set_truth(make_box((0, 0, 0), (6, 8, 10)), np.full((6, 8, 10), 7))
        store.undo()
        prediction, labels = predict(case, 5)
        load = store._arrays.load

        def merge_first(where: Box) -> None:
            monkeypatch.setattr(store._arrays, "load", load)
            run(store.merge(prediction))
            load(where)

        monkeypatch.setattr(store._arrays, "load", merge_first)
        store.paint(box, mask, label)
        expected = labels.copy()
        expected[box_slices(box)][mask] = label
        np.testing.assert_array_equal(np.asarray(store.levels[0]), expected)
        painted = np.zeros_like(labels)
        painted[box_slices(box)][mask] = HUMAN
        np.testing.assert_array_equal(np.asarray(store.authority), painted)
        store.undo()
        np.testing.assert_array_equal(np.asarray(store.levels[0]), labels)
        assert not np.asarray(store.authority).any()


def test_painting_again_what_is_a_humans_is_no_edit(
    make_case: Callable[..., Case], locked: None
) -> None:
    box, mask = make_box((1, 2, 3), (1, 2, 2)), np.ones((1, 2, 2), bool)
    with make_case((6, 8, 10)).open_labels() as store:
        store.paint(box, mask, [[[2, 2], [7, 0]]])
        assert np.asarray(store.levels[0])[1, 2:4, 3:5].tolist() == [[2, 2], [7, 0]]
        assert np.asarray(store.authority).sum() == 4
        store.paint(box, mask, [[[2, 2], [7, 0]]])
        store.paint(box, ~mask, 7)
        assert store.seq == 1
        store.accept(make_box((0, 0, 0), (6, 8, 10)))
        store.paint(make_box((5, 5, 5), (1, 2, 2)), mask, 0)
        assert (np.asarray(store.authority[5, 5:7, 5:7]) == HUMAN).all()


def test_accepting_during_a_drag_cuts_the_stroke_in_two(
    make_case: Callable[..., Case], steps: Any, locked: None
) -> None:
    dot = np.ones((1, 1, 1), bool)
    with make_case((6, 8, 10)).open_labels() as store:
        store.begin_stroke("brush")
        store.paint(make_box((1, 1, 1), (1, 1, 1)), dot, 2)
        store.accept(make_box((4, 0, 0), (1, 8, 10)))
        for x in range(2, 6):
            store.paint(make_box((1, 1, x), (1, 1, 1)), dot, 2)
        store.accept(make_box((4, 0, 0), (1, 8, 10)))  # nothing is left to accept
        store.paint(make_box((1, 1, 6), (1, 1, 1)), dot, 2)
        store.end_stroke()
        store.paint(make_box((1, 1, 7), (1, 1, 1)), dot, 2)
        assert steps(store)[0] == ["brush", "accept", "brush", "paint"]
        store.undo()
        assert store.undo() == make_box((1, 1, 2), (1, 1, 5))
        store.undo()
        assert np.asarray(store.authority).sum() == 1


def test_an_edit_that_fails_leaves_no_stroke_open(
    make_case: Callable[..., Case], steps: Any, locked: None
) -> None:
    dot = np.ones((1, 1, 1), bool)
    with make_case((6, 8, 10)).open_labels() as store:
        with pytest.raises(ValueError, match="broadcast"):
            store.set_truth(make_box((0, 0, 0), (2, 2, 2)), np.ones((3, 3, 3)))
        for x in range(3):
            store.paint(make_box((1, 1, x), (1, 1, 1)), dot, 2)
        assert steps(store)[0] == ["paint"] * 3


def test_labels_that_do_not_fit_are_refused(
    make_case: Callable[..., Case], locked: None
) -> None:
    with make_case((6, 8, 10)).open_labels() as store:
        for wrong in (-1, 256):
            with pytest.raises(ConfigError, match="needed: values from 0 to 255"):
                store.levels[0][0] = wrong
        with pytest.raises(TypeError, match="cannot be set"):
            store.authority[0] = 1
        assert store.seq == 0


def test_labels_cannot_be_opened_without_the_lock(
    make_case: Callable[..., Case],
) -> None:
    with pytest.raises(ProjectInUse, match=r"the lock of .* is not held"):
        make_case((6, 8, 10)).open_labels()


def test_what_is_flushed_is_in_the_stores(
    make_case: Callable[..., Case], locked: None
) -> None:
    import zarr

    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        store.levels[0][2, 1:5] = 7
        store.flush()
        assert store.saved_seq == store.seq == 1
        labels = zarr.open_array(str(case.labels_path / "0"), mode="r")
        authority = zarr.open_array(str(case.authority_path / "0"), mode="r")
        assert (labels[2, 1:5] == 7).all()
        assert authority[2, 1:5].all()
        assert labels[:].sum() == 7 * 40
    store.close()  # again


def test_one_can_paint_while_a_prediction_is_merged(
    make_case: Callable[..., Case], predict: Any, locked: None
) -> None:
    shape = (70, 130, 140)
    case = make_case(shape)
    model, rng = Model.empty(shape), np.random.default_rng(3)
    with case.open_labels() as store:
        for seed in range(3):
            prediction, labels = predict(case, seed)
            thread = threading.Thread(target=run, args=[store.merge(prediction)])
            thread.start()
            steps = 0
            while thread.is_alive() or steps < 30:
                steps += 1
                box = random_box(rng, shape)
                truth = np.full([h - low for low, h in box], steps % 8, np.uint8)
                before = store.seq
                store.set_truth(box, truth)
                if store.seq > before:
                    model.remember()
                    model.human[box_slices(box)] = truth
                    model.authority[box_slices(box)] = HUMAN
                if steps % 3 == 0:
                    store.undo()
                    model.step(model.done, model.undone)
            thread.join()
            model.prediction = labels
            np.testing.assert_array_equal(np.asarray(store.levels[0]), model.labels)
    with case.open_labels() as store:
        check(store, model)


def test_labels_are_open_once(make_case: Callable[..., Case], locked: None) -> None:
    case = make_case((6, 8, 10))
    with case.open_labels() as store:
        with pytest.raises(ProjectInUse, match="case is open in this program"):
            case.open_labels()
        store.levels[0][1] = 2
    with pytest.raises(ValueError, match="closed"):
        store.levels[0][1] = 7
    with case.open_labels() as store:
        assert (np.asarray(store.levels[0][1]) == 2).all()


def test_closing_ends_a_merge_in_another_thread(
    make_case: Callable[..., Case], predict: Any, locked: None
) -> None:
    case = make_case((130, 130, 70))
    prediction, labels = predict(case, 1)
    store = case.open_labels()
    job = store.merge(prediction)
    next(job)
    thread = threading.Thread(target=store.close)
    thread.start()
    while not store._merging.closing:
        pass
    with pytest.raises(Cancelled):
        run(job)
    thread.join()
    assert case.merging is not None
    with case.open_labels() as store:
        run(store.merge(prediction))
        np.testing.assert_array_equal(np.asarray(store.levels[0]), labels)


def test_closing_waits_for_the_row_that_is_being_merged(
    make_case: Callable[..., Case], predict: Any, locked: None
) -> None:
    case = make_case((130, 130, 70))
    prediction, _ = predict(case, 1)
    store = case.open_labels()
    reached, go_on = threading.Event(), threading.Event()
    held: list[bool] = []

    def hold(_: Box) -> None:
        reached.set()
        assert go_on.wait(60)
        held.append((case.folder / "lock").exists())

    store.changed.append(hold)

    def merge() -> None:
        with pytest.raises(Cancelled):
            run(store.merge(prediction))

    threads = [threading.Thread(target=merge), threading.Thread(target=store.close)]
    threads[0].start()
    assert reached.wait(60)
    threads[1].start()
    threads[1].join(0.5)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join()
    assert held == [True]


def test_a_merge_that_nobody_goes_on_with_keeps_no_store_open(
    make_case: Callable[..., Case], predict: Any, locked: None
) -> None:
    case = make_case((130, 130, 70))
    prediction, _ = predict(case, 1)
    store = case.open_labels()
    job = store.merge(prediction)
    next(job)
    with pytest.raises(ConfigError, match="just being merged"):
        next(store.merge(prediction))
    store.close()
    with pytest.raises(Cancelled):
        next(job)


def test_labels_open_without_their_prediction(
    make_case: Callable[..., Case], predict: Any, locked: None
) -> None:
    case = make_case((6, 8, 10))
    prediction, labels = predict(case, 4)
    with case.open_labels() as store:
        run(store.merge(prediction))
        store.levels[0][3] = 7
    shutil.rmtree(prediction.labels / "0")
    with case.open_labels() as store:
        (note,) = store.notes
        assert "predict again before undoing" in note
        store.undo()  # by what the journal knows
        np.testing.assert_array_equal(np.asarray(store.levels[0]), labels)
