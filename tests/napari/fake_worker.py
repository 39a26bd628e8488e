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
MODES = {
    "good": "does what it is asked for",
    "garbage": "prints nonsense between the lines",
    "user-error": "every job fails, and can be mended",
    "bug": "every job fails, with a traceback",
    "nameless": "every job fails, and it does not say which",
    "confused": "answers a job with the result of another kind",
    "deaf": "does not stop when told to",
    "in-turn": "does one job after the other, half a second a step",
    "dies": "is killed in the middle of each job",
    "exits": "leaves in the middle of each job",
    "newer": "speaks a later protocol",
    "broken": "does not start",
    "stubborn": "ends only when killed",
}
PAUSES = {"deaf": 1.0, "in-turn": 0.5}  # seconds a step
FAILURES = {
    "user-error": {"kind": "user", "message": "two\nlines;  needed: one"},
    "bug": {"kind": "bug", "message": "boom", "traceback": "Traceback…"},
    "nameless": {"id": "", "kind": "user", "message": "who is it?"},
}


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


class CancelledError(Exception):
    """The job was cancelled."""


class Job:
    """One job, in a thread of its own; so two of them run side by side."""

    def __init__(self, mode: str, command: dict) -> None:
        self.mode = mode
        self.command = command
        self.name = command["id"]
        self.cancelled = threading.Event()
        self.finished = threading.Event()
        self.going = threading.Event()
        self.going.set()

    def run(self) -> None:
        say("started", id=self.name)
        if self.mode in FAILURES:
            say("error", **{"id": self.name, **FAILURES[self.mode]})
            return
        work = {"predict": self.predict, "edges": self.edges, "finetune": self.finetune}
        try:
            result = work[self.command["command"]]()
        except CancelledError:
            say("cancelled", id=self.name)
            return
        if self.mode == "confused":
            result = {"edges": 3, "kept": True, "sentence": "Kept."}
        say("result", id=self.name, **result)

    def predict(self) -> dict:
        for done in range(1, TOTAL + 1):
            self.step(done, "predicting")
        own = {"prediction": 2, "edges": 3} if "project" in self.command else {}
        return {
            "labels": "labels.ome.zarr",
            "error_map": "error_map.ome.zarr",
            "seconds": 0.4,
            "voxels": {"1": 7},
            **own,
        }

    def edges(self) -> dict:
        self.step(TOTAL, "looking for edges")
        return {"edges": 3}

    def finetune(self) -> dict:
        for done in range(1, TOTAL + 1):
            self.pause()
            if self.finished.is_set():
                break
            wrong = {"held_out_wrong": 200 - 5 * done} if done % 5 == 0 else {}
            self.step(done, "training", {"loss": 1 / done, **wrong})
        return {
            "kept": True,
            "sentence": f"Kept after {done} steps.",
            "figures": {"steps": done},
            "version": 1,
        }

    def pause(self) -> None:
        if not self.going.is_set():
            say("paused", id=self.name)
            self.going.wait()
            say("resumed", id=self.name)

    def step(self, done: int, stage: str, details: dict | None = None) -> None:
        if self.cancelled.is_set() and self.mode != "deaf":
            raise CancelledError
        if self.mode == "dies" and done == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "exits" and done == 4:
            sys.stderr.write("MemoryError: 3 GiB\n")
            sys.stderr.flush()
            os._exit(7)
        if self.mode == "garbage":
            garbage()
        time.sleep(PAUSES.get(self.mode, 0.02))
        say(
            "progress",
            id=self.name,
            done=done,
            total=TOTAL,
            stage=stage,
            seconds_left=0.02 * (TOTAL - done),
            details=details or {},
        )


class Worker:
    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.jobs: dict[str, Job] = {}
        self.turn = threading.Lock()

    def start(self, command: dict) -> None:
        job = Job(self.mode, command)
        self.jobs[job.name] = job
        work = self.in_turn if self.mode == "in-turn" else Job.run
        threading.Thread(target=work, args=(job,), daemon=True).start()

    def in_turn(self, job: Job) -> None:
        with self.turn:
            job.run()

    def take(self, message: dict) -> None:
        job = self.jobs[message["id"]]
        if message["command"] == "pause":
            job.going.clear()
        elif message["command"] == "resume":
            job.going.set()
        elif message["command"] == "finish":
            job.finished.set()
        elif message["command"] == "cancel":
            job.cancelled.set()
            job.going.set()

    def run(self) -> None:
        protocol = 3 if self.mode == "newer" else 2
        say("ready", version="0", device="cpu", protocol=protocol)
        for line in sys.stdin:
            message = json.loads(line)
            if message["command"] in {"predict", "edges", "finetune"}:
                self.start(message)
            elif message["command"] == "shutdown":
                if self.mode != "stubborn":
                    return
            else:
                self.take(message)


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
