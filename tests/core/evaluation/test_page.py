"""The HTML page: whole, harmless, and right in what it draws."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from e2miseg_core.evaluation import (
    CaseScores,
    ProbabilityMap,
    Report,
    Structure,
    evaluate_case,
    evaluate_paths,
)
from e2miseg_core.evaluation.page import (
    WorstPictures,
    draw_case,
    draw_worst,
    render_page,
    worst_cases,
    write_page,
)
from e2miseg_core.evaluation.page.pictures import CasePicture, _largest_error
from e2miseg_core.evaluation.page.svg import Axes, nice_range
from e2miseg_core.io import write_labels
from e2miseg_core.io.address import Address
from e2miseg_core.progress import run
from e2miseg_core.volume import Volume

SPACING = (2.0, 1.0, 1.0)
VOID = {"meta", "line", "rect", "polyline", "image", "path"}


class Reader(HTMLParser):
    """Tags that are open, and everything that might fetch or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"href", "src", "xlink:href", "data", "action"}:
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(html: str) -> Reader:
    """Well formed, and nothing in it reaches outside."""
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    assert reader.tags.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert "url(" not in html
    assert "@import" not in html
    return reader


def labels(seed: int):
    reference = np.zeros((6, 12, 14), np.uint8)
    reference[1:4, 2:6, 3:9] = 1
    reference[2:5, 7:10, 2:5] = 2
    predicted = np.roll(reference, seed % 4, axis=2)
    return predicted, reference


def report_of(n_cases: int, names=None, *, probabilities=False) -> Report:
    names = names or {1: "head", 2: "tail"}
    cases = []
    for number in range(n_cases):
        pair = labels(number)
        p = np.stack([pair[0] == v for v in (0, 1, 2)]).astype(np.float32)
        maps = ProbabilityMap(data=p * 0.8 + 0.1, class_values=(0, 1, 2))
        classes = evaluate_case(
            *pair, SPACING, names, probabilities=maps if probabilities else None
        )
        name = f"case{number:03d}"
        cases.append(CaseScores(case=name, predicted="", reference="", classes=classes))
    return Report(cases=tuple(cases), label_names=names, tolerance_mm=1.0)


@pytest.mark.parametrize("n_cases", [1, 2, 500])
def test_a_page_of_any_number_of_cases(n_cases):
    if n_cases < 500:
        report = report_of(n_cases, probabilities=True)
    else:
        ten = report_of(10)
        many = [ten.cases[i % 10] for i in range(500)]
        named = [
            CaseScores(
                case=f"case{i:03d}", predicted="", reference="", classes=one.classes
            )
            for i, one in enumerate(many)
        ]
        report = Report(
            cases=tuple(named), label_names=ten.label_names, tolerance_mm=1.0
        )
    html = render_page(report)
    check(html)
    assert html.count("<td>case") == 2 * n_cases
    assert len(html) < 3_000_000
    assert ("Reliability" in html) == (n_cases < 500)
    assert "nan" not in html.lower()


def test_names_are_text_whatever_they_are():
    evil = "<script>alert(1)</script>\"'&"
    report = report_of(2, {1: evil, 2: "b"})
    picture = CasePicture(case="case000", html="", note=evil)
    html = render_page(report, [picture], title=evil)
    check(html)
    assert html.count("&lt;script&gt;alert(1)") >= 4


def test_the_worst_cases_come_first():
    report = report_of(8)
    means = [case.mean("dice") for case in worst_cases(report, 5)]
    assert means == sorted(means)
    assert means[0] == min(report.case_means("dice"))
    worst = WorstPictures(3)
    drawn = []
    for number, dice in enumerate([0.5, 0.9, 0.1, 0.7, 0.3]):

        def draw(name=f"c{number}") -> CasePicture:
            drawn.append(name)
            return CasePicture(case=name, html="")

        worst.offer(dice, draw)
    assert [one.case for one in worst.pictures] == ["c2", "c4", "c0"]
    assert drawn == ["c0", "c1", "c2", "c3", "c4"]
    worst.offer(0.6, lambda: pytest.fail("drawn in vain"))


