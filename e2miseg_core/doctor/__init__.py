"""What works on this computer, and how to mend what does not."""

from e2miseg_core.doctor.check import Check
from e2miseg_core.doctor.report import checks, works

__all__ = ["Check", "checks", "works"]
