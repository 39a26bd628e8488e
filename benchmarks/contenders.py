"""The contenders by name; each runs in a process of its own.

    python -m benchmarks.contenders FOLDER NAME [ENVIRONMENT]

FOLDER holds contest.json, which `run_contender` writes before it calls this.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.contest import Contest, in_one_line, read_json, write_json
from benchmarks.tree_memory import TreeMemory
from e2miseg_core.errors import ConfigError

__all__ = ["CONTENDERS", "run_child", "run_contender"]

CONTENDERS = (
    "small",
    "dynunet",
    "dynunet-sgd",
    "nnunet",
    "nnunet-batch2",
)


def run_contender(contest: Contest, name: str, environment: Path | None) -> None:
    """Let one compete, unless its result is there already.

    ConfigError if the folder's results have other settings, or the contender failed.
    """
    contest.keep_settings()
    if contest.result(name).is_file():
        return
    shutil.rmtree(contest.folder / name, ignore_errors=True)  # of one that was stopped
    path = contest.folder / name / "contest.json"
    write_json(path, contest.to_json())
    rest = [str(environment)] if environment else []
    run_child("benchmarks.contenders", [str(path), name, *rest], contest.threads)


def run_child(module: str, arguments: list[str], threads: int) -> None:
    """Run a module in a process of its own, with so many threads."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=os.environ
        | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(
            found=f"{module} {' '.join(arguments)} ended with {done.returncode}",
            needed="an end without an error",
            do="see what it said above",
        )


def contend(contest: Contest, name: str, environment: Path | None) -> dict[str, Any]:
    kind, _, variant = name.partition("-")
    if kind == "small":
        from benchmarks import contender_small as ours

        return ours.contend(contest, name, ours.SmallSettings())
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
    with TreeMemory() as memory:
        found = contend(contest, name, Path(rest[0]) if rest else None)
    # nnU-Net's processes are watched without this one, which only waits for them.
    peak = {"peak_mib": found.get("peak_mib") or memory.mib}
    write_json(contest.result(name), {"contender": name} | found | peak)


if __name__ == "__main__":
    in_one_line(main)
