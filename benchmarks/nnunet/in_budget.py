"""nnU-Net v2 in a wall-clock budget; runs in nnU-Net's own environment.

    python in_budget.py prepare|train|predict SETTINGS.json

`benchmarks.contender_nnunet` writes the settings and the dataset in nnU-Net's layout,
and sets `nnUNet_raw`, `nnUNet_preprocessed` and `nnUNet_results`.

What differs from `nnUNetv2_train`, all of it so that a CPU and minutes are enough:

- one epoch as long as the budget, its learning rate falling over time (the same
  polynomial, from the same 0.01) instead of over 1000 epochs of 250 steps;
- no pseudo-validation between: it chooses nothing, the last weights are nnU-Net's
  result;
- optionally bfloat16 and channels-last, in training and prediction (nnU-Net's autocast
  is for GPUs alone), and another batch size than the planned one.

Network, patch, loss, deep supervision, optimiser, augmentation and sampling are its
own.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

PLANS, CONFIGURATION = "nnUNetPlans", "3d_fullres"
POWER = 0.9  # of the polynomial, nnU-Net's own


class BudgetTrainer(nnUNetTrainer):
    """Trains until `budget_s` have passed; see the head of this file."""

    budget_s = 60.0
    bfloat16 = False

    def plot_network_architecture(self) -> None:
        pass

    def run_training(self) -> None:
        self.on_train_start()  # reads the data, starts the augmentation: not counted
        if self.bfloat16:
            self.network.to(memory_format=torch.channels_last_3d)
        self.network.train()
        self.losses: list[float] = []
        began = time.monotonic()
        while (passed := time.monotonic() - began) < self.budget_s:
            rate = self.initial_lr * (1 - passed / self.budget_s) ** POWER
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batch = next(self.dataloader_train)
            self.losses.append(float(self.train_step(batch)["loss"]))
        self.seconds = time.monotonic() - began
        self.on_train_end()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        if not self.bfloat16:
            return super().train_step(batch)
        self.optimizer.zero_grad(set_to_none=True)
        levels = in_bfloat16(self.network, batch["data"])
        loss = self.loss([level.float() for level in levels], batch["target"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}


def in_bfloat16(forward: Callable[..., Any], image: torch.Tensor) -> Any:
    """Run a network in bfloat16 on an image that is laid out for it."""
    with torch.autocast("cpu", torch.bfloat16):
        return forward(image.contiguous(memory_format=torch.channels_last_3d))


def is_safe_in_bfloat16(planned: dict[str, Any]) -> bool:
    """Whether no stage is 2 voxels deep.

    There PyTorch's bfloat16 convolution leaves the weights' gradient unset on a CPU.
    """
    depth = planned["patch_size"][0]
    depths = [
        depth := depth // (stride if isinstance(stride, int) else stride[0])
        for stride in planned["architecture"]["arch_kwargs"]["strides"]
    ]
    return 2 not in depths


def prepare(settings: dict[str, Any]) -> dict[str, Any]:
    """Fingerprint, plan, preprocess; our fold becomes nnU-Net's fold 0."""
    number, folder = settings["number"], preprocessed(settings)
    began = time.monotonic()
    extract_fingerprints([number], num_processes=1, check_dataset_integrity=True)
    plan_experiments([number])
    (folder / "splits_final.json").write_text(json.dumps([settings["split"]]))
    preprocess([number], configurations=[CONFIGURATION], num_processes=[1])
    plans = json.loads((folder / f"{PLANS}.json").read_text())
    planned = plans["configurations"][CONFIGURATION]
    architecture = planned["architecture"]
    return {
        "prepare_seconds": time.monotonic() - began,
        "plan": {
            key: planned[key]
            for key in ("patch_size", "batch_size", "spacing", "normalization_schemes")
        }
        | {
            "network": architecture["network_class_name"].rpartition(".")[2],
            "features": architecture["arch_kwargs"]["features_per_stage"],
            "strides": architecture["arch_kwargs"]["strides"],
        },
    }


def train(settings: dict[str, Any]) -> dict[str, Any]:
    folder = preprocessed(settings)
    plans = json.loads((folder / f"{PLANS}.json").read_text())
    planned = plans["configurations"][CONFIGURATION]
    if settings["batch_size"]:
        planned["batch_size"] = settings["batch_size"]
    trainer = BudgetTrainer(
        plans=plans | {"continue_training": False},
        configuration=CONFIGURATION,
        fold=0,
        dataset_json=json.loads((folder / "dataset.json").read_text()),
        device=torch.device("cpu"),
    )
    trainer.budget_s = settings["budget_s"]
    trainer.bfloat16 = settings["bfloat16"] and is_safe_in_bfloat16(planned)
    trainer.run_training()
    steps = len(trainer.losses)
    return {
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "seconds": trainer.seconds,
        "steps": steps,
        "samples": steps * planned["batch_size"],
        "losses": trainer.losses,
        "precision": "bfloat16" if trainer.bfloat16 else "float32",
        "trained": trainer.output_folder_base,
    }


def predict(settings: dict[str, Any]) -> dict[str, Any]:
    """Predict the unseen cases, file to file, plainly and with mirroring."""
    found: dict[str, Any] = {}
    # It would look for the class of the trainer in all of its modules, some of which
    # need packages that a CPU's environment may have no fitting build of.
    predict_from_raw_data.recursive_find_trainer_class_by_name = lambda _: BudgetTrainer
    for name, mirrored in (("plain", False), ("mirrored", True)):
        predictor = predict_from_raw_data.nnUNetPredictor(
            use_mirroring=mirrored, device=torch.device("cpu"), allow_tqdm=False
        )
        predictor.initialize_from_trained_model_folder(settings["trained"], (0,))
        network = predictor.network = predictor.network.eval()
        if settings["precision"] == "bfloat16":
            network.to(memory_format=torch.channels_last_3d)
            # Not a module around it: nnU-Net loads weights by their names once more.
            plain = network.forward
            network.forward = lambda image, run=plain: in_bfloat16(run, image).float()
        folder = Path(settings["predicted"][name])
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        predictor.predict_from_files_sequential(
            [[path] for path in settings["images"].values()],
            [str(folder / case) for case in settings["images"]],
            overwrite=True,
        )
        passed = time.monotonic() - began
        axes = predictor.allowed_mirroring_axes if mirrored else ()
        found[name] = {
            "seconds_per_case": passed / len(settings["images"]),
            "passes": 2 ** len(axes),
            "predicted_in": settings["precision"],
        }
    return {"predictions": found}


def preprocessed(settings: dict[str, Any]) -> Path:
    return Path(settings["preprocessed"]) / settings["name"]


def main() -> None:
    task, path = sys.argv[1:]
    settings = json.loads(Path(path).read_text())
    torch.set_num_threads(settings["threads"])
    found = {"prepare": prepare, "train": train, "predict": predict}[task](settings)
    Path(settings["results"][task]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
