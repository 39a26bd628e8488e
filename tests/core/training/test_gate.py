"""The gate, by hand-computed cases."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2miseg_core.training.gate import Evidence, better_share, judge, not_trained

GOOD = Evidence(
    before=(30, 28, 20, 25, 15),
    after=(17, 16, 12, 14, 11),
    voxels=3645,
    confident=100_000,
    changed=200,
    expected=50.0,
)


def test_a_better_model_is_kept_and_says_so() -> None:
    verdict = judge(GOOD)
    assert verdict.kept
    assert verdict.sentence == (
        "Kept: 41 % fewer wrong voxels on 5 held-out corrections (118 -> 70); "
        "elsewhere unchanged (99.8 % of labels as before)."
    )
    assert verdict.figures["wrong_before"] == 118
    assert verdict.figures["wrong_after"] == 70
    assert verdict.figures["better_share"] == 1.0
    assert verdict.figures["wrong_allowed"] == 112  # 0.95 * 118, whole voxels
    assert verdict.figures["better_needed"] == 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"after": (40, 28, 20, 25, 15)}, "8 % more wrong voxels"),
        ({"after": (30, 28, 20, 25, 15)}, "only 0 % fewer wrong voxels, needed 5 %"),
        ({"after": (27, 28, 20, 25, 15)}, "only 3 % fewer wrong voxels, needed 5 %"),
        ({"after": (0, 33, 25, 30, 20)}, "by chance perhaps"),
        ({"before": (0, 0), "after": (0, 0)}, "makes no mistake"),
        ({"changed": 501}, "0.50 % of the confident labels elsewhere changed"),
        ({"replay_before": 0.8, "replay_after": 0.79, "n_replay": 4}, "worse on 4"),
    ],
)
def test_each_fault_alone_refuses(change: dict[str, object], said: str) -> None:
    verdict = judge(replace(GOOD, **change))  # type: ignore[arg-type]
    assert not verdict.kept
    assert verdict.sentence.startswith("Not kept: ")
    assert said in verdict.sentence
    assert "\n" not in verdict.sentence


def test_the_old_models_own_doubt_lets_more_change() -> None:
    assert judge(replace(GOOD, changed=900, expected=450.0)).kept
    assert not judge(replace(GOOD, changed=901, expected=450.0)).kept


def test_a_little_less_dice_on_replayed_cases_is_let_pass() -> None:
    verdict = judge(replace(GOOD, replay_before=0.8, replay_after=0.796, n_replay=4))
    assert verdict.kept
    assert "Dice on 4 cases of the first training 0.800 -> 0.796" in verdict.sentence


def test_shares_of_resamplings() -> None:
    assert better_share((5, 5), (4, 4)) == 1.0
    assert better_share((4, 4), (5, 5)) == 0.0
    assert better_share((4, 4), (4, 4)) == 0.5
    # Of two places one is better by 1, one worse by 1: less, even, more at 1 : 2 : 1.
    assert better_share((5, 4), (4, 5)) == pytest.approx(0.5, abs=0.02)
    assert better_share((), ()) == 0.0


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1))
def test_better_and_worse_are_mirror_images(pairs: list[tuple[int, int]]) -> None:
    before, after = zip(*pairs, strict=True)
    total = better_share(before, after) + better_share(after, before)
    assert total == pytest.approx(1.0)
    assert better_share(before, after) == better_share(before, after)


def test_a_training_that_came_to_nothing_is_not_kept() -> None:
    verdict = not_trained("the loss became no number at step 3", (3, 4))
    assert not verdict.kept
    assert verdict.sentence == "Not kept: the loss became no number at step 3."
    assert verdict.figures == {"held_out": 2, "wrong_before": 7}
