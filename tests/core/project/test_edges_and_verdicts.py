"""Edges, verdicts and the logs that they stand in."""

import os
import sys
from pathlib import Path

import pytest

from e2miseg_core.boxes import Box, make_box
from e2miseg_core.errors import ConfigError, ReadError, WriteError
from e2miseg_core.project import (
    Edge,
    EdgeList,
    ReviewLog,
    read_edges,
    write_edges,
)
from e2miseg_core.project.json_lines import append_line, read_lines


def make_edge(number: int) -> Edge:
    box: Box = make_box((number, 2, 3), (9, 9, 4))
    return Edge(
        number=number,
        box=box,
        centre=(number + 4, 6, 5),
        expected_wrong=12.5 / number,
        gain=0.01 / number,
        classes=(0, 7),
    )


def test_edges_come_back_from_their_file(tmp_path: Path) -> None:
    edges = EdgeList(
        edges=tuple(make_edge(n) for n in (1, 2)),
        total_expected=99.25,
        temperature=1.4,
        bias=(0.0, 0.25),
        note="temperature of the model",
    )
    write_edges(tmp_path / "edges.json", edges)
    assert read_edges(tmp_path / "edges.json") == edges
    assert [p.name for p in tmp_path.iterdir()] == ["edges.json"]


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', '{"format": 1}'])
def test_unreadable_edges_are_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "edges.json").write_text(content)
    with pytest.raises(ReadError, match="rank the edges again"):
        read_edges(tmp_path / "edges.json")


def test_the_latest_verdict_counts(tmp_path: Path) -> None:
    log, one, two = ReviewLog(tmp_path / "review.jsonl"), make_edge(1), make_edge(2)
    assert log.latest() == {}
    assert log.sites() == []
    log.append(one, "corrected", prediction=1)
    log.append(two, "fine", prediction=1)
    log.append(make_edge(3), "skipped", prediction=1)
    assert log.sites() == [(one.box, "corrected"), (two.box, "fine")]
    log.append(one, "skipped", prediction=1)
    assert log.latest()[1, one.box] == "skipped"
    assert (2, one.box) not in log.latest()
    assert log.sites() == [(two.box, "fine")]
    log.append(one, "fine", prediction=2)
    again = ReviewLog(log.path)
    assert again.sites() == [(two.box, "fine"), (one.box, "fine")]
    assert again.latest() == {
        (1, two.box): "fine",
        (1, make_edge(3).box): "skipped",
        (1, one.box): "skipped",
        (2, one.box): "fine",
    }
    with pytest.raises(ConfigError, match="the verdict 'good'"):
        log.append(one, "good", prediction=1)  # type: ignore[arg-type]


def test_a_line_cut_short_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_lines(path) == []
    append_line(path, {"a": 1})
    append_line(path, {"b": "ü,\n"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    append_line(path, {"c": None})
    assert read_lines(path) == [{"a": 1}, {"c": None}]
    path.write_bytes(whole.replace(b'"a":1', b'"a":2'))
    assert read_lines(path) == [{"b": "ü,\n"}]
    path.write_bytes(b"\n\nnot json\n" + whole)
    assert len(read_lines(path)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit for files")
def test_a_line_that_does_not_fit_on_the_disk_leaves_the_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    path = tmp_path / "log.jsonl"
    append_line(path, {"a": 1})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    truncate = os.truncate

    def make_room(file: Path, size: int) -> None:
        truncate(file, size)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(os, "truncate", make_room)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
    try:
        with pytest.raises(WriteError, match="cannot be written"):
            append_line(path, {"b": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    append_line(path, {"c": 3})
    assert read_lines(path) == [{"a": 1}, {"c": 3}]
