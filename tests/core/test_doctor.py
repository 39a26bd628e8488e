"""The computer is described rightly, and whatever is amiss comes with a remedy."""

import importlib
import json
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from e2miseg_core.cli.doctor import doctor as command
from e2miseg_core.doctor import (
    Check,
    checks,
    computer,
    copies,
    device,
    installed_models,
    window,
    works,
)
from e2miseg_core.doctor.check import Probe, probe
from e2miseg_core.io.cache import keeping as cache

LOADER = (
    "qt.core.library: cannot load libqxcb.so: (libxcb-icccm.so.4: cannot open shared "
    "object file: No such file or directory)"
)


def test_what_is_amiss_needs_a_remedy_and_what_works_has_none():
    with pytest.raises(ValueError, match="needs a remedy"):
        Check(name="Qt", ok=False, found="broken")
    with pytest.raises(ValueError, match="needs a remedy"):
        Check(name="Qt", ok=None, found="absent")
    with pytest.raises(ValueError, match="needs a remedy"):
        Check(name="Qt", ok=True, found="6.7", do="nothing")


@pytest.mark.parametrize(
    ("ok", "needed", "expected"),
    [
        (True, True, True),
        (None, True, True),
        (False, True, False),
        (False, False, True),
        (None, False, True),
    ],
)
def test_only_what_prediction_needs_counts(ok, needed, expected):
    do = "" if ok else "mend it"
    fine = Check(name="Python", ok=True, found="3.13")
    assert works([fine, Check(name="x", ok=ok, found="y", do=do, needed=needed)]) is (
        expected
    )


def test_a_probe_that_crashes_is_a_finding():
    said = probe("-c", "import os; os._exit(3)")
    assert said.facts == {}
    assert "3" in said.complaint


def test_a_probe_answers_with_its_last_object():
    lines = ["hello", "[1]", '{"a": 1}', '{"a": 2}', "5"]
    code = f"for line in {lines!r}: print(line)"
    assert probe("-c", code).facts == {"a": 2}


def test_a_probe_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr("e2miseg_core.doctor.check.PROBE_SECONDS", 0.5)
    said = probe("-c", "import time; time.sleep(60)")
    assert said.facts == {}
    assert "no answer" in said.complaint


def test_the_probe_sees_the_given_environment():
    code = "import os; print('{\"x\": ' + os.environ['E2M_X'] + '}')"
    assert probe("-c", code, environment={"E2M_X": "7"}).facts == {"x": 7}


def test_requirements_of_an_extra_are_its_own():
    plain = {r.name: installed for r, installed in computer.requirements()}
    gui = {r.name for r, _ in computer.requirements("gui")}
    assert plain["torch"] == version("torch")
    assert "napari" not in plain
    assert gui == {"napari", "pyside6-essentials"}


def test_a_package_out_of_range_is_named_with_its_remedy(monkeypatch):
    def pretend(name: str) -> str:
        return "2.1.0" if name == "zarr" else version(name)

    monkeypatch.setattr(computer, "version", pretend)
    packages = next(c for c in computer.computer_checks() if c.name == "Packages")
    assert packages.ok is False
    assert packages.found == "zarr is 2.1.0"
    assert packages.do.startswith(f"run: {sys.executable} -m pip install ")
    needed = next(r for r, _ in computer.requirements() if r.name == "zarr")
    assert f'"zarr{needed.specifier}"' in packages.do
    assert "2.1.0" not in needed.specifier


def test_a_folder_that_cannot_be_written_is_found(tmp_path):
    (tmp_path / "file").write_text("in the way")
    bad = computer.disk_check("Models", tmp_path / "file" / "models")
    good = computer.disk_check("Models", tmp_path / "not" / "yet")
    assert bad.ok is False
    assert str(tmp_path / "file") in bad.do
    assert good.ok is not False
    assert not (tmp_path / "not").exists()


def test_a_container_limit_counts_as_the_memory(monkeypatch):
    monkeypatch.setattr(computer, "_container_limit", lambda: 2**30)
    memory = next(c for c in computer.computer_checks() if c.name == "Memory")
    assert "of 1.0 GiB" in memory.found
    assert memory.ok is None


def copy_of_an_image(nbytes):
    with cache.making("a-1", 0) as folder:
        (folder / "voxels").write_bytes(b"x" * nbytes)


