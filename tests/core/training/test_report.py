"""Figures on unseen cases: by hand where the prediction is known."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from e2miseg_core.io import write_image, write_labels
from e2miseg_core.model import load_model
from e2miseg_core.progress import run
from e2miseg_core.training.dataset import Case
from e2miseg_core.training.report import card_metrics, report_on_cases
from e2miseg_core.volume import Volume


@pytest.fixture(scope="module")
def report(
    tiny_model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, str]:
    """Two noisy cases: labels in pieces."""
    folder = tmp_path_factory.mktemp("cases")
    random = np.random.default_rng(5)
    cases = []
    for name in ("a", "b"):
        like = Volume.from_array(
            random.standard_normal((8, 16, 16)).astype(np.float32),
            spacing=(1.0, 1.0, 1.0),
        )
        image, labels = folder / f"{name}.nii.gz", folder / f"{name}_l.nii.gz"
        write_image(np.asarray(like.data[0]), image, like=like)
        truth = random.choice([0, 2, 7], (8, 16, 16), p=[0.9, 0.05, 0.05])
        write_labels(truth.astype(np.uint8), labels, like=like)
        cases.append(Case(name=name, images=(image,), labels=labels))
    page = folder / "report.html"
    model = load_model(tiny_model_path)
    told = run(report_on_cases(model, cases, device="cpu", html=page))
    return told, page.read_text("utf-8")


def test_every_figure_of_the_field_is_there(report) -> None:
    told, _ = report
    json.dumps(told, allow_nan=False)
    means, classes = told["means"], told["evaluation"]["classes"]
    assert set(classes) == {"node", "vessel"}
    for figure, key in (
        ("dice", "dice"),
        ("assd_mm", "assd_mm"),
        ("hd95_mm", "hd95_mm"),
    ):
        expected = np.mean([one[key] for one in classes.values()])
        assert means[figure] == pytest.approx(expected)
    low, high = means["dice_interval"]
    assert low <= means["dice"] <= high
    assert means["ece"] == pytest.approx(
        np.mean([one["calibration"]["ece"] for one in classes.values()])
    )
    assert means["lesion_f1"] == pytest.approx(
        np.mean([one["lesions"]["mean_f1"] for one in classes.values()])
    )


def test_the_card_keeps_its_figures_and_gains_some(report) -> None:
    told, _ = report
    metrics = card_metrics(told)
    assert metrics["data"] == "2 unseen cases"
    assert metrics["mean_dice"] == told["means"]["dice"]
    assert metrics["mean_nsd_1mm"] == told["means"]["nsd"]
    assert metrics["mean_dice_interval"] == told["means"]["dice_interval"]
    assert metrics["error_map_auprc"] == told["error_map"]["auprc_expected_error"]
    assert {"mean_hd95_mm", "mean_assd_mm", "mean_ece", "lesion_f1"} <= set(metrics)


def test_the_page_shows_both_cases(report) -> None:
    _, page = report
    assert "test model: 2 unseen cases" in page
    assert page.count("<figure>") == 6
    assert page.count("<image") == 6
    assert "<script" not in page


def test_intervals_are_over_groups(
    tiny_model_path: Path, tmp_path: Path, make_image: Callable[..., Volume]
) -> None:
    """Both cases are of one patient, of whom nothing can be drawn."""
    cases = []
    for number, name in enumerate("ab"):
        like = make_image(number, (8, 16, 16))
        image, labels = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_l.nii.gz"
        write_image(like.data, image, like=like)
        truth = np.zeros(like.geometry.shape, np.uint8)
        truth[2:5, 3:7, 4:8] = 2
        write_labels(truth, labels, like=like)
        cases.append(Case(name=name, images=(image,), labels=labels))
    model = load_model(tiny_model_path)
    for groups, count in ((None, 2), ({"a": "p", "b": "p"}, 1)):
        told = run(report_on_cases(model, cases, groups=groups, device="cpu"))
        found = {case["group"] for case in told["evaluation"]["cases"]}
        assert len(found) == count
        assert (told["means"]["dice_interval"] is None) == (count == 1)
