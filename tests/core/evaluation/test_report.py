"""Reports: volumes, means, files and folders, and what cannot be compared."""

import json
import subprocess
import sys

import numpy as np
import pytest

from e2miseg_core.errors import ConfigError, GeometryError, ReadError
from e2miseg_core.evaluation import evaluate_case, evaluate_paths
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import write_labels
from e2miseg_core.progress import run
from e2miseg_core.volume import Volume

SHAPE = (6, 8, 10)
NAMES = {0: "background", 1: "head", 2: "tail"}


def oblique(shape=SHAPE, shift=0.0) -> Geometry:
    turn = np.array([[0.96, 0.0, -0.28], [0.0, 1.0, 0.0], [0.28, 0.0, 0.96]])
    axes = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * [2.0, 1.0, 1.5]
    affine[:3, 3] = [10.0 + shift, -20.0, 5.0]
    return Geometry(shape=shape, affine=affine)


def save(labels, path, geometry=None):
    geometry = geometry or oblique(labels.shape)
    path.parent.mkdir(exist_ok=True)
    like = Volume.from_array(labels, geometry)
    return write_labels(np.asarray(like.data[0]), path, like=like)


def two_classes():
    """Class 1: 24 voxels, all predicted and 8 more. Class 2: 10 voxels, none found."""
    reference = np.zeros(SHAPE, dtype=np.uint8)
    reference[1:3, 1:4, 1:5] = 1
    reference[4, 6, :] = 2
    predicted = np.zeros(SHAPE, dtype=np.uint8)
    predicted[1:3, 1:5, 1:5] = 1
    return predicted, reference


def test_scores_and_volumes_of_a_case_by_hand():
    predicted, reference = two_classes()
    scores = evaluate_case(predicted, reference, (2.0, 1.0, 1.5), NAMES)
    assert list(scores) == [1, 2]
    assert scores[1].dice == pytest.approx(2 * 24 / (24 + 32))
    assert scores[1].hd95_mm == pytest.approx(1.0)  # the row more, 1 mm away
    assert scores[1].nsd == 1.0
    # A voxel has 3 mm3.
    assert scores[1].predicted_ml == pytest.approx(32 * 3 / 1000)
    assert scores[1].reference_ml == pytest.approx(24 * 3 / 1000)
    assert (scores[1].predicted_empty, scores[1].reference_empty) == (False, False)
    assert (scores[2].dice, scores[2].nsd) == (0.0, 0.0)
    assert scores[2].hd95_mm == pytest.approx(np.hypot(12, np.hypot(8, 15)))
    assert (scores[2].predicted_empty, scores[2].reference_empty) == (True, False)


def test_the_tolerance_is_in_mm():
    predicted, reference = two_classes()
    scores = evaluate_case(
        predicted, reference, (2.0, 1.0, 1.5), NAMES, tolerance_mm=0.9
    )
    assert 0.0 < scores[1].nsd < 1.0


def test_two_files_on_an_oblique_grid(tmp_path):
    predicted, reference = two_classes()
    first = save(predicted, tmp_path / "p.nii.gz")
    second = save(reference, tmp_path / "r.nii.gz")
    steps = []
    report = run(evaluate_paths(first, second, label_names=NAMES), steps.append)
    assert [(step.done, step.total) for step in steps] == [(1, 1)]
    expected = evaluate_case(predicted, reference, (2.0, 1.0, 1.5), NAMES)
    found = report.cases[0].classes
    assert found[1].dice == expected[1].dice
    assert found[1].hd95_mm == pytest.approx(expected[1].hd95_mm, rel=1e-5)
    assert found[1].predicted_ml == pytest.approx(expected[1].predicted_ml, rel=1e-5)
    assert report.mean_dice == pytest.approx(expected[1].dice / 2)


