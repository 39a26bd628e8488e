"""The plan of a training as people see it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from e2miseg_core.cli.output import Output
from e2miseg_core.cli.plan_options import AXES
from e2miseg_core.progress import Progress

if TYPE_CHECKING:
    from e2miseg_core.preprocess import Normalization
    from e2miseg_core.training.plan import TrainingPlan
    from e2miseg_core.training.request import TrainingRequest

__all__ = [
    "rule_words",
    "show_plan",
    "show_progress",
]

NAMES = {
    "patch_size": "patch",
    "batch_size": "batch",
    "stem_stride": "stem stride",
    "slice_axis": "slices",
    "anisotropic": "augmentation",
}


def show_progress(out: Output, request: "TrainingRequest", step: Progress) -> None:
    """Show where a training is; the plan, as soon as there is one, as a table."""
    stored = step.details.get("plan")
    if out.as_json or not isinstance(stored, dict):
        out.progress(step)
        return
    from e2miseg_core.training.plan import TrainingPlan

    show_plan(out, TrainingPlan.from_json(stored), request)


def show_plan(out: Output, plan: "TrainingPlan", request: "TrainingRequest") -> None:
    """Show a plan to people; programs get it as an event."""
    if out.as_json:
        return
    out.table(_table(plan, request))
    for note in (*plan.notes, *_memory_notes(plan.memory_bytes)):
        out.warning(note)


def _memory_notes(needed: int | None) -> list[str]:
    """A note where a step is estimated to take more memory than there is."""
    import psutil

    total = psutil.virtual_memory().total
    if needed is None or needed <= total:
        return []
    return [
        f"a step takes about {_gigabytes(needed)} by the estimate, this machine has "
        f"{_gigabytes(total)}; a smaller --patch, --batch-size or --preset takes less"
    ]


def _gigabytes(count: float) -> str:
    """Whole gigabytes from 10 on, else two digits."""
    size = count / 1e9
    return f"{size:,.0f} GB" if size >= 9.95 else f"{size:.2g} GB"


def _table(plan: "TrainingPlan", request: "TrainingRequest") -> Table:
    """Every choice with its reason, after a line about the data."""
    title = _title(plan, request)
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("choice", no_wrap=True)
    table.add_column("value", max_width=36, overflow="fold")
    table.add_column("why", overflow="fold")
    values = _values(plan)
    for choice, reason in plan.reasons.items():
        table.add_row(NAMES.get(choice, choice), values.get(choice, ""), reason)
    return table


def _title(plan: "TrainingPlan", request: "TrainingRequest") -> str:
    data = plan.data
    shape, shares = data["shape"]["median"], data["label_share"]
    names = {str(key): name for key, name in request.dataset.label_names.items()}
    labels = ", ".join(
        f"{names.get(value, value)} {share:.2%}" for value, share in shares.items()
    )
    split = request.split
    line = f"Plan for {data['cases']} cases of {_by(shape)} voxels (median); "
    line += f"share of labels: {labels}" if labels else "no labels"
    if plan.memory_bytes is not None:
        line += f"; about {_gigabytes(plan.memory_bytes)} of memory in float32"
    return (
        f"{line}\n{len(split.training)} cases train, {len(split.selection)} choose the "
        f"weights, {len(split.unseen)} stay unseen"
    )


def _values(plan: "TrainingPlan") -> dict[str, str]:
    # No torch here: the network's own fields, as they are stored.
    network = plan.to_json()["network"]["config"]
    axis = AXES[network.get("axis", 0)].upper()
    return {
        "spacing": f"{_by(plan.spacing)} mm",
        "normalization": "; ".join(rule_words(rule) for rule in plan.normalizations),
        "stem_stride": _by(network.get("stem_stride", ())),
        "slice_axis": f"across {axis}",
        "patch_size": f"{_by(plan.patch_size)} voxels, "
        f"{_by([p * s for p, s in zip(plan.patch_size, plan.spacing, strict=True)])} "
        "mm",
        "batch_size": str(plan.batch_size),
        "anisotropic": "slice by slice" if plan.anisotropic else "in three dimensions",
    }


def rule_words(rule: "Normalization") -> str:
    """A normalisation in a few words."""
    if rule.scheme == "clipped":
        return (
            f"clip to {rule.low:.4g} .. {rule.high:.4g}, less {rule.mean:.4g}, "
            f"by {rule.std:.4g}"
        )
    return "z-score inside, 0 outside" if rule.nonzero else "z-score of each case"


def _by(values: Sequence[float]) -> str:
    return " x ".join(
        f"{value:.3g}" if value < 1000 else f"{value:g}" for value in values
    )
