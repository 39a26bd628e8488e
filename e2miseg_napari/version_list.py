"""The model versions of a project, and the tries that were not kept, in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from e2miseg_core.project import Project, Version

__all__ = ["VersionLine", "list_versions", "trained_on", "with_arrows"]

_WHEN = ("before", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionLine:
    """One version, or one try that was refused.

    Attributes
    ----------
    number : int or None
        None for what was refused.
    made : str
        When, ISO 8601.
    origin : str
        What it was trained on, in words; empty where that is not known.
    sentence : str
        Why it was kept or refused.
    current : bool
        Whether it is the one in use.
    figures : mapping
        What that rests on.
    """

    number: int | None
    made: str
    origin: str
    sentence: str
    current: bool
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The verdict with its main figure only, where there is one."""
        before, after = (self.figures.get(f"wrong_{when}") for when in _WHEN)
        if not isinstance(before, int) or not isinstance(after, int):
            return with_arrows(self.sentence)
        verdict = "Not kept" if self.number is None else "Kept"
        return f"{verdict}: {before:,} → {after:,} wrong voxels"

    @property
    def when(self) -> str:
        """When it was made, in local time; without the day if that is today."""
        try:
            made = datetime.fromisoformat(self.made).astimezone()
        except ValueError:
            return self.made
        same_day = made.date() == datetime.now(made.tzinfo).date()
        return made.strftime("today, %H:%M" if same_day else "%d %b %Y, %H:%M")


def list_versions(project: Project) -> list[VersionLine]:
    """Read versions and refused tries, the newest first; slow, so in a thread.

    Raises
    ------
    ReadError
        If the project is damaged.
    """
    current = int(project.description()["version"])
    kept = [
        VersionLine(
            number=version.number,
            made=version.made,
            origin=_origin(version),
            sentence=version.sentence,
            current=version.number == current,
            figures=version.figures,
        )
        for version in project.versions
    ]
    refused = [_refused(entry) for entry in project.history()]
    lines = [*kept, *(line for line in refused if line is not None)]
    return sorted(lines, key=lambda line: line.made, reverse=True)


def with_arrows(text: str) -> str:
    """Show a sentence of the command line as all is shown here."""
    return text.replace("->", "→")


def trained_on(training: Mapping[str, Any]) -> str:
    """What a model card says about its training data, in words."""
    tuning = training.get("finetuning")
    if isinstance(tuning, Mapping):
        parts = [_count(tuning.get("corrections"), "correction")]
        parts[0] += f" in {_count(tuning.get('cases'), 'case')}"
        if tuning.get("replayed"):
            parts.append(f"{_count(tuning['replayed'], 'earlier case')} replayed")
        if tuning.get("steps"):
            parts.append(_count(tuning["steps"], "step"))
        return ", ".join(parts)
    cases, name = training.get("training"), training.get("dataset")
    if not cases:
        return ""
    return _count(cases, "case") + (f" of {name}" if name else "")


def _origin(version: Version) -> str:
    return trained_on(version.card.training)


def _refused(entry: Mapping[str, Any]) -> VersionLine | None:
    if entry.get("event") != "refused":
        return None
    return VersionLine(
        number=None,
        made=str(entry.get("time", "")),
        origin=f"a try to improve version {entry.get('parent')}",
        sentence=str(entry.get("sentence", "")),
        current=False,
        figures=entry.get("figures") or {},
    )


def _count(what: object, noun: str) -> str:
    """Return "1 case", "3 cases"; `what` is a number or a list of names."""
    number = what if isinstance(what, int) else len(what if what else ())  # type: ignore[arg-type]
    return f"{number} {noun}" + ("" if number == 1 else "s")
