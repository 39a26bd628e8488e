"""The last words of `e2miseg train`."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e2miseg_core.cli.train import _sentence


@pytest.mark.parametrize("dice", [0.0, float("nan")])
def test_a_model_that_finds_nothing_is_not_offered(dice: float) -> None:
    result: Any = SimpleNamespace(
        path=Path("run/model.safetensors"),
        card=None,
        report={
            "means": {"dice": dice, "hd95_mm": 9.0, "nsd": 0.0},
            "error_map": {},
            "error_map_cases": [{}, {}],
        },
    )
    said = _sentence(result)
    assert "finds nothing in 2 unseen cases" in said
    assert "models add" not in said
