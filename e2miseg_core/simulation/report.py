"""What a study found, for programs and for people. The same study, the same bytes."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from e2miseg_core.io.atomic import replacing, write_json
from e2miseg_core.simulation.effort import CaseEffort
from e2miseg_core.simulation.estimates import Estimate, estimate
from e2miseg_core.simulation.finetuning import FinetuneEffect
from e2miseg_core.simulation.guides import ERROR_MAP, RANDOM, RANDOM_REPEATS
from e2miseg_core.simulation.study import REPORT, TABLES, Study

__all__ = ["study_to_json", "study_to_markdown", "write_study"]

_VERSION = 1


def write_study(study: Study, folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.md` into the folder of a study.

    Raises
    ------
    WriteError
        If they cannot be written.
    """
    report, tables = folder / REPORT, folder / TABLES
    write_json(report, study_to_json(study))
    with replacing(tables) as partial:
        partial.write_text(study_to_markdown(study), encoding="utf-8")
    return report, tables


def study_to_json(study: Study) -> dict[str, Any]:
    """All figures of a study as JSON values.

    Parameters
    ----------
    study : Study

    Returns
    -------
    dict
        `effort` has an estimate for each guide and count of regions, `differences`
        those of the paired differences to the product's own guide, `errors` what was
        expected to be wrong and what was, `cases` all of it case by case; `finetuning`
        is None where there was none.
    """
    effect = study.finetuning
    return {
        "version": _VERSION,
        "dataset": study.dataset,
        "model": {"name": study.card.name, "hash": study.card.hash},
        "settings": study.settings.to_json(),
        "random_repeats": RANDOM_REPEATS,
        "effort": {
            guide: [
                {"regions": count, **asdict(_dice(study, guide, index))}
                for index, count in enumerate(study.settings.regions)
            ]
            for guide in study.settings.guides
        },
        "differences": {
            guide: [
                {"regions": count, **asdict(_difference(study, guide, index))}
                for index, count in enumerate(study.settings.regions)
            ]
            for guide in _rivals(study)
        },
        "errors": _errors(study.efforts),
        "cases": [asdict(effort) for effort in study.efforts],
        "finetuning": None if effect is None else _finetuning(effect),
    }


def study_to_markdown(study: Study) -> str:
    """The figures of a study as tables."""
    card, n_cases = study.card, len(study.efforts)
    parts = [
        f"# A robot annotates {study.dataset}",
        f"Model {card.name} ({card.hash[:12]}), {n_cases} cases. Dice is the mean over "
        f"the classes ({', '.join(label.name for label in card.labels)}), then over "
        "the cases; in brackets the 95 % bootstrap interval over the cases.",
        _effort_table(study),
        _error_table(study.efforts),
    ]
    if study.finetuning is not None:
        parts += _finetuning_parts(study.finetuning)
    return "\n\n".join(parts) + "\n"


def _dice(study: Study, guide: str, index: int) -> Estimate:
    return estimate([effort.dice[guide][index] for effort in study.efforts])


def _difference(study: Study, guide: str, index: int) -> Estimate:
    """How much better the product's guide is, case by case."""
    return estimate(
        [
            effort.dice[ERROR_MAP][index] - effort.dice[guide][index]
            for effort in study.efforts
        ]
    )


def _rivals(study: Study) -> list[str]:
    guides = study.settings.guides
    return [g for g in guides if g != ERROR_MAP] if ERROR_MAP in guides else []


def _errors(efforts: Sequence[CaseEffort]) -> dict[str, Any]:
    return {
        "expected": sum(effort.expected for effort in efforts),
        "wrong": sum(effort.wrong for effort in efforts),
        "edges": sum(effort.edges for effort in efforts),
        "expected_in_edges": sum(effort.expected_in_edges for effort in efforts),
        "wrong_in_edges": sum(effort.wrong_in_edges for effort in efforts),
    }


