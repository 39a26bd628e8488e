"""A worker that computes nothing and misbehaves on request: for protocol tests.

`python fake_worker.py MODE`; see `MODES`. Run as a script, it imports nothing of ours
but for keeping a model version in a project that exists.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TOTAL = 20
HELD_AT = 8
CHECKPOINT = 5  # steps
COLUMNS = ("step", "learning_rate", "loss", "held_out_wrong")
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
    "dies-once": "is killed when a fine-tuning comes to its 12th step at first",
    "holds": "waits at the 8th step until it is told something",
    "refuses": "keeps no model",
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
        self.told = threading.Event()
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
            if self.command.get("job"):
                shutil.rmtree(self.command["job"])
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
        folder = self.job_folder()
        done = self.restore(folder) if self.command["resume"] else 0
        rows = []
        while done < TOTAL:
            done += 1
            self.pause(done)
            if self.finished.is_set():
                done -= 1
                break
            wrong = {"held_out_wrong": 200 - 5 * done} if done % 5 == 0 else {}
            self.step(done, "training", {"loss": 1 / done, **wrong})
            rows.append((done, 1e-4, 1 / done, wrong.get("held_out_wrong", "")))
            if folder and done % CHECKPOINT == 0:
                self.save(folder, rows)
        return self.judge(folder, done)

    def job_folder(self) -> Path | None:
        """Folder of a fine-tuning, which says what was asked for."""
        if not self.command["job"]:
            return None
        folder = Path(self.command["job"])
        with (folder / "commands.jsonl").open("a") as file:
            file.write(json.dumps(self.command) + "\n")
        (folder / "request.json").write_text(json.dumps({"settings": {"steps": TOTAL}}))
        return folder

    def save(self, folder: Path, rows: list) -> None:
        path = folder / "history.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            csv.writer(file).writerows([COLUMNS] * new + rows)
        rows.clear()

    def restore(self, folder: Path) -> int:
        path = folder / "history.csv"
        if not path.exists():
            return 0
        with path.open(newline="") as file:
            return int(list(csv.DictReader(file))[-1]["step"])

    def judge(self, folder: Path | None, done: int) -> dict:
        kept = self.mode != "refuses"
        result = {
            "kept": kept,
            "sentence": f"Kept: {done} steps." if kept else "Not kept: no better.",
            "figures": {
                "wrong_before": 1180,
                "wrong_after": 700,
                "better_share": 0.974,
                "changed": 12,
                "confident": 10000,
                "steps": done,
            },
            "version": 1 if kept else None,
        }
        if folder is not None:
            (folder / "result.json").write_text(json.dumps(result))
            self.record(result)
        return result

    def record(self, result: dict) -> None:
        from e2miseg_core.project import Project

        project = Project.open(self.command["project"])
        said = {"figures": result["figures"], "sentence": result["sentence"]}
        if result["kept"]:
            version = project.add_version(project.version.path, **said)
            result["version"] = version.number
        else:
            project.refuse_version(**said)

    def pause(self, done: int) -> None:
        # What holds comes to its step however soon it is told to pause.
        if not self.going.is_set() and not (self.mode == "holds" and done <= HELD_AT):
            say("paused", id=self.name)
            self.going.wait()
            say("resumed", id=self.name)

    def step(self, done: int, stage: str, details: dict | None = None) -> None:
        if self.cancelled.is_set() and self.mode != "deaf":
            raise CancelledError
        first = not self.command.get("resume")
        if (self.mode == "dies" and done == 4) or (
            self.mode == "dies-once" and done == 12 and first
        ):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "holds" and done == HELD_AT:
            self.told.wait()
            if self.cancelled.is_set():
                raise CancelledError
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
        job.told.set()

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
