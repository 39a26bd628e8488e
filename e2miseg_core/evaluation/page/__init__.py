"""A report as one HTML page that opens anywhere: tables, plots, pictures."""

from e2miseg_core.evaluation.page.page import render_page, write_page
from e2miseg_core.evaluation.page.pictures import CasePicture, draw_case
from e2miseg_core.evaluation.page.worst import (
    MOST_PICTURES,
    WorstPictures,
    draw_worst,
    structures_of,
    worst_cases,
)

__all__ = [
    "MOST_PICTURES",
    "CasePicture",
    "WorstPictures",
    "draw_case",
    "draw_worst",
    "render_page",
    "structures_of",
    "worst_cases",
    "write_page",
]
