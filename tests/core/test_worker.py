"""The worker process, spoken to as the plugin does."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zarr

from e2miseg_core.inference.prediction import predict
from e2miseg_core.io import open_volume, write_image
from e2miseg_core.model import load_model
from e2miseg_core.volume import Volume


class Client:
    """A worker and what it said."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "e2miseg_core.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def send(self, **command: Any) -> None:
        self.say(json.dumps(command))

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, *names: str) -> list[dict[str, Any]]:
        """Every event up to the first of these names."""
        assert self.process.stdout is not None
        events = []
        for line in self.process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] in names:
                return events
        raise AssertionError((names, events, self.process.stderr.read()))  # type: ignore[union-attr]

    def close(self) -> int:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return self.process.wait(timeout=240)


@pytest.fixture
def client() -> Iterator[Client]:
    found = Client()
    yield found
    if found.process.poll() is None:
        found.process.kill()
    found.close()


@pytest.fixture
def image_file(tmp_path: Path, make_image: Callable[..., Volume]) -> Path:
    volume = make_image(11, (40, 60, 50))
    return write_image(
        np.asarray(volume.data[0]), tmp_path / "scan.nii.gz", like=volume
    )


def test_the_worker_gives_what_predict_gives(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    client.say("this is not json")
    client.say("[1, 2]")
    client.send(command="dance", id="d")
    client.send(command="ping")
    client.send(
        command="predict",
        id="p",
        image=str(image_file),
        model=str(tiny_model_path),
        output=str(tmp_path / "out"),
    )
    events = client.until("result", "error")
    names = [event["event"] for event in events]
    assert names.count("warning") == 3
    assert "pong" in names
    assert names[-1] == "result"
    assert names.index("started") < names.index("stores") < names.index("block")
    result = events[-1]
    direct = predict(open_volume(image_file), load_model(tiny_model_path))
    labels = zarr.open_array(Path(result["labels"]) / "0", mode="r")[...]
    errors = zarr.open_array(Path(result["error_map"]) / "0", mode="r")[...]
    np.testing.assert_array_equal(labels, np.asarray(direct.labels))
    np.testing.assert_array_equal(
        errors.astype(np.float32) / np.float32(255), np.asarray(direct.error_map)
    )
    assert result["voxels"] == {str(v): n for v, n in direct.voxels.items()}
    client.send(command="shutdown")
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.wait(timeout=240) == 0


def test_cancelling_stops_the_job_and_leaves_nothing(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    command = {
        "command": "predict",
        "image": str(image_file),
        "model": str(tiny_model_path),
    }
    client.send(**command, id="one", output=str(tmp_path / "one"), overlap=0.8)
    client.send(**command, id="two", output=str(tmp_path / "two"))
    client.until("stores")
    client.send(command="cancel", id="one")
    client.send(command="cancel", id="two")  # before it has begun
    events = client.until("cancelled", "result")
    assert events[-1] == {"event": "cancelled", "id": "one"}
    assert not any((tmp_path / "one").iterdir())
    assert client.until("cancelled", "result")[-1]["id"] == "two"
    client.send(**command, id="three", output=str(tmp_path / "three"))
    assert client.until("result", "error")[-1]["event"] == "result"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "/nowhere.nii.gz"}, "nowhere"),
        ({"model": "nobody"}, "no model 'nobody'"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"overlap": 1.5}, "overlap of 1.5"),
        ({"overlap": "much"}, "overlap"),
        ({"output": None}, "output"),
    ],
)
def test_mendable_faults_are_one_line_and_the_worker_lives_on(
    client: Client,
    image_file: Path,
    tiny_model_path: Path,
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    command = {
        "command": "predict",
        "id": "p",
        "image": str(image_file),
        "model": str(tiny_model_path),
        "output": str(tmp_path / "out"),
    }
    client.send(**{**command, **change})
    event = client.until("error", "result")[-1]
    assert event["kind"] == "user"
    assert message in event["message"]
    assert "\n" not in event["message"]
    client.send(command="ping")
    assert client.until("pong")


def test_earlier_results_in_the_folder_are_left_alone(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    command = {
        "command": "predict",
        "image": str(image_file),
        "model": str(tiny_model_path),
        "output": str(tmp_path / "out"),
    }
    client.send(**command, id="one")
    result = client.until("result", "error")[-1]
    before = zarr.open_array(Path(result["labels"]) / "0", mode="r")[...]
    client.send(**command, id="two")
    event = client.until("result", "error")[-1]
    assert (event["event"], event["kind"]) == ("error", "user")
    after = zarr.open_array(Path(result["labels"]) / "0", mode="r")[...]
    np.testing.assert_array_equal(after, before)


def test_lines_of_any_bytes_do_not_stop_the_worker_from_ending(client: Client) -> None:
    assert client.process.stdin is not None
    client.until("ready")
    client.process.stdin.buffer.write(b"\xff\xfe\n" + b"[" * 100_000 + b"\n")
    client.process.stdin.flush()
    client.send(command="cancel", id="never seen")
    client.send(command="ping")
    assert client.until("pong")
    client.process.stdin.close()
    assert client.process.wait(timeout=120) == 0


def test_the_end_of_input_ends_a_busy_worker(
    client: Client, image_file: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    client.send(
        command="predict",
        id="p",
        image=str(image_file),
        model=str(tiny_model_path),
        output=str(tmp_path / "out"),
        overlap=0.9,
    )
    client.until("stores")
    process = psutil.Process(client.process.pid)
    assert client.process.stdin is not None
    client.process.stdin.close()
    assert client.process.wait(timeout=240) == 0
    assert not process.is_running()
