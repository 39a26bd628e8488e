"""The command line as a user or a program calls it."""

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from rich.console import Console

from e2miseg_core.cli import commands, run_command
from e2miseg_core.cli.networks import sizes_table
from e2miseg_core.cli.output import Output
from e2miseg_core.describe import describe_volume
from e2miseg_core.errors import Cancelled
from e2miseg_core.io import open_labels, open_volume, write_image
from e2miseg_core.volume import Segments, Volume

ERROR_PARTS = "; needed: "


def events(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def image(dataset_folder: Path) -> Path:
    return dataset_folder / "images" / "case_3.nii.gz"


def predict(image: Path | str, output: Path, model: Path, *options: str) -> int:
    return run_command(
        ["predict", str(image), "-o", str(output), "--model", str(model), *options]
    )


def test_predict_then_evaluate(
    image: Path,
    tiny_model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, error = tmp_path / "out.nii.gz", tmp_path / "err.nii.gz"
    assert (
        predict(image, out, tiny_model_path, "--error-map", str(error), "--json") == 0
    )
    said = events(capsys)
    assert {event["event"] for event in said} <= {"progress", "result", "warning"}
    assert said[-1]["event"] == "result"
    assert said[-1]["outputs"] == {"labels": str(out), "error_map": str(error)}
    found = open_volume(error)
    assert found.geometry.matches(open_volume(image).geometry)
    assert found.dtype == np.float32
    assert run_command(["evaluate", str(out), str(out), "--json"]) == 0


def test_several_images_go_to_a_folder(
    image: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    other = image.with_name("case_4.nii.gz")
    arguments = ["predict", str(image), str(other), "--model", str(tiny_model_path)]
    folder, errors = tmp_path / "labels", tmp_path / "errors"
    code = run_command([*arguments, "-o", str(folder), "--error-map", str(errors)])
    assert code == 0
    for place in (folder, errors):
        names = sorted(path.name for path in place.iterdir())
        assert names == ["case_3.nii.gz", "case_4.nii.gz"]
    assert run_command([*arguments, "-o", str(tmp_path / "one.nii.gz")]) == 2


def test_a_frame_of_a_series_is_predicted_into_a_file_of_its_own(
    image: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    one = np.asarray(open_volume(image).data)
    series = Volume.from_array(np.concatenate([one, one]), spacing=(1, 1, 1))
    path = write_image(series.data, tmp_path / "heart.nii.gz", like=series)
    (tmp_path / "out").mkdir()
    assert predict(f"{path}#frame=1", tmp_path / "out", tiny_model_path) == 0
    (written,) = (tmp_path / "out").iterdir()
    assert written.name == "heart_frame1.nii.gz"
    assert open_labels(written).geometry.shape == series.geometry.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "missing.nii.gz"], "missing.nii.gz"),
        (["info"], "INPUT"),
        (
            ["predict", ".", "-o", "out", "--model", "hippocampus"],
            ". is of an unknown format",
        ),
        (["predict", "--frobnicate"], "--frobnicate"),
        (["bogus"], "bogus"),
        (["models", "show", "nobody"], "nobody"),
        (["train", "-o", "run"], "--images"),
        (["train", "nowhere", "-o", "run"], "nowhere"),
        (["train", "nowhere", "-o", "run", "--label", "liver"], "--label liver"),
    ],
)
def test_faults_are_one_line_with_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert ERROR_PARTS in said.err
    assert "Traceback" not in said.err
    assert not list(tmp_path.iterdir())
    assert run_command([*arguments, "--json"]) == 2
    event = events(capsys)[-1]
    assert event["event"] == "error"


