"""What is read of a fine-tuning's folder, be it whole, torn, or somebody else's."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2miseg_napari.finetune_jobs import CurvePoint, find_unfinished, read_history

HISTORY = "step,learning_rate,loss,held_out_wrong\n1,1e-4,0.5,\n2,1e-4,0.25,7\n"


@pytest.fixture
def make(tmp_path):
    def make(name: str, *, history: str = HISTORY, done: bool = False) -> Path:
        folder = tmp_path / "jobs" / name
        folder.mkdir(parents=True)
        request = {"settings": {"steps": 150}}
        (folder / "request.json").write_text(json.dumps(request))
        if history:
            (folder / "history.csv").write_text(history)
        if done:
            (folder / "result.json").write_text("{}")
        return folder

    return make


def test_a_history_is_read_as_it_was_written(make):
    assert read_history(make("a")) == [
        CurvePoint(step=1, loss=0.5),
        CurvePoint(step=2, loss=0.25, wrong=7.0),
    ]


def test_the_model_as_it_was_is_step_0(make):
    history = "step,learning_rate,loss,held_out_wrong\n0,,,9\n1,1e-4,nan,\n"
    assert read_history(make("a", history=history)) == [
        CurvePoint(step=0, wrong=9.0),
        CurvePoint(step=1),
    ]


@pytest.mark.parametrize("text", ["", "step\n1\n", "step,loss,held_out_wrong\nx,y,z\n"])
def test_no_history_and_a_damaged_one_are_no_points(make, text):
    assert read_history(make("a", history=text)) == []


def test_a_project_without_jobs_has_none_to_resume(tmp_path):
    assert find_unfinished(tmp_path) is None


def test_the_name_tells_when_it_was_started(make, tmp_path):
    now = datetime.now(UTC).replace(microsecond=0)
    folder = make(now.strftime("%Y-%m-%dT%H%M%S") + "-12ab34cd")
    found = find_unfinished(tmp_path)
    assert (found.folder, found.step, found.steps) == (folder, 2, 150)
    assert found.started == now
    clock = now.astimezone().strftime("%H:%M")
    sentence = f"The fine-tuning of {clock} stopped at step 2 of 150."
    assert found.sentence == sentence


def test_one_of_another_day_is_told_by_its_day(make, tmp_path):
    make("2024-03-09T120000-12ab34cd")
    assert find_unfinished(tmp_path).sentence.startswith("The fine-tuning of 09 Mar, ")


def test_one_that_was_stopped_while_preparing_is_at_step_0(make, tmp_path):
    make("a", history="")
    assert find_unfinished(tmp_path).step == 0
    assert find_unfinished(tmp_path).seconds == 0


def test_one_that_has_ended_is_not_offered(make, tmp_path):
    make("a", done=True)
    assert find_unfinished(tmp_path) is None


def test_an_older_one_is_not_offered_once_a_newer_one_has_ended(make, tmp_path):
    older, newer = make("b"), make("a", done=True)
    for seconds, folder in enumerate((older, newer)):
        os.utime(folder / "request.json", (seconds, seconds))
    assert find_unfinished(tmp_path) is None


def test_time_at_work_is_from_the_request_to_the_last_checkpoint(make, tmp_path):
    folder = make("a")
    os.utime(folder / "request.json", (1000, 1000))
    os.utime(folder / "history.csv", (1090, 1090))
    assert find_unfinished(tmp_path).seconds == 90
