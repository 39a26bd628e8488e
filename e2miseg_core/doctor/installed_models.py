"""Whether the models that are installed load."""

import sys

from e2miseg_core.doctor.check import Check, Probe
from e2miseg_core.doctor.computer import DISTRIBUTION, disk_check
from e2miseg_core.models import models_folder

__all__ = ["model_checks"]


def model_checks(said: Probe) -> list[Check]:
    """Findings about the models and the folder for more of them.

    Parameters
    ----------
    said : Probe
        What the child process of `TORCH_PROBE` said.

    Returns
    -------
    list of Check
        None about the models where torch itself does not start.
    """
    folder = disk_check("Models folder", models_folder(), needed=False)
    problems = said.facts.get("models")
    if not isinstance(problems, dict):
        return [folder]
    return [_models(problems), folder]


def _models(problems: dict[str, str]) -> Check:
    damaged = [problem for problem in problems.values() if problem]
    if damaged:
        return Check(
            name="Models",
            ok=False,
            found="; ".join(damaged),
            do="for a model of your own, add it again with `e2miseg models add`; for a "
            f"starter model run: {_reinstall()}",
            needed=len(damaged) == len(problems),
        )
    if not problems:
        return Check(name="Models", ok=False, found="none", do=f"run: {_reinstall()}")
    return Check(name="Models", ok=True, found=", ".join(sorted(problems)))


def _reinstall() -> str:
    python = sys.executable
    return f"{python} -m pip install --force-reinstall --no-deps {DISTRIBUTION}"
