import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_napari.jobs import EdgesJob, FinetuneJob, PredictJob
from e2miseg_napari.protocol import (
    Block,
    EdgesResult,
    FinetuneResult,
    JobFailed,
    JobProgress,
    PredictResult,
    Ready,
    encode,
)
from e2miseg_napari.protocol import parse_event as parse

EVENTS = (
    "ready",
    "pong",
    "started",
    "progress",
    "paused",
    "resumed",
    "stores",
    "block",
    "result",
    "cancelled",
    "error",
    "warning",
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["1", "x"]), inner, max_size=2)
    ),
    max_leaves=8,
)
KEYS = (
    "id box done total seconds_left voxels message protocol labels error_map "
    "seconds version kind traceback stage details kept sentence figures edges "
    "prediction"
)
keys = st.sampled_from(KEYS.split())


@given(st.sampled_from(EVENTS), st.dictionaries(keys, values, max_size=12))
def test_no_message_of_a_known_event_raises(event, fields):
    line = json.dumps({**fields, "event": event}).encode()
    parse(line)  # an event or None


@given(st.binary(max_size=60))
def test_no_line_raises(line):
    parse(line)


def test_a_ready_may_leave_its_device_open():
    line = b'{"event": "ready", "version": "0.1", "protocol": 1, "pid": 7}'
    assert parse(line) == Ready(version="0.1", protocol=1, device="")


@pytest.mark.parametrize(
    ("box", "parsed"),
    [([[0, 4], [2, 6], [1, 9]], ((0, 4), (2, 6), (1, 9))), ([[0, 4], [2, 6]], None)],
)
def test_a_block_has_three_axes(box, parsed):
    event = parse(json.dumps({"event": "block", "id": "j", "box": box}).encode())
    assert event == (Block(id="j", box=parsed) if parsed else None)


def test_progress_makes_no_promise_that_is_no_number():
    line = b'{"event":"progress","id":"j","done":9,"total":4,"seconds_left":NaN}'
    event = parse(line)
    assert event == JobProgress(id="j", done=4, total=4, stage="", seconds_left=None)


def test_an_error_of_unknown_kind_is_taken_for_a_bug():
    line = b'{"event":"error","id":"j","kind":"?","message":" a\\n b "}'
    assert parse(line) == JobFailed(id="j", kind="bug", message="a b")


def test_details_are_finite_numbers():
    details = {"loss": 0.5, "held_out_wrong": 7, "x": math.nan, "box": [1], "y": True}
    event = {"event": "progress", "id": "j", "done": 1, "total": 4, "details": details}
    step = parse(json.dumps(event).encode())
    assert step.details == {"loss": 0.5, "held_out_wrong": 7.0}


@pytest.mark.parametrize(
    ("fields", "result"),
    [
        ({"edges": 4}, EdgesResult(id="j", edges=4)),
        (
            {
                "labels": "a",
                "error_map": "b",
                "seconds": 2,
                "voxels": {"1": 9},
                "prediction": 3,
                "edges": 4,
            },
            PredictResult(
                id="j",
                labels="a",
                error_map="b",
                seconds=2.0,
                voxels={1: 9},
                prediction=3,
                edges=4,
            ),
        ),
        (
            {"kept": False, "sentence": "Refused:\n no.", "figures": None},
            FinetuneResult(
                id="j", kept=False, sentence="Refused: no.", figures={}, version=None
            ),
        ),
        ({}, None),
        ({"edges": "many"}, None),
    ],
)
def test_a_result_is_told_by_what_it_holds(fields, result):
    assert (
        parse(json.dumps({"event": "result", "id": "j", **fields}).encode()) == result
    )


def test_a_command_is_one_line_whatever_the_path():
    job = PredictJob(id="j", image="/a\nb/ü.nii", model="m", output="o", mirror=True)
    line = encode(job.command())
    assert line.count(b"\n") == 1
    assert json.loads(line)["image"] == "/a\nb/ü.nii"
    assert json.loads(line)["mirror"] is True


def test_a_prediction_for_a_project_names_no_image():
    command = PredictJob(id="j", project="/p.e2m", case="one", device="cpu").command()
    assert command == {
        "command": "predict",
        "id": "j",
        "project": "/p.e2m",
        "case": "one",
        "device": "cpu",
        "mirror": False,
    }


def test_commands_of_the_other_jobs():
    assert EdgesJob(id="j", project="/p.e2m", case="one").command() == {
        "command": "edges",
        "id": "j",
        "project": "/p.e2m",
        "case": "one",
    }
    job = FinetuneJob(id="j", project="/p.e2m", settings={"steps": 9})
    assert job.command() == {
        "command": "finetune",
        "id": "j",
        "project": "/p.e2m",
        "job": None,
        "resume": False,
        "settings": {"steps": 9},
    }
    again = FinetuneJob(id="j", project="/p.e2m", job="/p.e2m/jobs/1", resume=True)
    assert again.command()["job"] == "/p.e2m/jobs/1"
    assert again.command()["resume"] is True