def test_files_stored_on_other_axes_are_compared_voxel_by_voxel(tmp_path):
    _, reference = two_classes()
    geometry = oblique()
    flip = geometry.affine.copy()
    flip[:3, 3] += flip[:3, 2] * (SHAPE[2] - 1)
    flip[:3, 2] *= -1
    first = save(reference, tmp_path / "a.nii.gz", geometry)
    second = save(
        np.ascontiguousarray(reference[..., ::-1]),
        tmp_path / "b.nii.gz",
        Geometry(shape=SHAPE, affine=flip),
    )
    report = run(evaluate_paths(first, second))
    assert report.mean_dice == 1.0
    assert list(report.label_names.values()) == ["label 1", "label 2"]


def test_micrometres_are_told_in_mm(tmp_path):
    predicted, reference = two_classes()
    micro = Geometry(shape=SHAPE, affine=oblique().affine, unit="um")
    first = save(predicted, tmp_path / "p.nii.gz", micro)
    second = save(reference, tmp_path / "r.nii.gz", micro)
    report = run(evaluate_paths(first, second))
    assert report.cases[0].classes[1].hd95_mm == pytest.approx(1e-3, rel=1e-4)
    assert report.cases[0].classes[1].reference_ml == pytest.approx(24 * 3e-12)


def test_a_folder_with_lonely_and_unfit_cases(tmp_path):
    predicted, reference = two_classes()
    for case in ("a", "b", "c"):
        save(reference, tmp_path / "r" / f"{case}.nii.gz")
    save(predicted, tmp_path / "p" / "a.nii.gz")
    save(reference, tmp_path / "p" / "b.nii", oblique(shift=3.0))
    save(reference, tmp_path / "p" / "d.nii.gz")
    (tmp_path / "p" / "dataset.json").write_text("{}")
    report = run(evaluate_paths(tmp_path / "p", tmp_path / "r", label_names=NAMES))
    assert [case.case for case in report.cases] == ["a"]
    told = {problem.case: problem.message for problem in report.problems}
    assert set(told) == {"b", "c", "d"}
    assert "3 mm away" in told["b"]
    assert told["c"].endswith(str(tmp_path / "p"))
    assert told["d"].endswith(str(tmp_path / "r"))
    assert all("\n" not in message for message in told.values())


def save_two_cases(folder):
    """Case a has two classes; b only the first, predicted right."""
    predicted, reference = two_classes()
    save(predicted, folder / "p" / "a.nii.gz")
    save(reference, folder / "r" / "a.nii.gz")
    only_first = np.where(reference == 1, reference, 0).astype(np.uint8)
    save(only_first, folder / "p" / "b.nii.gz")
    save(only_first, folder / "r" / "b.nii.gz")


def test_means_are_over_the_same_cases_for_every_class(tmp_path):
    """Class 2 is in one case only; in the other both are empty, which is right."""
    save_two_cases(tmp_path)
    for names in (None, NAMES):
        report = run(evaluate_paths(tmp_path / "p", tmp_path / "r", label_names=names))
        first, second = report.means[1], report.means[2]
        assert first.dice == pytest.approx((48 / 56 + 1) / 2)
        assert second.dice == pytest.approx((0 + 1) / 2)
        assert (second.n_cases, second.n_one_empty) == (2, 1)
        assert report.mean_dice == pytest.approx((first.dice + second.dice) / 2)


def test_a_structure_that_no_case_has_counts_in_no_mean(tmp_path):
    """Class 3 is in no file, and always right; it keeps its own row of 1."""
    save_two_cases(tmp_path)
    names = {**NAMES, 3: "wing"}
    pair = tmp_path / "p", tmp_path / "r"
    report, two = (run(evaluate_paths(*pair, label_names=n)) for n in (names, NAMES))
    assert report.mean_dice == pytest.approx(((48 / 56 + 1) / 2 + (0 + 1) / 2) / 2)
    assert report.absent == ["wing"]
    assert two.absent == []
    told, less = report.to_json(), two.to_json()
    assert told["absent"] == ["wing"]
    assert told["classes"]["wing"]["dice"] == 1.0
    assert told["mean"] == less["mean"]
    assert report.mean_lesion_f1 == two.mean_lesion_f1
    assert report.case_means("dice") == two.case_means("dice")
    assert report.compare(two)[""] == two.compare(report)[""]


