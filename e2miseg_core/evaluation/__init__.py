"""Scores of predictions against a reference, and of error maps against errors."""

from e2miseg_core.evaluation.evaluate import evaluate_case, evaluate_paths
from e2miseg_core.evaluation.metrics import dice, hd95, nsd
from e2miseg_core.evaluation.pr import average_precision
from e2miseg_core.evaluation.report import (
    CaseScores,
    ClassMean,
    ClassScores,
    Problem,
    Report,
)

__all__ = [
    "CaseScores",
    "ClassMean",
    "ClassScores",
    "Problem",
    "Report",
    "average_precision",
    "dice",
    "evaluate_case",
    "evaluate_paths",
    "hd95",
    "nsd",
]