def test_an_existing_output_is_kept_unless_overwrite_is_said(
    image: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.nii.gz"
    out.write_bytes(b"precious")
    assert predict(image, out, tiny_model_path) == 2
    assert out.read_bytes() == b"precious"
    assert predict(image, out, tiny_model_path, "--overwrite") == 0
    assert open_labels(out).geometry.matches(open_volume(image).geometry)


def test_images_are_never_written_over(
    dataset_folder: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    images = []
    for number in (1, 2):
        image = tmp_path / f"case_{number}.nii.gz"
        shutil.copy(dataset_folder / "images" / image.name, image)
        images.append(image)
    before = [image.read_bytes() for image in images]
    arguments = ["predict", *map(str, images), "--model", str(tiny_model_path)]
    assert run_command([*arguments, "-o", str(tmp_path), "--overwrite"]) == 2
    assert predict(images[0], images[0], tiny_model_path, "--overwrite") == 2
    assert [image.read_bytes() for image in images] == before


def test_a_name_in_brackets_is_told_as_it_is(
    dataset_folder: Path,
    tiny_model_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image = tmp_path / "scan[left].nii.gz"
    shutil.copy(dataset_folder / "images" / "case_1.nii.gz", image)
    assert predict(image, tmp_path / "out.nii.gz", tiny_model_path) == 0
    assert "scan[left].nii.gz" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(28, "No space left on device", "/somewhere")]
)
def test_memory_and_disk_are_the_user_s_to_mend(
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(commands, "app", full)
    assert run_command(["info", "x"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") == 1


def test_json_lines_never_hold_nan(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(as_json=True) as output:
        output.result({"a": float("nan"), "b": {"c": [1.0, float("inf")]}})
    line = capsys.readouterr().out
    assert json.loads(line) == {"event": "result", "a": None, "b": {"c": [1.0, None]}}


def test_a_bug_keeps_its_traceback_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "app", lambda *_args, **_kw: broken())
    assert run_command(["info", "x"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, Cancelled])
def test_cancelling_exits_130(
    interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_args: object, **_options: object) -> None:
        raise interruption

    monkeypatch.setattr(commands, "app", stopped)
    assert run_command(["info", "x"]) == 130


LOADING = """
import builtins, os, signal, sys
from e2miseg_core import cli
module = sys.argv.pop(1)
# What is started in the background, as these tests may be, ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
load = builtins.__import__
def interrupted(name, *args, **options):
    if name == module:
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *args, **options)
builtins.__import__ = interrupted
cli.main()
"""


@pytest.mark.parametrize("module", ["typer", "e2miseg_core.cli.train", "torch"])
def test_ctrl_c_while_modules_are_loaded_is_one_line(
    module: str, image: Path, tiny_model_path: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LOADING, module, "predict", str(image)]
    command += ["-o", str(tmp_path / "o.nii"), "--model", str(tiny_model_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith("error: cancelled; ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert not (tmp_path / "o.nii").exists()


def test_ctrl_c_while_modules_are_loaded_is_an_event_to_programs() -> None:
    command = [sys.executable, "-c", LOADING, "typer", "info", "scan.nii", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    (line,) = done.stdout.splitlines()
    event = json.loads(line)
    assert event.pop("event") == "error"
    assert done.stderr == f"error: {event.pop('message')}\n"
    assert event == {}


def test_info_agrees_with_the_volume(
    image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["info", str(image), "--json"]) == 0
    found = events(capsys)[-1]
    volume = open_volume(image)
    assert found["shape"] == list(volume.geometry.shape)
    np.testing.assert_allclose(found["affine"], volume.geometry.affine)
    assert found["orientation"] == "SPL"
    assert run_command(["info", str(image)]) == 0
    assert "SPL" in capsys.readouterr().out


def test_info_tells_which_models_fit_an_image_of_several_channels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = Volume.from_array(np.zeros((3, 9, 8, 7), np.float32), spacing=(1, 1, 1))
    path = write_image(volume.data, tmp_path / "three.nii.gz", like=volume)
    assert run_command(["info", str(path)]) == 0
    assert "no: an image of 3 channels" in capsys.readouterr().out


def test_an_image_unlike_the_model_s_is_told_before_the_work(
    tiny_model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume = Volume.from_array(np.zeros((9, 8, 7), np.float32), spacing=(4, 1, 1))
    path = write_image(volume.data[0], tmp_path / "thick.nii.gz", like=volume)
    assert predict(path, tmp_path / "out.nii.gz", tiny_model_path) == 0
    assert "4.0 times unlike these" in capsys.readouterr().err


def test_ctrl_c_says_what_happened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("e2miseg_core.describe.describe_volume", _interrupted)
    monkeypatch.setattr("e2miseg_core.io.open_volume", lambda _path: None)
    assert run_command(["info", "x.nii"]) == 130
    assert "cancelled; nothing half-written was left" in capsys.readouterr().err


def _interrupted(_volume: object) -> None:
    raise KeyboardInterrupt


def test_networks_lists_every_preset(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(["networks", "--json"]) == 0
    rows = events(capsys)[-1]["networks"]
    forms = [(row["preset"], row["form"]) for row in rows]
    assert forms[:4] == [
        ("tiny", "clean"),
        ("small", "clean"),
        ("acdc", "clean"),
        ("acdc", "published"),
    ]
    assert rows[3]["parameters"] == 85_131_796
    # Once is enough.
    monkeypatch.setattr("e2miseg_core.networks.cost.preset_costs", lambda: rows)
    assert run_command(["networks"]) == 0
    assert "cardiac MR with thick slices; needs a GPU" in capsys.readouterr().out
    console = Console(width=80, file=io.StringIO())
    console.print(sizes_table(rows))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    (acdc,) = [line for line in lines if "85,131,796" in line]
    told = ["acdc", "published", "1 -> 4", "60.9 G", "16 x 160 x 160 *", "644 MB"]
    assert all(part in acdc for part in told)


def test_train_makes_a_model_that_predicts(
    dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = ["train", "--images", str(dataset_folder / "images"), "--labels"]
    arguments += [str(dataset_folder / "labels"), "-o", str(run), "--preset", "tiny"]
    arguments += ["--epochs", "1", "--label", "1=box", "--device", "cpu", "--json"]
    assert run_command(arguments) == 0
    result = events(capsys)[-1]
    model = Path(result["model"])
    assert model == run / "model.safetensors"
    assert run_command(["models", "show", str(model)]) == 0
    assert "box" in capsys.readouterr().out
    image = dataset_folder / "images" / "case_0.nii.gz"
    assert predict(image, tmp_path / "out.nii.gz", model) == 0


def test_help_needs_no_torch() -> None:
    """Help, info and errors answer at once: torch takes seconds to load."""
    code = (
        "import sys; from e2miseg_core.cli import run_command; "
        "run_command(['--help']); "
        "run_command(['models', 'list']); run_command(['info', 'nowhere.nii']); "
        "sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_info_goes_on_after_an_input_that_cannot_be_read(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no image")
    inputs = [str(image), str(bad), str(image)]
    assert run_command(["info", *inputs, "--json"]) == 2
    told = events(capsys)
    assert [event["event"] for event in told] == ["result", "error", "result"]
    assert [event["input"] for event in told] == inputs
    assert "bad.nii.gz" in told[1]["message"]
    assert run_command(["info", *inputs]) == 2
    said = capsys.readouterr()
    assert said.out.count("SPL") == 2
    assert said.err.count("error: ") == said.err.count("\n") == 1


def test_info_lists_what_there_is_to_choose_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scan[left].h5"
    with h5py.File(path, "w") as file:
        file["left"] = np.zeros((4, 5, 6), np.uint8)
        file["right"] = np.zeros((4, 5, 6), np.uint8)
    assert run_command(["info", str(path), "--json"]) == 0
    (found,) = events(capsys)
    assert {choice["part"] for choice in found["choices"]} == {"/left", "/right"}
    assert run_command(["info", str(path)]) == 0
    said = capsys.readouterr().out
    assert "scan[left].h5" in said
    assert "/left" in said
    assert run_command(["info", f"{path}#part=/right", "--json"]) == 0
    (found,) = events(capsys)
    assert found["shape"] == [4, 5, 6]
    assert found["address"].endswith("#part=/right")


def test_info_tells_labels_by_name_and_predicts_them_with_nothing() -> None:
    volume = Volume.from_array(np.zeros((3, 4, 5), np.uint8), spacing=(1, 1, 1))
    segments = Segments(names={1: "liver", 3: "cyst"}, colors={3: (255, 0, 9)})
    found = describe_volume(replace(volume, segments=segments))
    assert found["segments"] == {
        1: {"name": "liver", "color": None},
        3: {"name": "cyst", "color": [255, 0, 9]},
    }
    assert found["memory_to_predict"] == {}


def test_help_has_no_hard_breaks_in_a_paragraph() -> None:
    text = """One.

    Two lines
    of text.

    Dice: an
    overlap.
    NSD: surfaces.
    """
    expected = "One.\n\nTwo lines of text.\n\nDice: an overlap.\nNSD: surfaces."
    assert commands.reflowed(text) == expected
