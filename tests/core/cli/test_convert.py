import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from e2miseg_core.cli.commands import run
from e2miseg_core.conversion.workplace import workplace_of
from e2miseg_core.geometry import Geometry
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.volume import Volume

# Presses Ctrl-C when the first cells are written, then does what the command does.
INTERRUPTED = """
import os, signal, sys
from e2miseg_core.cli import run_command
from e2miseg_core.conversion.workplace import Workplace

note, count = Workplace.note, 0

def interrupting(self, cells):
    global count
    note(self, cells)
    count += 1
    if count == 2:
        os.kill(os.getpid(), signal.SIGINT)

Workplace.note = interrupting
sys.exit(run_command(sys.argv[1:]))
"""


@pytest.fixture
def source(tmp_path):
    voxels = np.random.default_rng(0).integers(1, 99, (200, 40, 40))
    volume = Volume.from_array(
        voxels.astype(np.int16), Geometry.from_spacing(voxels.shape, (1, 1, 1))
    )
    return write_image(volume.data[0], tmp_path / "a.nii", like=volume)


def test_to_a_file_and_to_a_pyramid(source, tmp_path, capsys):
    output = tmp_path / "a.ome.zarr"
    options = ["--levels", "2", "--chunk", "16", "--workers", "1", "--max-memory"]
    assert run(["convert", str(source), str(output), *options, "64MiB", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {event["event"] for event in events} == {"progress", "warning", "result"}
    assert "seconds_left" in events[0]
    result = events[-1]
    assert result["shapes"] == [[1, 200, 40, 40], [1, 100, 20, 20]]
    assert result["kind"] == "image"
    back = tmp_path / "back.nii.gz"
    assert run(["convert", str(output), str(back), "--labels"]) == 0
    assert "read back and equal" in capsys.readouterr().out
    np.testing.assert_array_equal(
        open_volume(back).data.compute(), open_volume(source).data.compute()
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "exists"),
        (["--overwrite", "--chunk", "50"], "a power of two"),
        (["--overwrite", "--max-memory", "much"], "'much' as an amount of memory"),
        (["--overwrite", "--frame", "3"], "frame"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(source, tmp_path, capsys, options, says):
    output = tmp_path / "b.ome.zarr"
    assert run(["convert", str(source), str(output)]) == 0
    capsys.readouterr()
    assert run(["convert", str(source), str(output), *options]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_after_ctrl_c_it_can_be_resumed(source, tmp_path, capsys):
    output = tmp_path / "a.ome.zarr"
    call = ["convert", str(source), str(output), "--chunk", "16", "--levels", "2"]
    stopped = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *call],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert stopped.returncode == 130
    assert stopped.stderr.splitlines() == [
        "error: cancelled; what is finished is kept; "
        "the same call with --resume continues"
    ]
    assert not output.exists()
    assert run([*call, "--resume"]) == 0
    assert "note: continued" in capsys.readouterr().err
    assert not workplace_of(output).exists()


def test_a_stated_size_of_voxels_is_kept_beside_other_options(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4, 5), np.uint8))
    address = f"{tmp_path / 'a.npy'}#spacing=50,4,5&unit=nm"
    assert run(["convert", address, str(tmp_path / "b.ome.zarr"), "--frame", "1"]) == 0
    geometry = open_volume(tmp_path / "b.ome.zarr").geometry
    assert (geometry.spacing, geometry.unit) == ((50, 4, 5), "nm")
