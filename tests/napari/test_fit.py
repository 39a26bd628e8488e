import pytest

from e2miseg_core.geometry import Geometry
from e2miseg_core.model_card import LabelInfo, ModelCard
from e2miseg_core.preprocess import Normalization
from e2miseg_napari.fit import judge_fit


def card(channels=("CT",), spacing=(2.0, 1.0, 1.0)) -> ModelCard:
    return ModelCard(
        name="m",
        labels=(LabelInfo(value=1, name="a", color="#ff0000"),),
        channels=channels,
        normalizations=(Normalization(),) * len(channels),
        spacing=spacing,
        patch_size=(16, 16, 16),
        network={},
    )


def test_a_fitting_image_gets_no_remark():
    fit = judge_fit(
        card(), ("image",), Geometry.from_spacing((9, 9, 9), (3.0, 0.8, 0.8))
    )
    assert (fit.refusal, fit.doubt) == ("", "")


def test_missing_channels_are_refused_with_their_names():
    fit = judge_fit(
        card(("CT", "PET")), ("CT",), Geometry.from_spacing((9, 9, 9), (2, 1, 1))
    )
    assert "1 channels; needed: 2 (CT, PET)" in fit.refusal


def test_one_channel_too_many_is_refused():
    fit = judge_fit(card(), tuple("abcd"), Geometry.from_spacing((9, 9, 9), (2, 1, 1)))
    assert "4 channels; needed: 1 (CT)" in fit.refusal


def test_what_the_engine_would_refuse_is_refused_before():
    geometry = Geometry.from_spacing((9, 9, 9), (8, 8, 8), "um")
    assert "0.008 x 0.008 x 0.008 mm" in judge_fit(card(), ("image",), geometry).refusal


@pytest.mark.parametrize(
    ("spacing", "unit", "factor"),
    [
        ((2, 1, 4), "mm", "4.0"),
        ((2, 0.25, 1), "mm", "4.0"),
        ((400, 400, 400), "um", "5.0"),
    ],
)
def test_a_far_off_spacing_is_doubted(spacing, unit, factor):
    fit = judge_fit(card(), ("image",), Geometry.from_spacing((9, 9, 9), spacing, unit))
    assert not fit.refusal
    assert f"up to {factor} times" in fit.doubt


def doubt(model_channel: str, channel: str, notes=()) -> str:
    geometry = Geometry.from_spacing((9, 9, 9), (2, 1, 1))
    return judge_fit(card((model_channel,)), (channel,), geometry, notes).doubt


@pytest.mark.parametrize(
    ("model_channel", "channel"),
    [("CT", "SUV body weight"), ("T1", "CT"), ("FDG-PET", "CT"), ("CT", "MR")],
)
def test_another_modality_is_doubted(model_channel, channel):
    line = doubt(model_channel, channel)
    assert channel in line
    assert model_channel in line


@pytest.mark.parametrize(
    ("model_channel", "channel"),
    [
        ("CT", "CT"),
        ("CT (HU)", "CT"),
        ("PET", "SUV body weight"),
        ("image", "CT"),
        ("CT", "image"),
        ("CT", "CT or PET"),  # tells nothing
        ("CT", "actual"),
    ],
)
def test_the_same_or_an_unknown_modality_is_not_doubted(model_channel, channel):
    assert doubt(model_channel, channel) == ""


def test_an_assumed_size_of_voxels_is_doubted():
    notes = ("no spacing is stated: voxels taken as 1 mm",)
    assert "assumed" in doubt("CT", "CT", notes)
    assert doubt("CT", "CT", ("values are HU",)) == ""
