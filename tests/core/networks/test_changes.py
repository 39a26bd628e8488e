"""Switches of a network by their names."""

from dataclasses import replace

import pytest

from e2miseg_core.errors import ConfigError
from e2miseg_core.networks import (
    E2MISegConfig,
    MFGAConfig,
    change_network,
    preset_config,
)


def test_fields_and_fields_of_groups_are_set_by_name() -> None:
    config = preset_config("small")
    assert isinstance(config, E2MISegConfig)
    found = change_network(
        config,
        [
            "edge-head=true",
            "mfga.enabled=false",
            "hfr.qk_source=token",
            "hfr.conv_merge = add",
            "widths=[32, 48, 64]",
            "attention_dropout=0.25",
        ],
    )
    assert found == replace(
        config.with_hfr(qk_source="token", conv_merge="add"),
        edge_head=True,
        mfga=MFGAConfig(enabled=False),
        widths=(32, 48, 64),
        attention_dropout=0.25,
    )
    assert change_network(config, []) == config


def test_other_architectures_have_their_own_switches() -> None:
    ehanet = change_network(preset_config("ehanet"), ["edge_input=encoder"])
    assert ehanet.to_json()["edge_input"] == "encoder"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("depth=3", "hfr.qk_source"),
        ("hfr.depth=3", "hfr.qk_source"),
        ("blocks.depth=3", "hfr.qk_source"),
        ("edge_head", "NAME=VALUE"),
        ("hfr=1", "hfr = 1"),
        ("blocks=many", "blocks = 'many'.*a whole number; correct"),
        ("edge_head=1", "true or false"),
        ("edge-head=yes", "--network edge_head = 'yes'; needed: true or false; corr"),
        ("mfga.enabled=yes", "--network mfga.enabled = 'yes'; needed: true or false"),
        ('mfga={"enabled": 1}', "enabled = 1"),
        ("attention_dropout=x", "needed: a number;"),
        ("norms=1", "one of 'group', 'published'"),
        ("widths=32", "whole numbers in a list"),
        ("n_tokens=x", "a whole number, or whole numbers in a list"),
        ("patch_size=[16, 32]", "three whole numbers"),
        ("mfga=false", "its settings, one by one: enabled"),
        ("hfr.fusion=product", "'concat', 'sum'"),
        ("hfr.qk_source=token", "nothing uses"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        change_network(preset_config("tiny"), [setting])
    assert "\n" not in str(caught.value)
