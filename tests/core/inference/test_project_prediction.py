"""Prediction into a project: stores, edges, calibration in force, nothing half done."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from e2miseg_core.boxes import Box
from e2miseg_core.errors import Cancelled, ConfigError, ReadError, WriteError
from e2miseg_core.inference.prediction import PredictionOptions, predict
from e2miseg_core.inference.project import predict_case_job, volume_edges_job
from e2miseg_core.io import open_volume
from e2miseg_core.model import Model
from e2miseg_core.progress import Progress, run
from e2miseg_core.project import (
    ACCEPTED,
    HUMAN,
    Case,
    CasePrediction,
    Project,
    read_edges,
)
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.edges import calibration_in_force, rank_edges
from e2miseg_core.uncertainty.error_map import from_uint8
from e2miseg_core.uncertainty.log_probabilities import (
    decode_log_probabilities,
    encode_log_probabilities,
)

OPTIONS = PredictionOptions(device="cpu", precision="float32")


@pytest.fixture
def project(tmp_path: Path, tiny_model_path: Path, dataset_folder: Path) -> Project:
    made = Project.create(tmp_path / "study.e2m", model=tiny_model_path)
    for number in range(3):
        made.add_case(open_volume(dataset_folder / "images" / f"case_{number}.nii.gz"))
    return made


@pytest.fixture
def case(project: Project) -> Case:
    return project.case("case_0")


def predicted(case: Case, model: Model, version: int = 0) -> CasePrediction:
    return run(predict_case_job(case, model, OPTIONS, version=version))


def level(path: Path, mode: str = "r") -> zarr.Array:
    return zarr.open_array(str(path / "0"), mode=mode)


def say(case: Case, where: tuple[slice, ...], labels: np.ndarray, who: int) -> None:
    """Write into a case's labels as if a human had."""
    level(case.labels_path, "r+")[where] = labels
    level(case.authority_path, "r+")[where] = who


def test_a_prediction_is_complete_with_its_stores_and_edges(
    case: Case, tiny_model: Model
) -> None:
    found = predicted(case, tiny_model)
    assert case.prediction is not None
    assert found.number == case.prediction.number == 1
    direct = predict(
        case.open_image(),
        tiny_model,
        options=PredictionOptions(
            device="cpu", precision="float32", keep_probabilities=True
        ),
    )
    np.testing.assert_array_equal(level(found.labels)[:], np.asarray(direct.labels))
    np.testing.assert_array_equal(
        from_uint8(level(found.error_map)[:]), np.asarray(direct.error_map)
    )
    codes = level(found.log_probabilities)[:]
    p = np.asarray(direct.probabilities).astype(np.float32)
    np.testing.assert_allclose(
        decode_log_probabilities(codes),
        decode_log_probabilities(encode_log_probabilities(p)),
        atol=0.03,  # p went through float16
    )
    assert found.figures["edges"] == len(found.edges() or ())
    assert found.figures["voxels"] == {str(v): n for v, n in direct.voxels.items()}
    assert found.figures["expected_wrong"] == pytest.approx(direct.expected_wrong)
    listed = read_edges(found.edges_path)
    assert listed.note == "temperature of the model"
    assert (listed.temperature, listed.bias) == (1.5, ())
    assert listed.total_expected == pytest.approx(direct.expected_wrong, rel=0.02)


def test_progress_tells_first_where_the_stores_are_and_then_what_is_final(
    case: Case, tiny_model: Model
) -> None:
    steps: list[Progress] = []
    found = run(predict_case_job(case, tiny_model, OPTIONS, version=0), steps.append)
    told = [step for step in steps if "stores" in step.details]
    assert len(told) == 1
    assert told[0].details["stores"] == {
        "labels": str(found.labels),
        "error_map": str(found.error_map),
        "log_probabilities": str(found.log_probabilities),
    }
    boxes = [number for number, step in enumerate(steps) if "box" in step.details]
    assert boxes
    assert steps.index(told[0]) < boxes[0]
    assert steps[-1].stage == "finding uncertain edges"


@pytest.mark.parametrize("stage", ["predicting", "finding uncertain edges"])
def test_what_is_not_finished_leaves_nothing(
    case: Case, tiny_model: Model, stage: str
) -> None:
    seen: list[Progress] = []
    with pytest.raises(Cancelled):
        run(
            predict_case_job(case, tiny_model, OPTIONS, version=0),
            seen.append,
            cancelled=lambda: seen[-1].stage == stage and seen[-1].done > 0,
        )
    assert not case.predictions()
    assert not list((case.folder / "predictions").iterdir())


HOLD = """
import sys, time
from pathlib import Path
from e2miseg_core.project import ProjectLock
with ProjectLock(Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(60)
"""


def test_what_dead_programs_left_half_done_goes_and_what_is_needed_stays(
    case: Case, tiny_model: Model
) -> None:
    """Needed: the newest, the merged one, and those whose edges were reviewed."""
    numbers = [predicted(case, tiny_model).number]
    case.set_merged(1, merging=None)
    numbers.append(predicted(case, tiny_model).number)
    (edge, *_) = case.predictions()[1].edges() or []
    case.review().append(edge, "fine", prediction=2)
    for _ in range(2):
        numbers.append(predicted(case, tiny_model).number)
    assert numbers == [1, 2, 3, 4]
    dead, alive, newer = (case.new_prediction_folder() for _ in range(3))
    (dead / "labels.ome.zarr").mkdir()
    (newer / "prediction.json").write_text('{"format": 2}')
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(alive)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"at work\n"
        job = predict_case_job(case, tiny_model, OPTIONS, version=0)
        next(job)
        folders = sorted(p.name for p in (case.folder / "predictions").iterdir())
        assert folders == ["0001", "0002", "0004", "0006", "0007", "0008"]
        child.kill()
    other = predicted(case, tiny_model)  # while the first one is still being made
    assert not alive.exists()
    assert (case.folder / "predictions" / "0008").exists()
    assert not (other.folder / "lock").exists()
    job.close()
    assert [p.number for p in case.predictions()] == [1, 2, 4, 9]


