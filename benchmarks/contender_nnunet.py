"""nnU-Net v2 as a contender: its layout, its environment, its pipeline.

The environment is a virtual one of its own, made once by hand:

    python3 -m venv ENV && ENV/bin/pip install torch==2.13.0 nnunetv2==2.8.1
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, read_json, write_json
from benchmarks.tree_memory import TreeMemory
from e2miseg_core.errors import ConfigError, DatasetError

__all__ = ["NnunetSettings", "contend"]

CODE = Path(__file__).parent / "nnunet"
NUMBER, SUFFIX = 501, ".nii.gz"


@dataclass(frozen=True, kw_only=True)
class NnunetSettings:
    """`batch_size` 0 is the planned one."""

    environment: Path
    batch_size: int = 0
    bfloat16: bool = True
    workers: int = 1  # processes that augment


def contend(contest: Contest, name: str, settings: NnunetSettings) -> dict[str, Any]:
    """Prepare, train in the budget, predict; each in a process of nnU-Net's own."""
    python = settings.environment / "bin" / "python"
    if not python.is_file():
        raise ConfigError(
            found=f"no environment in {settings.environment}",
            needed="one with nnU-Net v2",
            do="make it as the head of benchmarks/contender_nnunet.py says",
        )
    folder = contest.folder / name
    dataset = f"Dataset{NUMBER}_Contest"
    _write_dataset(contest, folder / "raw" / dataset)
    values = _settings(contest, name, settings, dataset)
    for task in ("prepare", "train", "predict"):
        path = folder / f"{task}.settings.json"
        write_json(path, values)
        peak = _run(python, task, path, folder, contest.threads, settings.workers)
        values |= read_json(Path(values["results"][task]))
        values["peak_mib"] = max(peak, values.get("peak_mib", 0))
        if task == "train":
            _keep_planned_batch(values)
    return _result(values)


def _settings(
    contest: Contest, name: str, settings: NnunetSettings, dataset: str
) -> dict[str, Any]:
    folder, split = contest.folder / name, contest.split
    return {
        "number": NUMBER,
        "name": dataset,
        "preprocessed": str((folder / "preprocessed").resolve()),
        "split": {"train": list(split.training), "val": list(split.selection)},
        "budget_s": contest.minutes * 60,
        "threads": contest.threads,
        "batch_size": settings.batch_size,
        "bfloat16": settings.bfloat16,
        "images": {c.name: str(c.images[0].resolve()) for c in contest.unseen},
        "predicted": {
            how: str(contest.predicted(name, how).resolve())
            for how in ("plain", "mirrored")
        },
        "results": {
            task: str((folder / f"{task}.json").resolve())
            for task in ("prepare", "train", "predict")
        },
    }


def _write_dataset(contest: Contest, folder: Path) -> None:
    """Training and selection cases in nnU-Net's layout, as links."""
    shutil.rmtree(folder, ignore_errors=True)
    images, labels = folder / "imagesTr", folder / "labelsTr"
    images.mkdir(parents=True)
    labels.mkdir()
    names = [*contest.split.training, *contest.split.selection]
    for case in contest.cases(names):
        if not all(str(p).endswith(SUFFIX) for p in (*case.images, case.labels)):
            raise DatasetError(
                found=f"{case.images[0].name}",
                needed=f"files ending in {SUFFIX}",
                do="convert the data set with `e2miseg convert`",
            )
        link = images / f"{case.name}_0000{SUFFIX}"
        link.symlink_to(case.images[0].resolve())
        (labels / f"{case.name}{SUFFIX}").symlink_to(case.labels.resolve())
    values = [label.value for label in contest.dataset.labels]
    if values != list(range(1, len(values) + 1)):
        raise DatasetError(
            found=f"label values {values}",
            needed="1, 2, 3, ... for nnU-Net",
            do="renumber the labels",
        )
    write_json(
        folder / "dataset.json",
        {
            "channel_names": dict(enumerate(contest.dataset.channels)),
            "labels": {"background": 0}
            | {label.name: label.value for label in contest.dataset.labels},
            "numTraining": len(names),
            "file_ending": SUFFIX,
        },
    )


def _run(
    python: Path, task: str, settings: Path, folder: Path, threads: int, workers: int
) -> int:
    """Run a task; the most memory, in MiB, that it and its workers held."""
    environment = {
        "nnUNet_raw": "raw",
        "nnUNet_preprocessed": "preprocessed",
        "nnUNet_results": "results",
    }
    paths = {key: str((folder / name).resolve()) for key, name in environment.items()}
    log = folder / f"{task}.log"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [python, CODE / "in_budget.py", task, settings.resolve()],
            env=os.environ
            | paths
            | {
                "nnUNet_n_proc_DA": str(workers),
                "OMP_NUM_THREADS": str(threads),
            },
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        with TreeMemory(process.pid) as memory:
            ended_with = process.wait()
    if ended_with != 0:
        raise ConfigError(
            found=f"nnU-Net's {task} ended with {ended_with}",
            needed="an end without an error",
            do=f"see {log}",
        )
    return memory.mib


def _keep_planned_batch(values: dict[str, Any]) -> None:
    """Say in the plan which batch size was trained with."""
    values["plan"]["trained_batch_size"] = values["samples"] // max(1, values["steps"])


def _result(values: dict[str, Any]) -> dict[str, Any]:
    kept = ["parameters", "seconds", "steps", "samples", "peak_mib", "plan", "losses"]
    return {key: values[key] for key in [*kept, "predictions", "precision"]} | {
        "chosen": "last weights"
    }
