"""The contenders by name; each runs in a process of its own.

    python -m benchmarks.contenders FOLDER NAME [ENVIRONMENT]

FOLDER holds contest.json, which `run_contender` writes before it calls this.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, peak_mib, read_json, write_json

__all__ = ["CONTENDERS", "run_contender"]

# "small-suv" is for PET: one scale of SUV for all patients, not one for each.
CONTENDERS = (
    "small",
    "small-suv",
    "dynunet",
    "dynunet-sgd",
    "nnunet",
    "nnunet-batch2",
)


def run_contender(contest: Contest, name: str, environment: Path | None) -> None:
    """Let one compete, unless its result is there already."""
    if contest.result(name).is_file():
        return
    path = contest.folder / name / "contest.json"
    write_json(path, contest.to_json())
    threads = str(contest.threads)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.contenders",
            str(path),
            name,
            *([str(environment)] if environment else []),
        ],
        env=os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        check=True,
    )


def contend(contest: Contest, name: str, environment: Path | None) -> dict[str, Any]:
    kind, _, variant = name.partition("-")
    if kind == "small":
        from benchmarks import contender_small as ours
        from e2miseg_core.training.plan import PlanOverrides

        scaled = PlanOverrides(normalizations=("ct",) if variant == "suv" else None)
        return ours.contend(contest, name, ours.SmallSettings(overrides=scaled))
    if kind == "dynunet":
        from benchmarks import contender_dynunet as dynunet

        optimizer = variant or dynunet.DynUNetSettings.optimizer
        chosen = dynunet.DynUNetSettings(optimizer=optimizer)
        return dynunet.contend(contest, name, chosen)
    from benchmarks import contender_nnunet as nnunet

    settings = nnunet.NnunetSettings(
        environment=environment or Path(), batch_size=2 if variant else 0
    )
    return nnunet.contend(contest, name, settings)


def main() -> None:
    path, name, *rest = sys.argv[1:]
    contest = Contest.from_json(read_json(Path(path)))
    import torch

    torch.set_num_threads(contest.threads)
    found = contend(contest, name, Path(rest[0]) if rest else None)
    peak = {"peak_mib": found.get("peak_mib") or peak_mib()}
    write_json(contest.result(name), {"contender": name} | found | peak)


if __name__ == "__main__":
    main()
