"""What differs from the run that is to be resumed."""

from e2miseg_core.training.differences import told_differences


def test_both_values_are_told_by_the_name_of_the_option() -> None:
    stored = {"recipe": {"epochs": 3, "seed": 1}, "precision": "float32"}
    given = {"recipe": {"epochs": 5, "seed": 1}, "precision": "float32"}
    assert told_differences(given, stored) == "epochs 5, the run has 3"


def test_many_and_long_ones_are_cut_short() -> None:
    given = {name: ["case"] * 99 for name in "abcde"}
    told = told_differences(given, {})
    assert told.count("the run has null") == 2
    assert told.endswith("; and 3 more")
    assert len(told) < 150
