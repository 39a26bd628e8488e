"""The card of a model that has just been trained."""

from typing import Any

from e2miseg_core.model_card import ModelCard
from e2miseg_core.networks import network_to_json
from e2miseg_core.training.plan import TrainingPlan
from e2miseg_core.training.request import TrainingRequest
from e2miseg_core.training.splits import Split
from e2miseg_core.training.trained_network import TrainedNetwork

__all__ = ["first_card"]


def first_card(
    request: TrainingRequest,
    plan: TrainingPlan,
    split: Split,
    trained: TrainedNetwork,
) -> ModelCard:
    """The card before calibration and figures.

    Parameters
    ----------
    request : TrainingRequest
        Its recipe is the one that was trained by, with what the plan decides.
    plan : TrainingPlan
    split : Split
    trained : TrainedNetwork
    """
    dataset, recipe = request.dataset, request.recipe
    about: dict[str, Any] = {"name": dataset.name, "licence": dataset.licence}
    about |= request.about
    return ModelCard(
        labels=dataset.labels,
        channels=dataset.channels,
        normalizations=plan.normalizations,
        spacing=plan.spacing,
        patch_size=plan.patch_size,
        network=network_to_json(plan.network),
        training={
            "dataset": dataset.name,
            "preset": request.preset,
            "fold": request.fold,
            "plan": plan.to_json(),
            "recipe": recipe.to_json(),
            "mirror_axes": list(recipe.mirrored_axes),
            "precision": trained.precision,
            "device": trained.device,
            "threads": trained.threads,
            "best_epoch": trained.best_epoch,
            "averaged_weights": trained.averaged,
            "samples_per_second": round(trained.samples_per_second, 3),
            "skipped_batches": trained.skipped,
            "selection_dice": trained.selection_dice,
            "minutes": round(trained.seconds / 60, 1),
            **split.to_json(),
        },
        **about,
    )
