"""What zarr leaves behind in its event loop when reading fails."""

import asyncio

from zarr.core.sync import sync

__all__ = ["let_tasks_end"]

_SECONDS = 5.0


def let_tasks_end() -> None:
    """Wait for the chunks that are still being read after one of them failed.

    zarr does not wait for them, and at the end of the process each would be reported
    as a task that was destroyed.
    """
    sync(_end())


async def _end() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=_SECONDS)
    for task in others:
        if task.done() and not task.cancelled():
            task.exception()  # has been told; else it would be reported again