def test_the_cache_is_told_and_cleared(tmp_path, monkeypatch):
    monkeypatch.setenv("E2MISEG_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("E2MISEG_CACHE_GB", "0.5")
    empty = copies.cache_check()
    assert "0 copies of images, 0.0 of at most 0.5 GiB" in empty.found
    assert not (tmp_path / "cache").exists()
    copy_of_an_image(3 << 20)
    told = copies.cache_check()
    assert "1 copy of images" in told.found
    assert str(tmp_path / "cache") in told.found
    busy = doctor("--clear-cache", "--json")
    assert json.loads(busy.stdout)["freed"] == 0  # this process uses it
    for marker in (tmp_path / "cache" / "users").iterdir():
        marker.unlink()
    assert "3.0 MiB freed" in doctor("--clear-cache").stdout
    assert cache.list_entries() == []


def test_a_cache_that_cannot_be_is_told_but_not_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("E2MISEG_CACHE_GB", "plenty")
    wrong = copies.cache_check()
    assert wrong.ok is False
    assert "E2MISEG_CACHE_GB=plenty" in wrong.found
    assert works([wrong])


def facts(*devices: dict[str, object], cuda: str | None = None) -> Probe:
    return Probe(facts={"version": "2.13", "cuda": cuda, "devices": list(devices)})


CPU = {"device": "cpu", "name": "EPYC", "bf16": True, "problem": ""}
GPU = {
    "device": "cuda:0",
    "name": "H200",
    "bf16": True,
    "memory": 141 * 2**30,
    "problem": "",
}


def test_devices_are_told_with_memory_and_precision():
    cpu, gpu = device.device_checks(facts({**CPU, "bf16": False}, GPU, cuda="13.0"))
    assert cpu == Check(name="Device cpu", ok=True, found="EPYC, float32")
    assert gpu.found == "H200, 141 GiB, float32 and bfloat16"
    assert gpu.ok is True


def test_a_broken_gpu_leaves_prediction_on_the_cpu():
    found = device.device_checks(facts(CPU, {**GPU, "problem": "no kernel image"}))
    assert found[1].ok is False
    assert "no kernel image" in found[1].found
    assert works(found)


def test_without_torch_nothing_works():
    found = device.device_checks(Probe(complaint="x\nImportError: libtorch.so"))
    assert not works(found)
    assert "ImportError: libtorch.so" in found[0].found


@pytest.mark.parametrize(
    ("driver", "cuda", "said", "remedy"),
    [
        (None, None, "none found", "GPU for long training"),
        ("/usr/bin/nvidia-smi", None, "without CUDA", "pytorch.org"),
        ("/usr/bin/nvidia-smi", "13.0", "too old", "update the NVIDIA driver"),
    ],
)
def test_why_there_is_no_gpu(monkeypatch, driver, cuda, said, remedy):
    monkeypatch.setattr(device.shutil, "which", lambda _: driver)
    gpu = device.device_checks(facts(CPU, cuda=cuda))[1]
    assert gpu.ok is None
    assert said in gpu.found
    assert remedy in gpu.do


def test_models_are_told_and_one_damaged_file_does_not_stop_the_others():
    folder = "Models folder"
    good = installed_models.model_checks(Probe(facts={"models": {"b": "", "a": ""}}))
    assert [(c.name, c.ok) for c in good if c.name != folder] == [("Models", True)]
    assert good[0].found == "a, b"
    one = installed_models.model_checks(Probe(facts={"models": {"a": "", "b": "torn"}}))
    assert one[0].ok is False
    assert one[0].found == "torn"
    assert works(one)
    assert not works(installed_models.model_checks(Probe(facts={"models": {"b": "x"}})))
    assert not works(installed_models.model_checks(Probe(facts={"models": {}})))


def test_missing_libraries_become_packages():
    text = (
        LOADER + "\nImportError: libEGL.so.1: cannot open shared object file: No such"
    )
    assert window.missing_packages(text) == ["libegl1", "libxcb-icccm4"]
    assert window.missing_packages("libfoo-2.so.3: cannot open shared object") == [
        "libfoo-2.so"
    ]
    assert window.missing_packages("all is well") == []


def test_qt_without_its_libraries_gets_the_apt_line():
    said = Probe(complaint="ImportError: libEGL.so.1: cannot open shared object file")
    (qt,) = window.qt_checks(said, None)
    assert qt.ok is False
    assert qt.do == "run: sudo apt-get install -y libegl1"
    assert not qt.needed


def test_qt_that_is_not_installed_is_no_fault():
    said = Probe(
        complaint="qtpy.QtBindingsNotFoundError: No Qt bindings could be found"
    )
    (qt,) = window.qt_checks(said, None)
    assert qt.ok is None
    assert 'pip install "e2miseg-napari[gui]"' in qt.do


def test_the_display_is_judged_by_opengl(monkeypatch):
    monkeypatch.setattr(computer, "version", lambda _: "6.7.0")
    offscreen = Probe(facts={"binding": "PySide6", "version": "6.7.0"})
    shown = {"platform": "xcb", "opengl": True, "renderer": "llvmpipe"}
    good = window.qt_checks(offscreen, Probe(facts=shown))[1]
    assert (good.ok, good.found) == (True, "xcb, OpenGL by llvmpipe")
    bare = window.qt_checks(offscreen, Probe(facts={**shown, "opengl": False}))[1]
    assert bare.ok is False
    assert "libgl1-mesa-dri" in bare.do
    torn = window.qt_checks(offscreen, Probe(complaint=LOADER))[1]
    assert torn.do == "run: sudo apt-get install -y libxcb-icccm4"
    none = window.qt_checks(offscreen, None)[1]
    assert none.ok is None
    assert works([good, bare, torn, none])


def test_napari_out_of_range_is_named(monkeypatch):
    monkeypatch.setattr(computer, "version", lambda _: "0.10.1")
    napari = window.napari_check()
    assert napari.ok is False
    assert "0.10.1" in napari.found
    assert "napari<0.10,>=0.9.2" in napari.do


def test_a_qt_binding_out_of_range_is_named(monkeypatch):
    offscreen = Probe(facts={"binding": "PySide6", "version": "6.12.0"})
    monkeypatch.setattr(computer, "version", lambda _: "6.12.0")
    qt = window.qt_checks(offscreen, None)[0]
    assert qt.ok is False
    assert "6.12.0" in qt.found
    assert '"pyside6-essentials<6.12,>=6.7"' in qt.do


def test_another_qt_binding_is_taken_as_it_is(monkeypatch):
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(computer, "version", nothing)
    qt = window.qt_checks(Probe(facts={"binding": "PyQt6", "version": "6.13"}), None)[0]
    assert (qt.ok, qt.found) == (True, "PyQt6 6.13")


def test_a_plugin_that_napari_does_not_find_is_told():
    assert window.plugin_check(Probe(facts={"commands": 4})).ok is True
    torn = window.plugin_check(Probe(complaint="FileNotFoundError: napari.yaml"))
    assert torn.ok is False
    assert "FileNotFoundError: napari.yaml" in torn.found


@pytest.mark.slow
def test_this_computer_can_compute():
    found = {check.name: check for check in checks()}
    for name in ("Python", "Packages", "Device cpu", "Qt", "napari", "Plugin"):
        assert found[name].ok is True, found[name]
    assert version("torch") in found["Packages"].found
    assert version("PySide6_Essentials") in found["Qt"].found


@pytest.fixture
def findings(monkeypatch):
    found = [Check(name="Python", ok=True, found="3.13 [beta]")]
    # By import_module, since the package gives this name to the function.
    module = importlib.import_module("e2miseg_core.cli.doctor")
    monkeypatch.setattr(module, "checks", lambda: found)
    return found


def doctor(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments)


def test_the_command_tells_programs_in_one_json_line(findings):
    findings.append(Check(name="Qt", ok=None, found="no", do="yes", needed=False))
    result = doctor("--json")
    assert result.exit_code == 0
    event = json.loads(result.stdout)
    assert (event["event"], event["ok"]) == ("result", True)
    assert event["checks"][1] == {
        "name": "Qt",
        "ok": None,
        "found": "no",
        "do": "yes",
        "needed": False,
    }


def test_the_command_tells_people_what_to_do_and_fails(findings):
    findings.append(Check(name="Models", ok=False, found="none", do="run: [pip]"))
    result = doctor()
    assert result.exit_code == 2
    assert "3.13 [beta]" in result.stdout
    assert "run: [pip]" in result.stdout
    assert "mend what is marked BAD" in result.stdout
