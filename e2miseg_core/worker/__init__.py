"""The worker process: owns torch and the device, one JSON object a line both ways.

The protocol is written down in `docs/worker.md`.
"""

from e2miseg_core.worker.server import PROTOCOL, Worker, main

__all__ = ["PROTOCOL", "Worker", "main"]
