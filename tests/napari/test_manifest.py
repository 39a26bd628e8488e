import importlib
from pathlib import Path

import pytest
from npe2 import PluginManifest

from e2miseg_core.io import known_suffixes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_distribution("e2miseg-napari")


def test_the_manifest_on_top_is_the_one_in_the_package():
    inside = ROOT / "e2miseg_napari" / "napari.yaml"
    assert (ROOT / "napari.yaml").read_bytes() == inside.read_bytes()


def test_the_plugin_has_the_distributions_name(manifest):
    assert manifest.name == "e2miseg-napari"
    assert manifest.display_name == "E2MISeg"
    assert [widget.display_name for widget in manifest.contributions.widgets] == [
        "E2MISeg"
    ]


def test_every_command_can_be_imported(manifest):
    commands = manifest.contributions.commands
    assert len(commands) == 4
    for command in commands:
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_everything_contributed_is_one_of_the_commands(manifest):
    contributed = manifest.contributions
    known = {command.id for command in contributed.commands}
    used = {
        item.command
        for part in (
            contributed.readers,
            contributed.writers,
            contributed.widgets,
            contributed.sample_data,
            contributed.menus["napari/layers/segment"],
        )
        for item in part
    }
    assert used == known


def test_napari_is_offered_every_format_of_the_core(manifest):
    (reader,) = manifest.contributions.readers
    (writer,) = manifest.contributions.writers
    assert set(reader.filename_patterns) == {f"*{end}" for end in known_suffixes()}
    assert set(writer.filename_extensions) == set(known_suffixes(writable=True))
    assert reader.accepts_directories
