import pytest

from e2miseg_core.project import Project
from e2miseg_napari.version_list import VersionLine, list_versions, trained_on


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({}, ""),
        (
            {"dataset": "phantoms", "training": ["a", "b"], "unseen": ["c"]},
            "2 cases of phantoms",
        ),
        ({"training": ["a"]}, "1 case"),
        (
            {
                "training": ["a", "b"],
                "finetuning": {
                    "corrections": 13,
                    "held_out": 4,
                    "cases": ["x"],
                    "replayed": ["p", "q"],
                    "steps": 150,
                },
            },
            "13 corrections in 1 case, 2 earlier cases replayed, 150 steps",
        ),
        (
            {"finetuning": {"corrections": 1, "cases": ["x", "y"], "replayed": []}},
            "1 correction in 2 cases",
        ),
    ],
)
def test_what_a_model_was_trained_on(training, words):
    assert trained_on(training) == words


def test_versions_and_refused_tries_the_newest_first(tmp_path, tiny_model):
    project = Project.create(tmp_path / "a.e2m", model=tiny_model)
    model = project.version.path
    project.add_version(model, figures={}, sentence="Kept: better.")
    project.refuse_version(figures={}, sentence="Not kept: worse.")
    project.use_version(0)
    lines = list_versions(project)
    assert [(line.number, line.current) for line in lines] == [
        (None, False),
        (1, False),
        (0, True),
    ]
    assert [line.sentence for line in lines[:2]] == [
        "Not kept: worse.",
        "Kept: better.",
    ]
    assert lines[0].origin == "a try to improve version 1"


@pytest.mark.parametrize(
    ("made", "when"),
    [("2024-03-09T12:00:00+00:00", "09 Mar 2024"), ("long ago", "long ago")],
)
def test_when_it_was_made(made, when):
    line = VersionLine(number=1, made=made, origin="", sentence="", current=False)
    assert line.when.startswith(when)
