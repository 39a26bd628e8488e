"""Regions: presets, the user's own, and how they nest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import ConfigError
from e2miseg_core.evaluation import PRESETS, evaluate_case, parse_region


def test_presets_as_the_field_has_them():
    told = {
        name: {one.name: one.values for one in regions}
        for name, regions in PRESETS.items()
    }
    assert told["acdc"] == {"RV": (1,), "Myo": (2,), "LV": (3,)}
    assert told["brats"] == {"ET": (3,), "TC": (2, 3), "WT": (1, 2, 3)}
    assert told["brats2017"] == {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}
    assert told["brats2023"] == {"ET": (3,), "TC": (1, 3), "WT": (1, 2, 3)}


def test_an_own_region():
    region = parse_region("WT=3+1 + 2")
    assert (region.name, region.values, region.key) == ("WT", (1, 2, 3), "1+2+3")
    assert parse_region("core=7").key == 7


@pytest.mark.parametrize("text", ["WT", "WT=", "=1", "WT=1+x", "WT=0+1", "WT=2+2"])
def test_wrong_regions_are_told(text):
    with pytest.raises(ConfigError, match=r"WT=1\+2\+3"):
        parse_region(text)


@given(st.integers(0, 1000))
def test_brats_regions_nest(seed):
    labels = np.random.default_rng(seed).integers(0, 4, (3, 4, 5))
    inner, middle, outer = (one.mask(labels) for one in PRESETS["brats"])
    assert not np.any(inner & ~middle)
    assert not np.any(middle & ~outer)
    assert np.array_equal(outer, labels > 0)


def test_a_region_does_not_mind_confusion_inside_it():
    """Necrosis called enhancing: wrong for ET, right for TC and WT."""
    reference = np.zeros((4, 4, 4), int)
    reference[1:3, 1:3, 1:3] = 2
    predicted = np.where(reference == 2, 3, 0)
    scores = evaluate_case(predicted, reference, (1.0, 1.0, 1.0), PRESETS["brats"])
    assert [scores[key].dice for key in (3, "2+3", "1+2+3")] == [0, 1, 1]
