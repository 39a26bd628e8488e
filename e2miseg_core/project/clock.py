"""The time, as all files of a project tell it."""

from datetime import UTC, datetime

__all__ = ["now"]


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat()