def test_a_structure_counts_in_a_comparison_if_one_side_has_it(tmp_path):
    _, reference = two_classes()
    more = reference.copy()
    more[0, 0, 0] = 3
    first = save(reference, tmp_path / "p" / "a.nii.gz")
    second = save(more, tmp_path / "q" / "a.nii.gz")
    truth = save(reference, tmp_path / "r" / "a.nii.gz")
    names = {**NAMES, 3: "wing", 4: "leg"}
    mine, theirs = (
        run(evaluate_paths(one, truth, label_names=names)) for one in (first, second)
    )
    assert mine.compare(theirs)[""]["dice"].mean == pytest.approx(1 / 3)


def test_the_report_as_json_and_as_rows(tmp_path):
    predicted, reference = two_classes()
    first = save(predicted, tmp_path / "p.nii.gz")
    second = save(reference, tmp_path / "r.nii.gz")
    report = run(evaluate_paths(first, second, label_names=NAMES, tolerance_mm=2.0))
    told = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert told["labels"] == {"1": "head", "2": "tail"}
    assert told["classes"]["head"]["dice"] == pytest.approx(48 / 56)
    assert told["cases"][0]["classes"]["tail"]["predicted_empty"] is True
    assert told["mean"]["dice"] == pytest.approx(24 / 56)
    assert told["tolerance_mm"] == 2.0
    assert [(row["case"], row["name"]) for row in report.table] == [
        ("r", "head"),
        ("r", "tail"),
    ]


def test_files_without_any_label_have_no_mean(tmp_path):
    empty = np.zeros(SHAPE, dtype=np.uint8)
    first = save(empty, tmp_path / "p.nii.gz")
    second = save(empty, tmp_path / "r.nii.gz")
    report = run(evaluate_paths(first, second))
    assert report.to_json()["mean"]["dice"] is None
    named = run(evaluate_paths(first, second, label_names=NAMES))
    assert named.mean_dice == 1.0
    assert named.absent == []  # all are right


def test_single_files_that_do_not_fit_are_an_error_with_numbers(tmp_path):
    _, reference = two_classes()
    first = save(reference, tmp_path / "p.nii.gz")
    moved = save(reference, tmp_path / "m.nii.gz", oblique(shift=2.5))
    small = save(np.ascontiguousarray(reference[1:]), tmp_path / "s.nii.gz")
    with pytest.raises(GeometryError, match=r"2\.5 mm away"):
        run(evaluate_paths(first, moved))
    with pytest.raises(GeometryError, match=r"6 x 8 x 10 voxels, .* 5 x 8 x 10"):
        run(evaluate_paths(first, small))


def test_wrong_paths_and_names_are_told(tmp_path):
    _, reference = two_classes()
    file = save(reference, tmp_path / "p.nii.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="is missing"):
        run(evaluate_paths(file, tmp_path / "none.nii.gz"))
    with pytest.raises(ConfigError, match="a file and a folder"):
        run(evaluate_paths(file, tmp_path / "empty"))
    with pytest.raises(ConfigError, match="no case"):
        run(evaluate_paths(tmp_path / "empty", tmp_path / "empty"))
    with pytest.raises(ConfigError, match="own name"):
        run(evaluate_paths(file, file, label_names={1: "a", 2: "a"}))
    save(reference, tmp_path / "two" / "a.nii")
    save(reference, tmp_path / "two" / "a.nii.gz")
    with pytest.raises(ConfigError, match="one file a case"):
        run(evaluate_paths(tmp_path / "two", tmp_path / "two"))


def test_importing_loads_neither_torch_nor_monai():
    code = (
        "import sys, e2miseg_core.evaluation, e2miseg_core.samples;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'monai')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
