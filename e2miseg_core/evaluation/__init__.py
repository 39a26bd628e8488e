"""Scores of predictions against a reference, and of error maps against errors."""

from e2miseg_core.evaluation.agreement import Agreement, bland_altman
from e2miseg_core.evaluation.calibration import Reliability, reliability
from e2miseg_core.evaluation.case import evaluate_case
from e2miseg_core.evaluation.evaluate import evaluate_paths
from e2miseg_core.evaluation.intervals import (
    Difference,
    Interval,
    bootstrap_interval,
    paired_difference,
)
from e2miseg_core.evaluation.judging import Judging
from e2miseg_core.evaluation.lesions import LesionRule, LesionScores, lesion_scores
from e2miseg_core.evaluation.metrics import assd, dice, hausdorff, hd95, nsd
from e2miseg_core.evaluation.pr import average_precision, average_precision_of_parts
from e2miseg_core.evaluation.probabilities import ProbabilityMap
from e2miseg_core.evaluation.report import Report
from e2miseg_core.evaluation.scores import (
    CaseScores,
    ClassMean,
    ClassScores,
    Problem,
)
from e2miseg_core.evaluation.structures import (
    INSTANCES,
    PRESETS,
    Structure,
    parse_region,
)

__all__ = [
    "INSTANCES",
    "PRESETS",
    "Agreement",
    "CaseScores",
    "ClassMean",
    "ClassScores",
    "Difference",
    "Interval",
    "Judging",
    "LesionRule",
    "LesionScores",
    "ProbabilityMap",
    "Problem",
    "Reliability",
    "Report",
    "Structure",
    "assd",
    "average_precision",
    "average_precision_of_parts",
    "bland_altman",
    "bootstrap_interval",
    "dice",
    "evaluate_case",
    "evaluate_paths",
    "hausdorff",
    "hd95",
    "lesion_scores",
    "nsd",
    "paired_difference",
    "parse_region",
    "reliability",
]