def _finetuning(effect: FinetuneEffect) -> dict[str, Any]:
    others = effect.others
    return {
        **asdict(effect),
        "dice_before": asdict(estimate([one.dice_before for one in others])),
        "dice_after": asdict(estimate([one.dice_after for one in others])),
        "dice_gain": asdict(_gain(_dices(effect, refused=False))),
        "dice_gain_refused": asdict(_gain(_dices(effect, refused=True)))
        if _was_refused(effect)
        else None,
    }


def _was_refused(effect: FinetuneEffect) -> bool:
    """Whether there is a new model that was not let in, and it was measured."""
    return all(one.dice_refused is not None for one in effect.others)


def _dices(effect: FinetuneEffect, *, refused: bool) -> list[tuple[float, float]]:
    """Dice before and after of each case; by the refused model, if it is asked for."""
    return [
        (
            one.dice_before,
            one.dice_refused
            if refused and one.dice_refused is not None
            else one.dice_after,
        )
        for one in effect.others
    ]


def _gain(dices: Sequence[tuple[float, float]]) -> Estimate:
    return estimate([after - before for before, after in dices])


def _effort_table(study: Study) -> str:
    counts = study.settings.regions
    rows = [
        [guide, *(str(_dice(study, guide, i)) for i in range(len(counts)))]
        for guide in study.settings.guides
    ]
    rows += [
        [
            f"{ERROR_MAP} minus {guide}",
            *(_signed(_difference(study, guide, i)) for i in range(len(counts))),
        ]
        for guide in _rivals(study)
    ]
    note = ""
    if RANDOM in study.settings.guides:
        note = f"\n\nRandom: the mean of {RANDOM_REPEATS} draws in each case."
    head = ["Dice after corrected regions a case", *(str(count) for count in counts)]
    return _table(head, rows) + note


def _error_table(efforts: Sequence[CaseEffort]) -> str:
    pooled = _errors(efforts)
    rows = [
        _error_row("in all voxels", pooled["expected"], pooled["wrong"]),
        _error_row(
            f"in the {pooled['edges']} uncertain edges offered",
            pooled["expected_in_edges"],
            pooled["wrong_in_edges"],
        ),
    ]
    return _table(["wrong voxels", "expected", "actual", "expected / actual"], rows)


def _error_row(name: str, expected: float, wrong: int) -> list[str]:
    ratio = f"{expected / wrong:.2f}" if wrong else "-"
    return [name, f"{expected:.0f}", str(wrong), ratio]


def _finetuning_parts(effect: FinetuneEffect) -> list[str]:
    others = effect.others
    wrong = sum(one.wrong for one in others)
    verdicts = ", ".join(f"{n} {v}" for v, n in sorted(effect.verdicts.items()))
    unchanged = "" if effect.kept else " The model in use stays, and so do its labels."
    return [
        "## Fine-tuned on corrected cases",
        f"Regions of {', '.join(effect.corrected)}: {verdicts}. "
        f"{effect.sentence}{unchanged}",
        _gain_table(effect),
        _table(
            ["wrong voxels of the other cases", "expected", "actual", "ratio"],
            [
                _error_row("as predicted", sum(o.expected for o in others), wrong),
                _error_row(
                    others[0].note, sum(o.expected_refitted for o in others), wrong
                ),
            ],
        ),
    ]


def _gain_table(effect: FinetuneEffect) -> str:
    """Dice of the other cases; of a refused model, what it would have brought."""
    refused = _was_refused(effect)
    dices = _dices(effect, refused=refused)
    rows = [
        [one.case, f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"]
        for one, (before, after) in zip(effect.others, dices, strict=True)
    ]
    means = [str(estimate(column)) for column in zip(*dices, strict=True)]
    after = "by the refused model" if refused else "after"
    return _table(
        ["Dice of the other cases", "before", after, "gain"],
        [*rows, ["mean", *means, _signed(_gain(dices))]],
    )


def _signed(difference: Estimate) -> str:
    mean, low, high = difference.mean, difference.low, difference.high
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
