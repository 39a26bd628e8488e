"""Damaged images of every format open, or are refused in one line.

`python -m benchmarks.fuzz` tries thousands; here are 300 of them.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fuzz, fuzz_worker
from e2miseg_core.errors import ReadError

ROOT = Path(__file__).parents[3]


def test_damaged_images_of_every_format_open_or_are_refused_in_one_line():
    command = [sys.executable, "-m", "benchmarks.fuzz", "--json", "--workers", "1"]
    ended = subprocess.run(
        [*command, "--inputs", "300", "--seed", "7", "--slow", "0.05"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = json.loads(ended.stdout)
    assert found["failures"] == []
    assert found["inputs"] >= 300
    assert min(found["outcomes"][kind] for kind in fuzz.GOOD) > 50


def raise_another(path):
    raise LookupError(path)


def refuse(path):
    raise ReadError(found="a", needed="b", do="c")


def fill_memory(path):
    np.ones(1 << 30, np.uint8)


@pytest.mark.parametrize(
    ("reader", "outcome"),
    [
        (refuse, "one line"),
        (raise_another, "traceback LookupError"),
        pytest.param(
            fill_memory,
            "memory",
            marks=pytest.mark.skipif(
                sys.platform != "linux", reason="the system keeps no limit"
            ),
        ),
    ],
)
def test_each_outcome_is_told(monkeypatch, tmp_path, reader, outcome):
    monkeypatch.setattr(fuzz_worker, "open_volume", reader)
    assert fuzz_worker.open_and_read(tmp_path)["outcome"] == outcome


def test_the_same_seed_makes_the_same_inputs(tmp_path):
    sample = tmp_path / "samples" / "a.npy"
    sample.parent.mkdir()
    np.save(sample, np.arange(60).reshape(3, 4, 5))
    made = [
        fuzz_worker.prepare(sample, tmp_path / "input", seed, index).read_bytes()
        for seed, index in ((0, 1), (0, 1), (0, 2), (1, 1))
    ]
    assert made[0] == made[1]
    assert len(set(made)) == 3


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("import os; os.abort()", f"crash -{int(signal.SIGABRT)}"),
        ("import time; time.sleep(60)", "hang"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="has no signals")
def test_a_dead_and_a_hanging_child_are_told(monkeypatch, tmp_path, code, outcome):
    real = subprocess.Popen
    monkeypatch.setattr(fuzz, "SECONDS", 0.5)
    monkeypatch.setattr(
        fuzz.subprocess,
        "Popen",
        lambda command, **options: real([command[0], "-c", code], **options),
    )
    started = time.monotonic()
    with fuzz.Worker(tmp_path, 0) as worker:
        item = fuzz.Input("numpy", tmp_path / "a.npy", 0)
        assert worker.ask(item)["outcome"] == outcome
    assert time.monotonic() - started < 30
