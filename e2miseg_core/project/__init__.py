"""Annotation projects on disk: cases, labels, authority, journal, versions."""

from e2miseg_core.project.authority import ACCEPTED, HUMAN, MACHINE
from e2miseg_core.project.cases import Case
from e2miseg_core.project.chunk_cache import CachedVolume
from e2miseg_core.project.edges import Edge, EdgeList, read_edges, write_edges
from e2miseg_core.project.export import export_labels
from e2miseg_core.project.label_store import LabelStore
from e2miseg_core.project.lock import ProjectInUse, ProjectLock
from e2miseg_core.project.predictions import CasePrediction, complete_prediction
from e2miseg_core.project.project import Project
from e2miseg_core.project.review_log import ReviewLog, Verdict
from e2miseg_core.project.versions import Version

__all__ = [
    "ACCEPTED",
    "HUMAN",
    "MACHINE",
    "CachedVolume",
    "Case",
    "CasePrediction",
    "Edge",
    "EdgeList",
    "LabelStore",
    "Project",
    "ProjectInUse",
    "ProjectLock",
    "ReviewLog",
    "Verdict",
    "Version",
    "complete_prediction",
    "export_labels",
    "read_edges",
    "write_edges",
]
