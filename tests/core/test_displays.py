"""What the tests' own displays say when they cannot be had."""

import shutil
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="there is no Xvfb")
def test_a_display_that_does_not_start_is_told_in_xvfb_s_words(
    pytestconfig: pytest.Config,
) -> None:
    conftest = pytestconfig.pluginmanager.get_plugin(str(CONFTEST))
    assert conftest is not None
    with pytest.raises(RuntimeError, match=r"wide and high.*Invalid screen config"):
        conftest._start_display("wide and high")