def test_an_unknown_version_is_told_before_any_work(
    case: Case, tiny_model: Model
) -> None:
    with pytest.raises(ReadError, match="version 4"):
        predicted(case, tiny_model, version=4)
    assert not list((case.folder / "predictions").glob("*"))


def test_corrections_leave_the_doubt_and_the_list(
    case: Case, tiny_model: Model
) -> None:
    prediction = predicted(case, tiny_model)
    before = read_edges(prediction.edges_path)
    worst = max(before.edges, key=lambda edge: edge.expected_wrong)
    where = tuple(slice(*bounds) for bounds in worst.box)
    say(case, where, level(prediction.labels)[where], ACCEPTED)
    after = run(rank_edges(case))
    assert after == read_edges(prediction.edges_path)
    lost = before.total_expected - after.total_expected
    assert lost >= worst.expected_wrong * 0.999
    assert worst.box not in [edge.box for edge in after.edges]
    say(case, (slice(None),) * 3, np.full(case.geometry.shape, 7), HUMAN)
    nothing = run(rank_edges(case))
    assert nothing.edges == ()
    assert nothing.total_expected == 0


def undo(case: Case, box: Box) -> None:
    """Take back whatever a human said about a box."""
    level(case.authority_path, "r+")[tuple(slice(*bounds) for bounds in box)] = 0


def review(case: Case, model: Model, boxes: int, wrong_class: int) -> None:
    """Set the truth of the first boxes to one class, as a human who says so."""
    prediction = case.prediction or predicted(case, model)
    edges = prediction.edges() or []
    assert len(edges) >= boxes
    for edge in edges[:boxes]:
        where = tuple(slice(*bounds) for bounds in edge.box)
        shape = [hi - lo for lo, hi in edge.box]
        say(case, where, np.full(shape, wrong_class), HUMAN)
        case.review().append(edge, "corrected", prediction=prediction.number)


def test_three_corrected_cases_refit_the_calibration(
    project: Project, tiny_model: Model
) -> None:
    model_own = (Calibration(temperature=1.5), "temperature of the model")
    assert calibration_in_force(project, project.version) == model_own
    for number, name in enumerate(project.cases):
        assert calibration_in_force(project, project.version) == model_own
        boxes = 4 if number < 2 else 3
        review(project.case(name), tiny_model, boxes, wrong_class=7)
    assert calibration_in_force(project, project.version) == model_own
    last = project.case(project.cases[-1])
    prediction = last.prediction
    assert prediction is not None
    fourth = (prediction.edges() or [])[3]
    last.review().append(fourth, "skipped", prediction=prediction.number)
    assert calibration_in_force(project, project.version) == model_own
    where = tuple(slice(*bounds) for bounds in fourth.box)
    say(last, where, np.full([hi - lo for lo, hi in fourth.box], 7), HUMAN)
    last.review().append(fourth, "fine", prediction=prediction.number)
    fitted, note = calibration_in_force(project, project.version)
    assert note == "refitted on 3 corrected cases"
    assert len(fitted.bias) == 2
    assert fitted.temperature == 1.5
    assert fitted.bias[1] > 0.5  # all was of the second class
    assert fitted.bias[1] > fitted.bias[0]
    again = predicted(last, tiny_model)
    listed = read_edges(again.edges_path)
    assert (listed.bias, listed.note) == (fitted.bias, note)
    mean = level(again.error_map)[:].mean()
    assert mean != level(prediction.error_map)[:].mean()
    undo(last, fourth.box)
    assert calibration_in_force(project, project.version) == model_own


def test_a_version_is_not_calibrated_on_boxes_reviewed_for_another(
    project: Project, tiny_model: Model, tiny_model_path: Path
) -> None:
    for name in project.cases:
        review(project.case(name), tiny_model, 4, wrong_class=7)
    starter = project.version
    assert calibration_in_force(project, starter)[0].bias
    newer = project.add_version(tiny_model_path, figures={}, sentence="Kept.")
    for name in project.cases:
        predicted(project.case(name), tiny_model, version=newer.number)
    assert not calibration_in_force(project, newer)[0].bias


def test_faults_are_told_in_a_line(case: Case, tiny_model: Model) -> None:
    with pytest.raises(ConfigError, match="no prediction of the case 'case_0'"):
        run(rank_edges(case))
    prediction = predicted(case, tiny_model)
    (prediction.log_probabilities / "0" / "zarr.json").write_text("{")
    with pytest.raises(ReadError, match="log_probabilities"):
        run(rank_edges(case))


def test_edges_of_an_image_are_those_of_a_case_without_corrections(
    case: Case, tiny_model: Model
) -> None:
    prediction = predicted(case, tiny_model)
    found = run(volume_edges_job(case.open_image(), tiny_model, OPTIONS))
    assert found == read_edges(prediction.edges_path)


def test_log_probabilities_are_not_replaced(
    case: Case, tiny_model: Model, tmp_path: Path
) -> None:
    (tmp_path / "log_probabilities.ome.zarr").mkdir()
    options = PredictionOptions(keep_log_probabilities=True)
    with pytest.raises(WriteError, match=r"log_probabilities.ome.zarr exists"):
        predict(case.open_image(), tiny_model, options=options, folder=tmp_path)
