"""Splits: every case once, patients whole, and those that others made."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.errors import ConfigError, DatasetError, ReadError
from e2miseg_core.training.splits import (
    Split,
    SplitRule,
    group_cases,
    read_split,
    split_cases,
)

names_of_cases = st.lists(
    st.text("abcdefgh0123_", min_size=1, max_size=8),
    min_size=3,
    max_size=60,
    unique=True,
)


@given(names=names_of_cases, chosen=st.integers(0, 4))
def test_a_split_uses_every_case_once(names: list[str], chosen: int) -> None:
    fold = min(chosen, len(names) - 1)
    split = split_cases(names, fold=fold)
    parts = [*split.training, *split.selection, *split.unseen]
    assert sorted(parts) == sorted(names)
    assert split.training
    assert split.selection
    assert split.unseen
    assert split == split_cases(list(reversed(names)), fold=fold)


@given(names=names_of_cases)
def test_every_case_is_unseen_in_exactly_one_fold(names: list[str]) -> None:
    folds = range(min(5, len(names)))
    unseen = [name for fold in folds for name in split_cases(names, fold=fold).unseen]
    assert sorted(unseen) == sorted(names)


def test_too_few_cases_and_unknown_folds_are_refused() -> None:
    with pytest.raises(DatasetError, match="at least 3"):
        split_cases(["a", "b"], fold=0)
    with pytest.raises(ConfigError, match="fold 5"):
        split_cases(["a", "b", "c"], fold=5)
    with pytest.raises(ConfigError, match=r"fold 3.*0 to 2"):
        split_cases(["a", "b", "c"], fold=3)  # would be fold 0 again
    names = ["p1_a", "p1_b", "p2_a", "p3_a", "p4_a", "p4_b"]
    with pytest.raises(ConfigError, match=r"fold 4.*0 to 3"):
        SplitRule(group=r"p\d").split(names, fold=4)


def test_folds_stay_what_they_were() -> None:
    """Figures of folds that were published belong to these cases."""
    split = split_cases([f"case_{i}" for i in range(10)], fold=1)
    assert split == Split(
        training=("case_0", "case_1", "case_3", "case_4", "case_6", "case_7", "case_8"),
        selection=("case_9",),
        unseen=("case_2", "case_5"),
    )


@given(
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=25),
    chosen=st.integers(0, 4),
)
def test_a_patient_is_never_in_two_parts(sizes: list[int], chosen: int) -> None:
    fold = min(chosen, len(sizes) - 1)
    names = [
        f"p{patient:02d}_scan{scan}"
        for patient, size in enumerate(sizes)
        for scan in range(size)
    ]
    split = SplitRule(group=r"p\d+_").split(names, fold=fold)
    parts = (split.training, split.selection, split.unseen)
    assert sorted(name for part in parts for name in part) == sorted(names)
    patients = [{name[:3] for name in part} for part in parts]
    assert all(patients)
    assert sum(map(len, patients)) == len(sizes)


def test_groups_are_what_the_pattern_finds() -> None:
    names = ["STS_001_PET", "STS_001_CT", "STS_012_PET"]
    assert group_cases(names, r"STS_(\d+)") == dict(
        zip(names, ("001", "001", "012"), strict=True)
    )
    with pytest.raises(DatasetError, match="'x' finds no group"):
        group_cases(names, "x")
    with pytest.raises(ConfigError, match="regular expression"):
        group_cases(names, "(")
    with pytest.raises(DatasetError, match="3 labelled cases in 2 groups"):
        SplitRule(group=r"STS_\d+").split(names, fold=0)


def test_what_was_learnt_is_unseen_no_more_nor_is_its_group() -> None:
    split = Split(
        training=("a1",),
        selection=("b1",),
        unseen=("c1", "c2", "d1", "e1"),
        groups={"c1": "c", "c2": "c", "d1": "d", "d2": "d"},
    )
    found = split.after(["c2", "d2", "x"])
    assert found == replace(split, training=("a1", "c1", "c2", "d1"), unseen=("e1",))
    assert split.after([]) == split


def test_a_table_says_who_belongs_together(tmp_path: Path) -> None:
    """As a pattern would; what else it names does not matter."""
    table = tmp_path / "groups.csv"
    rows = "".join(f"{name},{name[:2]}\n" for name in [*NAMES, "p9_a"])
    table.write_text(f"case,group\n{rows}")
    found = SplitRule(table=table).split(NAMES, fold=1)
    assert found == SplitRule(group=r"p\d").split(NAMES, fold=1)
    assert found.groups["p3_b"] == "p3"
    with pytest.raises(DatasetError, match=r"without 1 of 13 cases, the first other"):
        SplitRule(table=table).split([*NAMES, "other"], fold=0)
    with pytest.raises(ConfigError, match="pattern and by a table"):
        SplitRule(table=table, group="p").split(NAMES, fold=0)


NAMES = [f"p{patient}_{scan}" for patient in range(6) for scan in "ab"]


def write(folder: Path, values: object) -> Path:
    path = folder / "splits.json"
    path.write_text(json.dumps(values))
    return path


def test_a_split_is_read_as_it_stands(tmp_path: Path) -> None:
    stated = {
        "training": ["p0_a", "p0_b", "p3_a"],
        "selection": ["p1_a"],
        "unseen": ["p2_b", "p2_a"],
    }
    expected = Split(
        training=("p0_a", "p0_b", "p3_a"),
        selection=("p1_a",),
        unseen=("p2_a", "p2_b"),
    )
    assert read_split(write(tmp_path, stated), NAMES, fold=0) == expected
    assert read_split(write(tmp_path, [{}, stated]), NAMES, fold=1) == expected


def test_of_nnunets_split_a_selection_is_taken_from_training(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        [
            {"train": NAMES[:10], "val": NAMES[10:]},
            {"train": NAMES[2:], "val": NAMES[:2]},
        ],
    )
    split = SplitRule(file=path).split(NAMES, fold=1)
    assert split.unseen == ("p0_a", "p0_b")
    assert sorted((*split.training, *split.selection)) == NAMES[2:]
    assert len(split.selection) == 2  # an eighth
    grouped = SplitRule(file=path, group=r"p\d").split(NAMES, fold=1)
    assert len({name[:2] for name in grouped.selection}) == 1
    assert not {n[:2] for n in grouped.selection} & {n[:2] for n in grouped.training}
    with pytest.raises(ConfigError, match="0 to 1"):
        SplitRule(file=path).split(NAMES, fold=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": NAMES[:4], "val": ["p9_a"]}, "'p9_a', which is no case"),
        ({"train": NAMES[:4], "val": NAMES[3:6]}, "'p1_b' in training and unseen"),
        ({"train": NAMES[:3], "val": NAMES[3:6]}, "'p1' in training and unseen"),
        ({"train": NAMES[:4]}, "leaves no case for unseen"),
        ({"train": [*NAMES[:4], "p0_a"], "val": NAMES[4:]}, "twice in training"),
        ({"train": NAMES[:4], "valid": NAMES[4:]}, "with 'valid'"),
        ({"train": "p0_a", "val": NAMES[4:]}, "with 'train'"),
        ({"train": NAMES[:1], "val": NAMES[4:]}, "leaves no case for training"),
        ([["p0_a"]], "without lists"),
    ],
)
def test_splits_that_cannot_be_are_refused(
    tmp_path: Path, values: object, message: str
) -> None:
    groups = None if "p1_b" in message else group_cases(NAMES, r"p\d")
    with pytest.raises(DatasetError, match=message) as caught:
        read_split(write(tmp_path, values), NAMES, fold=0, groups=groups)
    assert "\n" not in str(caught.value)


def test_a_split_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("[")
    for name in ("s.json", "missing.json"):
        with pytest.raises(DatasetError, match="cannot be read"):
            read_split(tmp_path / name, NAMES, fold=0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("case;group\np0_a;p0\n", "a first line 'case;group'"),
        ("name,patient\np0_a,p0\n", "a first line 'name,patient'"),
        ("case,group\np0_a,\n", "without case or group in each row"),
        (None, r"cannot be read \(No such file"),
    ],
)
def test_what_is_no_table_of_groups_is_told(
    tmp_path: Path, text: str | None, told: str
) -> None:
    table = tmp_path / "groups.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(ReadError, match=told):
        SplitRule(table=table).split(NAMES, fold=0)
