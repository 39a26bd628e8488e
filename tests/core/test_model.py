"""Model files: round trip, damage, names."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from e2miseg_core import models
from e2miseg_core.errors import ModelError, WriteError
from e2miseg_core.model import Model, hash_model, load_model, save_model
from e2miseg_core.model_card import CARD_KEY, LabelInfo, ModelCard, read_card
from e2miseg_core.networks import (
    E2MISeg,
    E2MISegConfig,
    build_network,
    create_network,
    network_from_json,
    network_to_json,
)


@pytest.fixture(autouse=True)
def own_models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test may see or touch the user's models."""
    folder = tmp_path / "user" / "models"
    monkeypatch.setattr(models, "models_folder", lambda: folder)
    return folder


def test_a_saved_model_predicts_the_same_after_loading(
    tiny_model: Model, tmp_path: Path
) -> None:
    save_model(tiny_model.network, tiny_model.card, tmp_path / "again.safetensors")
    again = load_model(tmp_path / "again.safetensors")
    image = torch.randn(1, 1, 8, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            again.network(image), tiny_model.network(image), rtol=0, atol=0
        )
    assert again.card == tiny_model.card
    assert not again.network.training


def test_weights_are_stored_as_float16(tiny_model_path: Path) -> None:
    assert {t.dtype for t in load_file(tiny_model_path).values()} == {torch.float16}


def test_the_hash_covers_weights_and_card(
    tiny_model_path: Path, tiny_model: Model, tmp_path: Path
) -> None:
    tensors = load_file(tiny_model_path)
    card = tiny_model.card.to_json()
    changed = tmp_path / "changed.safetensors"
    save_file(tensors, changed, {CARD_KEY: json.dumps({**card, "licence": "mine"})})
    with pytest.raises(ModelError, match="own hash"):
        load_model(changed)
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1
    save_file(tensors, changed, {CARD_KEY: json.dumps(card)})
    with pytest.raises(ModelError, match="own hash"):
        load_model(changed)


def test_a_card_survives_json(tiny_model: Model) -> None:
    stored = json.loads(json.dumps(tiny_model.card.to_json()))
    assert ModelCard.from_json(stored) == tiny_model.card


def test_colours_are_numbers_too(tiny_model: Model) -> None:
    assert tiny_model.card.label_colors == {2: (230, 159, 0), 7: (86, 180, 233)}
    odd = LabelInfo(value=1, name="a", color="tomato")
    assert odd.rgb == (128, 128, 128)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"shoe_size": 43}, "unknown fields"),
        ({"labels": [{"value": 1}]}, "missing or wrong field"),
    ],
)
def test_foreign_cards_are_refused(
    tiny_model: Model, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        ModelCard.from_json({**tiny_model.card.to_json(), **change})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 4,
        struct.pack("<Q", 2**60) + b"{}",  # a header that would fill the memory
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 5) + b"{\xff\xfe\xfd}",
        struct.pack("<Q", 8) + b'{"a": 1}',
    ],
)
def test_what_is_no_model_is_refused_in_one_line(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert "broken.safetensors" in str(caught.value)


def test_every_truncation_is_refused(tiny_model_path: Path, tmp_path: Path) -> None:
    whole = tiny_model_path.read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in np.linspace(0, len(whole) - 1, 12, dtype=int):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            load_model(path)


def test_weights_of_another_network_are_refused(
    tiny_model: Model, tmp_path: Path
) -> None:
    other = create_network("tiny", in_channels=1, n_classes=5)
    save_model(other, tiny_model.card, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match="do not fit its card"):
        load_model(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"architecture": "unet", "config": {}}, "holds a network 'unet'.*e2miseg"),
        ({"architecture": "e2miseg"}, "without its configuration"),
        ({"architecture": "e2miseg", "config": {"depth": 3}}, "keys"),
        ({"architecture": ["e2miseg"], "config": {}}, "holds a network"),
        ({"architecture": {}, "config": {}}, "holds a network"),
        ([], "holds a network"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(
    tiny_model: Model, tmp_path: Path, network: Any, message: str
) -> None:
    path = tmp_path / "odd.safetensors"
    save_model(tiny_model.network, replace(tiny_model.card, network=network), path)
    with pytest.raises(ModelError, match=message):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        {"patch_size": [2**40] * 3, "hfr": {"position": "voxel"}},
        {"patch_size": [2**70] * 3, "hfr": {"position": "voxel"}},
        {"patch_size": [2**70] * 3},
        {"patch_size": [2**14] * 3, "hfr": {"token_maps": "separate"}},
        {"widths": [2**40, 2**41]},
        {"blocks": 10**9},
        {"hfr": {"refinements": 10**9}},
        {"n_tokens": 2**66},
        {"in_channels": 2},
        {"n_classes": 9},
        {"stem_stride": [2, 2]},
        {"attention_dropout": float("nan")},
    ],
)
def test_cards_that_were_tampered_with_are_refused_in_one_line(
    tiny_model: Model, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "odd.safetensors"
    stored = tiny_model.card.network
    network = {**stored, "config": {**stored["config"], **change}}
    save_model(tiny_model.network, replace(tiny_model.card, network=network), path)
    with pytest.raises(ModelError, match=r"odd\.safetensors") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"channels": ("a", "b")}, {"labels": ()}, {"patch_size": (16, 32, "a")}]
)
def test_cards_that_do_not_suit_their_network_are_refused(
    tiny_model: Model, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "odd.safetensors"
    save_model(tiny_model.network, replace(tiny_model.card, **change), path)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"odd\.safetensors"):
        load_model(path)


