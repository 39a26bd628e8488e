"""A robot annotator that uses the product, and what its work brings."""

from e2miseg_core.simulation.guides import GUIDES
from e2miseg_core.simulation.report import study_to_json, study_to_markdown, write_study
from e2miseg_core.simulation.robot import Robot
from e2miseg_core.simulation.settings import StudySettings
from e2miseg_core.simulation.study import Study, simulate_job

__all__ = [
    "GUIDES",
    "Robot",
    "Study",
    "StudySettings",
    "simulate_job",
    "study_to_json",
    "study_to_markdown",
    "write_study",
]
