"""`e2miseg evaluate` as a user types it."""

import json
import shutil

import fsspec
import h5py
import numpy as np
import pytest

from e2miseg_core.cli import run_command
from e2miseg_core.io import open_labels, write_labels
from e2miseg_core.volume import Volume


@pytest.fixture
def folders(tmp_path):
    """Cases a (a row too much) and b (equal), class 1 of 12 voxels, spacing 2, 1, 1."""
    for case in ("a", "b"):
        reference = np.zeros((4, 8, 8), dtype=np.uint8)
        reference[1:3, 2:4, 2:5] = 1
        predicted = reference.copy()
        if case == "a":
            predicted[1:3, 4, 2:5] = 1
        for name, labels in (("predicted", predicted), ("reference", reference)):
            (tmp_path / name).mkdir(exist_ok=True)
            like = Volume.from_array(labels, spacing=(2.0, 1.0, 1.0))
            write_labels(labels, tmp_path / name / f"{case}.nii.gz", like=like)
    return tmp_path


def run(capsys, *arguments) -> tuple[int, list[str], str]:
    code = run_command(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_two_folders_and_a_report(folders, capsys):
    report = folders / "report.json"
    code, shown, _ = run(
        capsys, folders / "predicted", folders / "reference", "-o", report
    )
    assert code == 0
    told = json.loads(report.read_text())
    assert told["classes"]["label 1"]["dice"] == pytest.approx((24 / 30 + 1) / 2)
    assert any("0.900" in line for line in shown)
    assert [path.name for path in folders.iterdir() if path.is_file()] == [report.name]


def test_two_files_as_json_lines(folders, capsys):
    code, shown, _ = run(
        capsys,
        folders / "predicted" / "a.nii.gz",
        folders / "reference" / "a.nii.gz",
        "--tolerance",
        "0.5",
        "--json",
    )
    assert code == 0
    events = [json.loads(line) for line in shown]
    assert [event["event"] for event in events] == ["progress", "result"]
    scores = events[1]["cases"][0]["classes"]["label 1"]
    assert scores["dice"] == pytest.approx(24 / 30)
    assert scores["hd95_mm"] == pytest.approx(1.0)
    assert scores["predicted_ml"] == pytest.approx(18 * 2 / 1000)
    assert 0 < scores["nsd"] < 1


def test_structures_that_no_case_has_are_told_and_raise_no_mean(folders, capsys):
    report, page = folders / "report.json", folders / "report.html"
    pair = folders / "predicted", folders / "reference"
    code, shown, errors = run(
        capsys, *pair, "--regions", "acdc", "-o", report, "--html", page
    )
    assert code == 0
    said = "Myo, LV occur in no case and count in no mean"
    assert errors.count(said) == 1
    assert said in page.read_text("utf-8")
    assert json.loads(report.read_text())["mean"]["dice"] == pytest.approx(0.9)
    rows = [line.split() for line in shown]
    assert {row[1] for row in rows if row[:1] == ["Myo"]} == {"1.000"}
    assert [row[2] for row in rows if row[:2] == ["all", "structures"]] == ["0.900"]


def test_a_missing_prediction_is_told_and_is_no_success(folders, capsys):
    (folders / "predicted" / "b.nii.gz").unlink()
    report = folders / "report.json"
    code, _, errors = run(
        capsys, folders / "predicted", folders / "reference", "-o", report
    )
    assert code == 2
    assert "left out: b" in errors
    assert "error: 1 of 2 cases could not be compared" in errors
    assert json.loads(report.read_text())["problems"][0]["case"] == "b"


def test_many_missing_predictions_are_one_line(folders, capsys):
    for number in range(5):
        source = folders / "reference" / "a.nii.gz"
        shutil.copy(source, folders / "reference" / f"x{number}.nii.gz")
    code, _, errors = run(capsys, folders / "predicted", folders / "reference")
    assert code == 2
    assert "left out: x0, x1, x2 and 2 more: no file of this name in " in errors
    assert errors.count("left out: ") == 1


def test_a_report_is_replaced_only_on_request(folders, capsys):
    report = folders / "report.json"
    report.write_text("mine")
    arguments = [folders / "predicted", folders / "reference", "-o", report]
    code, _, errors = run(capsys, *arguments)
    assert code == 2
    assert "exists already" in errors
    assert report.read_text() == "mine"
    assert run(capsys, *arguments, "--overwrite")[0] == 0
    assert json.loads(report.read_text())["version"] == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["none.nii.gz"], "is missing"),
        (["reference"], "a file and a folder"),
        (["reference/a.nii.gz", "--tolerance", "-1"], "a tolerance of -1.0 mm"),
        (["reference/a.nii.gz", "--model", "no-such-model"], "no-such-model"),
        (["reference/a.nii.gz", "-o", "no/such/report.json"], "folder"),
    ],
)
def test_mistakes_are_told_in_one_line(folders, capsys, monkeypatch, arguments, word):
    monkeypatch.chdir(folders)
    code, shown, errors = run(capsys, "predicted/a.nii.gz", *arguments)
    assert code == 2
    assert not shown
    assert errors.startswith("error: ")
    assert word in errors
    assert errors.count("\n") == 1


def test_addresses_are_compared_like_files(folders, capsys):
    with h5py.File(folders / "both.h5", "w") as file:
        for name in ("predicted", "reference"):
            labels = open_labels(folders / name / "a.nii.gz")
            file[name] = np.asarray(labels.data[0])
            file[name].attrs["element_size_um"] = (2000.0, 1000.0, 1000.0)
    both = f"{folders / 'both.h5'}#part=/"
    code, lines, error = run(
        capsys, f"{both}predicted", f"{both}reference", "--json", "--tolerance", "0"
    )
    assert (code, error) == (0, "")
    (case,) = json.loads(lines[-1])["cases"]
    assert case["reference"].endswith("both.h5#part=/reference")
    files = [folders / name / "a.nii.gz" for name in ("predicted", "reference")]
    _, lines, _ = run(capsys, *files, "--json", "--tolerance", "0")
    (other,) = json.loads(lines[-1])["cases"]
    assert case["classes"] == other["classes"]


def test_a_url_is_no_missing_folder(folders, capsys):
    url = "memory://evaluate/a.nii.gz"
    with fsspec.open(url, "wb") as file:
        file.write((folders / "predicted" / "a.nii.gz").read_bytes())
    code, lines, error = run(capsys, url, folders / "predicted" / "a.nii.gz", "--json")
    assert (code, error) == (0, "")
    (case,) = json.loads(lines[-1])["cases"]
    assert case["classes"]["label 1"]["dice"] == 1
    code, _, error = run(capsys, url, folders / "reference")
    assert code == 2
    assert "a file and a folder" in error