def test_the_largest_error_is_where_it_is():
    reference = np.zeros((9, 20, 20), int)
    predicted = reference.copy()
    predicted[1, 1, 1] = 1
    predicted[3:8, 5:12, 10:17] = 1
    one = [Structure(name="one", values=(1,))]
    centre, extent = _largest_error((predicted, reference), one)
    assert (centre, extent) == ((5, 8, 13), (5, 7, 7))
    assert _largest_error((predicted, predicted), one)[0] == (4, 6, 8)


def test_slices_show_the_image_and_both_contours():
    """A bright plane z = 3 of an error; its contour surrounds the wrong voxel."""
    reference = np.zeros((7, 9, 11), int)
    predicted = reference.copy()
    predicted[3, 4, 5] = 1
    image = np.zeros((7, 9, 11), np.float32)
    image[3] = np.arange(9)[:, None]
    structures = {1: Structure(name="one", values=(1,))}
    picture = draw_case("a", (predicted, reference), structures, SPACING, image)
    check(picture.html)
    data = re.findall(r"base64,([^\"]+)", picture.html)
    assert len(data) == 3
    axial, coronal, _ = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in data
    )
    assert axial.shape == (9, 11)
    assert all((one < two).all() for one, two in pairwise(axial[1:-1]))
    assert coronal.shape == (7, 11)
    assert (coronal[3] > 0).all()
    assert not coronal[4:].any()
    paths = re.findall(r'<path d="([^"]+)"[^>]*(stroke-dasharray)?', picture.html)
    assert len(paths) == 3  # the reference is empty
    size = 300 / 11  # of a voxel on the page
    numbers = np.array(re.findall(r"[\d.]+", paths[0][0]), float).reshape(-1, 2)
    assert numbers.mean(axis=0) == pytest.approx([5.5 * size, 4.5 * size], rel=0.05)


def test_the_head_is_up():
    """A structure at the top of z lies at the top of the coronal picture."""
    reference = np.zeros((20, 5, 5), int)
    predicted = reference.copy()
    reference[18, 2, 2] = 1
    predicted[10, 1:4, 1:4] = 1
    structures = {1: Structure(name="one", values=(1,))}
    picture = draw_case("a", (predicted, reference), structures, (1.0, 1.0, 1.0))
    coronal = picture.html.split("</figure>")[1]
    paths = re.findall(r'<path d="([^"]+)"[^>]*>', coronal)
    heights = [
        np.array(re.findall(r"[\d.]+", one), float).reshape(-1, 2)[:, 1].mean()
        for one in paths
    ]
    assert len(heights) == 2
    dashed = [("dasharray" in one) for one in re.findall(r"<path[^>]*>", coronal)]
    by_kind = dict(zip(dashed, heights, strict=True))
    assert by_kind[False] < by_kind[True]  # the reference is above


def test_pictures_from_files_and_what_cannot_be_drawn(tmp_path):
    for case, seed in (("a", 1), ("b", 2)):
        for folder, one in zip("pr", labels(seed), strict=True):
            like = Volume.from_array(one, spacing=SPACING)
            (tmp_path / folder).mkdir(exist_ok=True)
            write_labels(one, tmp_path / folder / f"{case}.nii.gz", like=like)
    report = run(evaluate_paths(tmp_path / "p", tmp_path / "r"))
    (tmp_path / "p" / "a.nii.gz").unlink()
    images = {"b": Address(str(tmp_path / "r" / "b.nii.gz"))}
    first, second = run(draw_worst(report, images))
    assert (first.case, first.html.count("<image")) == ("b", 3)
    assert second.note.startswith("not drawn")
    write_page(tmp_path / "page.html", render_page(report, [first, second]))
    check((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_places_in_a_plot():
    axes = Axes(title="", x_label="", y_label="", x_range=(0, 10), y_range=(-1, 1))
    assert axes.x(5) == pytest.approx((axes.x(0) + axes.x(10)) / 2)
    assert axes.y(1) < axes.y(0) < axes.y(-1)
    assert nice_range([]) == (0.0, 1.0)
    assert nice_range([3.0])[0] < 3 < nice_range([3.0])[1]
    low, high = nice_range([0.0, 1e-9])
    assert low < 0 < 1e-9 < high
