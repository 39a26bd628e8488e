"""What else `e2miseg evaluate` judges, writes and compares."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from e2miseg_core.cli import evaluate_tables as tables
from e2miseg_core.cli import run_command
from e2miseg_core.evaluation import CaseScores, Report, Structure, evaluate_case
from e2miseg_core.io import open_labels, open_volume, write_image, write_labels
from e2miseg_core.volume import Volume

SPACING = (2.0, 1.0, 1.0)


def save(path, array, *, labels=True):
    path.parent.mkdir(exist_ok=True)
    like = Volume.from_array(array[0] if array.ndim == 4 else array, spacing=SPACING)
    write = write_labels if labels else write_image
    write(array, path, like=like)


@pytest.fixture
def folders(tmp_path):
    """Three cases of 1 edema, 2 non-enhancing, 3 enhancing; a second, worse model."""
    for shift, case in enumerate("abc"):
        reference = np.zeros((5, 12, 12), np.uint8)
        reference[1:4, 2:9, 2:9] = 1
        reference[1:4, 3:7, 3:7] = 2
        reference[2, 4:6, 4:6] = 3
        reference[3, 11, 11] = 1
        good = reference.copy()
        good[reference == 3] = 2 if case == "a" else 3
        worse = np.roll(reference, 1 + shift, axis=1)
        p = np.stack([good == value for value in range(4)]).astype(np.float32)
        save(tmp_path / "r" / f"{case}.nii.gz", reference)
        save(tmp_path / "p" / f"{case}.nii.gz", good)
        save(tmp_path / "q" / f"{case}.nii.gz", worse)
        save(tmp_path / "probs" / f"{case}.nii.gz", p, labels=False)
        image = reference.astype(np.float32)
        save(tmp_path / "i" / f"{case}_0000.nii.gz", image, labels=False)
    return tmp_path


def run(capsys, *arguments) -> tuple[int, list[str], str]:
    code = run_command(["evaluate", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def result(lines):
    return json.loads(lines[-1])


def test_regions_of_brats_and_of_the_user(folders, capsys):
    code, lines, _ = run(
        capsys, folders / "p", folders / "r", "--regions", "brats", "--json"
    )
    assert code == 0
    told = result(lines)["classes"]
    assert {name: one["label"] for name, one in told.items()} == {
        "ET": 3,
        "TC": "2+3",
        "WT": "1+2+3",
    }
    assert told["ET"]["dice"] == pytest.approx(2 / 3)
    assert told["TC"]["dice"] == told["WT"]["dice"] == 1
    _, lines, error = run(
        capsys, folders / "p", folders / "r", "--region", "core=2+3", "--json"
    )
    assert list(result(lines)["classes"]) == ["core"]
    assert result(lines)["other_values"] == [1]
    _, _, error = run(capsys, folders / "p", folders / "r", "--region", "core=2+3")
    assert "the label values 1 belong to no structure" in error


def test_lesions_are_told_where_structures_come_in_pieces(folders, capsys):
    pair = folders / "p", folders / "r"
    _, lines, _ = run(capsys, *pair, "--region", "WT=1+2+3", "--json")
    lesions = result(lines)["classes"]["WT"]["lesions"]
    assert (lesions["n_reference"], lesions["n_found"]) == (6, 6)
    assert lesions["mean_f1"] == 1
    _, lines, _ = run(
        capsys, *pair, "--region", "WT=1+2+3", "--lesion-ml", "0.01", "--json"
    )
    assert result(lines)["classes"]["WT"]["lesions"]["n_reference"] == 3
    assert result(lines)["lesion_rule"]["min_ml"] == 0.01
    _, shown, _ = run(capsys, *pair, "--region", "WT=1+2+3")
    assert any("6 of 6" in line for line in shown)


def test_objects_of_other_numbers_are_matched(folders, capsys):
    renumbered = np.zeros((5, 12, 12), np.uint8)
    renumbered[1:4, 2:9, 2:9] = 3
    renumbered[1:4, 3:7, 3:7] = 1
    renumbered[2, 4:6, 4:6] = 2
    renumbered[3, 11, 11] = 3
    save(folders / "n" / "a.nii.gz", renumbered)
    one = folders / "n" / "a.nii.gz", folders / "r" / "a.nii.gz"
    code, lines, _ = run(
        capsys, *one, "--instances", "--html", folders / "x.html", "--json"
    )
    assert code == 0
    told = result(lines)["classes"]["instances"]
    assert told["label"] == "*"
    assert (told["dice"], told["lesions"]["panoptic_quality"]) == (1, 1)
    assert told["lesions"]["n_reference"] == 3
    assert result(lines)["lesion_rule"]["min_iou"] == 0.5


def test_several_tolerances(folders, capsys):
    _, lines, _ = run(
        capsys,
        folders / "q",
        folders / "r",
        *("--tolerance", "1", "--tolerance", "3", "--region", "WT=1+2+3", "--json"),
    )
    told = result(lines)
    mean = told["classes"]["WT"]
    assert told["tolerance_mm"] == 1
    assert list(mean["nsd_at"]) == ["1", "3"]
    assert mean["nsd"] == mean["nsd_at"]["1"] < mean["nsd_at"]["3"]


def test_calibration_of_probabilities(folders, capsys):
    """They are certain: only the voxels called 2 and not 3 in case a are wrong."""
    pair = folders / "p", folders / "r"
    code, lines, _ = run(
        capsys,
        *pair,
        *("--probabilities", folders / "probs", "--regions", "brats", "--json"),
    )
    assert code == 0
    told = result(lines)["classes"]
    assert told["WT"]["calibration"]["ece"] == 0
    enhancing = told["ET"]["calibration"]
    assert enhancing["ece"] == pytest.approx(4 / enhancing["n_voxels"])
    (folders / "probs" / "b.nii.gz").unlink()
    code, _, error = run(capsys, *pair, "--probabilities", folders / "probs")
    assert code == 2
    assert "left out: b: no probabilities" in error


def test_two_predictions_are_compared_case_by_case(folders, capsys):
    code, lines, _ = run(
        capsys,
        folders / "p",
        folders / "r",
        *("--compare", folders / "q", "--region", "WT=1+2+3", "--json"),
    )
    assert code == 0
    told = result(lines)["comparison"]
    dice = told["classes"]["WT"]["dice"]
    assert dice["difference"] > 0
    assert dice["p_value"] == pytest.approx(2 / 8)  # of 8 ways to swap three cases
    assert dice["interval"][0] > 0
    assert told["mean"]["dice"] == dice
    assert told["with"].endswith("q")


def test_a_comparison_of_fewer_cases_is_told(folders, capsys):
    (folders / "q" / "c.nii.gz").unlink()
    pair = folders / "p", folders / "r"
    code, _, error = run(capsys, *pair, "--compare", folders / "q")
    assert code == 0
    assert "compared over the 2 of 3 cases" in error


def test_a_comparison_tells_why_a_case_is_left_out(folders, capsys):
    (folders / "q" / "c.nii.gz").write_bytes(b"no image")
    pair = folders / "p", folders / "r"
    code, _, error = run(capsys, *pair, "--compare", folders / "q")
    assert code == 0
    lines = " ".join(error.split())
    assert "compared over the 2 of 3 cases" in lines
    assert "left out of the comparison: " in lines
    assert "c.nii.gz" in lines


def test_a_label_of_one_prediction_only_counts_in_the_comparison(folders, capsys):
    """q calls a voxel 9 in each case; in p and the reference 9 is empty: Dice 1."""
    for case in "abc":
        path = folders / "q" / f"{case}.nii.gz"
        volume = open_labels(path)
        labels = np.asarray(volume.data[0]).copy()
        labels.flat[-1] = 9
        write_labels(labels, path, like=volume, overwrite=True)
    pair = folders / "p", folders / "r"
    _, lines, _ = run(capsys, *pair, "--compare", folders / "q", "--json")
    told = result(lines)
    assert set(told["classes"]) == {"label 1", "label 2", "label 3"}
    comparison = told["comparison"]
    assert set(comparison["classes"]) == {*told["classes"], "label 9"}
    assert comparison["classes"]["label 9"]["dice"]["difference"] == 1
    others = [comparison["classes"][f"label {n}"]["dice"] for n in (1, 2, 3)]
    expected = (1 + sum(one["difference"] for one in others)) / 4
    assert comparison["mean"]["dice"]["difference"] == pytest.approx(expected)
    table = run(capsys, *pair, "--compare", folders / "q")[1]
    assert any(line.split()[:3] == ["label", "9", "Dice"] for line in table)
    assert any(line.startswith("This prediction less that of") for line in table)
    shown = " ".join(" ".join(table).split())
    assert "this prediction is the better one" in shown
    assert "with 3 cases no p value below 0.25 is possible" in shown


def test_what_does_not_fit_is_told_before_anything_is_compared(folders, capsys):
    pair = folders / "p", folders / "r"
    (folders / "s").mkdir()
    for path in (folders / "q").iterdir():
        path.rename(folders / "s" / f"x_{path.name}")
    for wrong in (
        ("--images", folders / "i" / "b_0000.nii.gz", "--html", folders / "x.html"),
        ("--compare", folders / "s"),
        ("--compare", folders / "r" / "a.nii.gz"),
    ):
        code, lines, error = run(capsys, *pair, *wrong, "--json")
        assert code == 2
        assert not [one for one in lines if "progress" in one]
        assert "error" in error + "".join(lines)


def test_a_case_is_not_in_two_groups(folders, capsys):
    table = folders / "groups.csv"
    table.write_text("case,group\na,one\nb,two\nc,two\na,two\n")
    code, _, error = run(capsys, folders / "q", folders / "r", "--groups", table)
    assert code == 2
    assert "a in two groups, one and two" in " ".join(error.split())


def test_bad_probabilities_of_a_folder_name_their_case(folders, capsys):
    path = folders / "probs" / "b.nii.gz"
    values = np.asarray(open_volume(path).data) * 100
    path.unlink()
    save(path, values, labels=False)
    pair = folders / "p", folders / "r"
    code, _, error = run(capsys, *pair, "--probabilities", folders / "probs")
    assert code == 2
    assert "left out: b: values below 0, above 1" in " ".join(error.split())


def test_tables_fit_80_columns_with_whole_names() -> None:
    name, structure = "patient_007_visit_2", "right ventricle wall"
    one = Structure(name=structure, values=(1,)), Structure(name="x", values=(2,))
    cases = []
    for number in range(2):
        labels = np.zeros((4, 8, 8), np.uint8)
        labels[1, 2:4, 2:4] = labels[3, 6, 6] = 1
        predicted = np.roll(labels, number, axis=1)
        cases.append(
            CaseScores(
                case=f"{name}{number}",
                predicted="",
                reference="",
                classes=evaluate_case(predicted, labels, (500.0, 1.0, 1.0), one),
            )
        )
    names = {part.key: part.name for part in one}
    report = Report(cases=tuple(cases), label_names=names, tolerance_mm=1.0)
    report = replace(report, differences=report.compare(report), compared_with="o")
    console = Console(width=80, file=io.StringIO(), color_system=None)
    for table in (tables.cases(report), *tables.details(report), tables.means(report)):
        with console.capture() as shown:
            console.print(table)
        text = shown.get()
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= 80
        for word in structure.split():
            assert word in text


def test_groups_are_drawn_together(folders, capsys):
    table = folders / "groups.csv"
    table.write_text("case,group\na,one\nb,two\nc,two\n")
    pair = folders / "q", folders / "r"
    _, lines, _ = run(capsys, *pair, "--groups", table, "--json")
    told = result(lines)
    assert told["mean"]["n_groups"] == 2
    dice = {case["case"]: case["classes"]["label 1"]["dice"] for case in told["cases"]}
    ends = sorted([dice["a"], (dice["b"] + dice["c"]) / 2])
    assert told["classes"]["label 1"]["intervals"]["dice"] == pytest.approx(ends)
    table.write_text("case,group\na,one\n")
    code, _, error = run(capsys, *pair, "--groups", table)
    assert code == 2
    assert "2 cases without a group, the first b" in error


def test_page_and_table(folders, capsys):
    page, table = folders / "page.html", folders / "table.csv"
    code, _, _ = run(
        capsys,
        folders / "p",
        folders / "r",
        *("--html", page, "--csv", table, "--images", folders / "i"),
    )
    assert code == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<image") == 9
    assert html.index("<h3>a: ") < html.index("<h3>b: ")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["label"]) for row in rows] == [
        (case, value) for case in "abc" for value in "123"
    ]
    assert float(rows[2]["dice"]) == 0
    assert float(rows[0]["nsd_at_1mm"]) == 1
    assert rows[0]["lesion_n_reference"] == "2"


def test_a_single_pair_has_no_interval_and_a_page(folders, capsys):
    page = folders / "page.html"
    one = folders / "q" / "a.nii.gz", folders / "r" / "a.nii.gz"
    code, lines, _ = run(
        capsys,
        *one,
        "--html",
        page,
        "--images",
        folders / "i" / "b_0000.nii.gz",
        "--json",
    )
    assert code == 0
    assert result(lines)["mean"]["intervals"]["dice"] is None
    assert page.read_text(encoding="utf-8").count("<figure>") == 3


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--regions", "hearts"], "acdc, brats, brats2017, brats2023"),
        (["--region", "WT"], "WT=1+2+3"),
        (["--region", "A=1", "--region", "A=2"], "own name"),
        (["--region", f"A={'9' * 5000}"], "WT=1+2+3"),
        (["--region", "A=1", "--region", "B=1"], "the same values"),
        (["--instances", "--region", "A=1"], "one of them"),
        (["--connectivity", "7"], "6, 18 or 26"),
        (["--lesion-iou", "2"], "IoU from 0 to 1"),
        (["--groups", "none.csv"], "none.csv"),
        (["--groups", "p/a.nii.gz"], "case,group"),
        (["--images", "none", "--html", "page.html"], "is missing"),
        (["--images", "p/a.nii.gz", "--html", "page.html"], "a folder of images"),
        (["--probabilities", "none"], "is missing"),
        (["--compare", "none"], "is missing"),
        (["-o", "x.json", "--csv", "x.json"], "two reports of one name"),
        (["--html", "no/such/page.html"], "folder"),
    ],
)
def test_mistakes_are_told_in_one_line(folders, capsys, monkeypatch, arguments, word):
    monkeypatch.chdir(folders)
    code, _, errors = run(capsys, "p", "r", *arguments)
    assert code == 2
    (line,) = [one for one in errors.splitlines() if one.startswith("error: ")]
    assert word in line


def test_labels_are_no_probabilities(folders, capsys):
    one = folders / "p" / "a.nii.gz", folders / "r" / "a.nii.gz"
    code, _, error = run(capsys, *one, "--probabilities", folders / "r" / "a.nii.gz")
    assert code == 2
    assert "a channel of every label" in error