def test_statistics_and_what_float16_cannot_hold_keep_their_values(
    tiny_model: Model, tmp_path: Path
) -> None:
    card = tiny_model.card
    config = network_from_json(card.network)
    assert isinstance(config, E2MISegConfig)
    config = replace(config, norms="published")
    network = build_network(config)
    assert isinstance(network, E2MISeg)
    large = {n for n, _ in network.named_buffers() if n.endswith("running_var")}
    with torch.no_grad():
        for name in large:
            network.get_buffer(name).fill_(1e6)
        network.heads[0].bias.fill_(-7e4)
    path = tmp_path / "large.safetensors"
    save_model(network, replace(card, network=network_to_json(config)), path)
    loaded = load_model(path).network
    assert large
    for name in large:
        assert (loaded.get_buffer(name) == 1e6).all()
    assert (loaded.get_parameter("heads.0.bias") == -7e4).all()
    stored = load_file(path)
    assert stored["heads.0.weight"].dtype == torch.float16


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_neither_written_nor_read(
    tiny_model_path: Path, tmp_path: Path, value: float
) -> None:
    model = load_model(tiny_model_path)
    path = tmp_path / "odd.safetensors"
    tensors = load_file(tiny_model_path)
    tensors["heads.0.bias"][0] = value
    card = replace(model.card, hash=hash_model(tensors, model.card))
    save_file(tensors, path, {CARD_KEY: json.dumps(card.to_json())})
    with pytest.raises(ModelError, match=r"heads\.0\.bias.*not finite"):
        load_model(path)
    path.unlink()
    with torch.no_grad():
        model.network.get_parameter("heads.0.bias")[0] = value
    with pytest.raises(ModelError, match=r"heads\.0\.bias.*not finite"):
        save_model(model.network, model.card, path)
    assert not path.exists()


