"""A worker that computes nothing and misbehaves on request: for protocol tests.

`python fake_worker.py MODE`; see `MODES`. Run as a script, it imports nothing of ours.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

TOTAL = 20


def say(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def garbage() -> None:
    """What libraries print, and messages of an imaginary later version."""
    sys.stdout.write("Downloading weights... 12 %\n")
    sys.stdout.write("[1, 2, 3]\n{}\nnull\n" + '{"event": "progress"}\n')
    sys.stdout.write('{"event": "block", "id": "x", "box": [1, 2]}\n')
    sys.stdout.write('{"event": "telepathy", "id": "x"}\n')
    sys.stdout.write("[" * 100_000 + "\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\xff\xfe not even text\n")
    sys.stdout.buffer.flush()


class Worker:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.cancelled = threading.Event()

    def predict(self, job: dict) -> None:
        name = job["id"]
        say("started", id=name)
        if self.mode == "user-error":
            say("error", id=name, kind="user", message="two\nlines;  needed: one")
            return
        if self.mode == "bug":
            say("error", id=name, kind="bug", message="boom", traceback="Traceback…")
            return
        self.steps(name)

    def steps(self, name: str) -> None:
        for done in range(1, TOTAL + 1):
            if self.cancelled.is_set() and self.mode != "deaf":
                say("cancelled", id=name)
                return
            if self.mode == "dies" and done == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.mode == "exits" and done == 4:
                sys.stderr.write("MemoryError: 3 GiB\n")
                sys.stderr.flush()
                os._exit(7)
            if self.mode == "garbage":
                garbage()
            time.sleep(0.02 if self.mode != "deaf" else 1)
            left = 0.02 * (TOTAL - done)
            say(
                "progress",
                id=name,
                done=done,
                total=TOTAL,
                stage="predicting",
                seconds_left=left,
            )
        say(
            "result",
            id=name,
            labels="labels.ome.zarr",
            error_map="error_map.ome.zarr",
            seconds=0.4,
            voxels={"1": 7},
            summary="",
        )

    def run(self) -> None:
        say(
            "ready",
            version="0",
            device="cpu",
            protocol=2 if self.mode == "newer" else 1,
        )
        for line in sys.stdin:
            message = json.loads(line)
            if message["command"] == "predict":
                self.cancelled.clear()
                threading.Thread(
                    target=self.predict, args=(message,), daemon=True
                ).start()
            elif message["command"] == "cancel":
                self.cancelled.set()
            elif message["command"] == "shutdown" and self.mode != "stubborn":
                return


def main() -> None:
    mode = sys.argv[1] if len(sys.argv) > 1 else "good"
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # a grandchild, as a data loader would be
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if mode in {"dies", "exits"}:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if mode == "broken":
        sys.exit("ModuleNotFoundError: No module named 'torch'")
    Worker(mode).run()
    if mode == "stubborn":  # end of input, but it does not care
        time.sleep(600)


if __name__ == "__main__":
    main()
