"""Files of tensors: whole or not at all, whatever the disk says."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from e2miseg_core.errors import WriteError
from e2miseg_core.tensor_file import write_tensors


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.safetensors"
    for value in (1.0, 2.0):
        tensors = {"w": torch.full((2, 3), value, dtype=torch.float16)}
        write_tensors(path, tensors, {"said": f"{value}"}, do="")
        assert torch.equal(load_file(path)["w"], tensors["w"])
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"said": f"{value}"}
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_what_the_library_has_against_it_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def refuse(_tensors: object, partial: Path, _metadata: object) -> None:
        partial.write_bytes(b"half")
        said = "I/O error: No space left on device (os error 28)"
        raise SafetensorError(said)

    monkeypatch.setattr("e2miseg_core.tensor_file.save_file", refuse)
    with pytest.raises(WriteError, match=r"os error 28.*buy a disk") as caught:
        write_tensors(path, {}, {}, do="buy a disk")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_old_file_stays_until_the_new_one_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"w": torch.zeros(2)}, {}, do="")
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_tensors(path, {"w": torch.ones(2)}, {}, do="")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