def test_a_full_disk_leaves_no_file(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_tensors: object, path: Path, _metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("e2miseg_core.tensor_file.save_file", fill)
    with pytest.raises(WriteError, match="No space left"):
        save_model(tiny_model.network, tiny_model.card, tmp_path / "m.safetensors")
    assert not list(tmp_path.glob("*.safetensors*"))
    assert not list(tmp_path.glob(".*"))


def test_models_are_found_by_name_and_installed_ones_win(
    tiny_model_path: Path, own_models_folder: Path
) -> None:
    entry = models.add_model(tiny_model_path)
    assert entry.path == own_models_folder / "test.safetensors"
    assert models.find_model("test") == entry.path
    assert models.find_model(tiny_model_path) == tiny_model_path
    assert "test" in [e.name for e in models.list_models()]
    with pytest.raises(WriteError, match="installed already"):
        models.add_model(tiny_model_path)
    assert models.add_model(tiny_model_path, overwrite=True).path == entry.path


def test_a_training_s_file_is_installed_under_the_name_in_its_card(
    tiny_model_path: Path, tiny_model: Model, own_models_folder: Path, tmp_path: Path
) -> None:
    trained = tmp_path / "run" / "model.safetensors"
    for name, installed in [
        ("liver-ct", "liver-ct"),
        ("test model", "test-model"),
        ("../a/b", "a-b"),
        ("...", "model"),
    ]:
        save_model(tiny_model.network, replace(tiny_model.card, name=name), trained)
        assert models.name_to_install(trained, read_card(trained)) == installed
        assert models.add_model(trained).path == own_models_folder / (
            f"{installed}.safetensors"
        )
    assert models.add_model(tiny_model_path, name="other").name == "other"
    with pytest.raises(WriteError, match="--name"):
        models.add_model(tiny_model_path, name="other")
    for wrong in ("", "a/b", "..", ".hidden", "two words"):
        with pytest.raises(ModelError, match="--name"):
            models.add_model(tiny_model_path, name=wrong)


def test_the_group_may_read_a_model_as_any_other_file(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert tiny_model_path.stat().st_mode == plain.stat().st_mode
    assert models.add_model(tiny_model_path).path.stat().st_mode == plain.stat().st_mode


def test_an_installed_model_stays_until_the_new_one_is_on_the_disk(
    tiny_model_path: Path, own_models_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    models.add_model(tiny_model_path)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        models.add_model(tiny_model_path, overwrite=True)
    assert [p.name for p in own_models_folder.iterdir()] == ["test.safetensors"]
    assert load_model("test").card.name == "test model"


def test_a_broken_file_does_not_hide_the_others(
    tiny_model_path: Path, own_models_folder: Path
) -> None:
    models.add_model(tiny_model_path)
    (own_models_folder / "junk.safetensors").write_bytes(b"junk")
    assert "test" in [e.name for e in models.list_models()]
    assert "junk" not in [e.name for e in models.list_models()]


def test_unknown_names_are_answered_with_the_known_ones(tiny_model_path: Path) -> None:
    models.add_model(tiny_model_path)
    with pytest.raises(ModelError, match=r"no model 'liver'.*test"):
        load_model("liver")


def test_a_card_is_read_without_the_weights_but_not_without_their_size(
    tiny_model_path: Path, tmp_path: Path
) -> None:
    whole = tiny_model_path.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    path = tmp_path / "hollow.safetensors"
    path.write_bytes(whole[:header] + bytes(len(whole) - header))
    assert read_card(path).name == "test model"
    path.write_bytes(whole[:-1])
    with pytest.raises(ModelError, match="size that its header states"):
        models.add_model(path)


def test_a_card_of_an_unknown_normalisation_hides_no_other_model(
    tiny_model_path: Path, tiny_model: Model, own_models_folder: Path
) -> None:
    models.add_model(tiny_model_path)
    card = tiny_model.card.to_json()
    card["normalizations"] = [{"scheme": "robust"}]
    path = own_models_folder / "robust.safetensors"
    save_file(load_file(tiny_model_path), path, {CARD_KEY: json.dumps(card)})
    assert "test" in [e.name for e in models.list_models()]
    with pytest.raises(ModelError, match="robust"):
        read_card(path)


def test_a_damaged_installed_model_does_not_hide_the_starter_of_its_name(
    tiny_model_path: Path, own_models_folder: Path
) -> None:
    starter = models.find_model("hippocampus")
    own_models_folder.mkdir(parents=True)
    (own_models_folder / "hippocampus.safetensors").write_bytes(b"junk")
    assert models.find_model("hippocampus") == starter
