"""Files that are there whole or not at all."""

import errno
import json
import os
from pathlib import Path

import pytest

from e2miseg_core.errors import WriteError
from e2miseg_core.io.atomic import replacing, write_json


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"a": [2, None]})
    assert json.loads(path.read_text()) == {"a": [2, None]}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def write() -> None:
        with replacing(path) as partial:
            assert partial.suffix == ".txt"
            partial.write_text("new")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match=r"a\.txt cannot be written \(No space"):
            write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    write()
    assert path.read_text() == "new"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written"):
        write_json(tmp_path / "none" / "a.json", {})
