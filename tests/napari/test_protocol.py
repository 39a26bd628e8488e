import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_napari.protocol import Block, Job, JobFailed, JobProgress, Ready, encode
from e2miseg_napari.protocol import parse_event as parse

EVENTS = (
    "ready",
    "pong",
    "started",
    "progress",
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
    "seconds version kind traceback stage"
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


def test_a_command_is_one_line_whatever_the_path():
    job = Job(id="j", image="/a\nb/ü.nii", model="m", output="o", mirror=True)
    line = encode(job.command())
    assert line.count(b"\n") == 1
    assert json.loads(line)["image"] == "/a\nb/ü.nii"
    assert json.loads(line)["mirror"] is True
