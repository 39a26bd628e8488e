"""Damaged images of every format: what comes of opening and reading them.

`python -m benchmarks.fuzz --inputs 5000`. Each input is a small sound image with its
header mutated, its data cut off, lines or tags changed. It must open or be refused in
one line: no other exception, no crash, no hang, no memory by what a header announces.
The same seed gives the same inputs; `--replay nifti/plain.nii:17` makes one again.
"""

import argparse
import collections
import dataclasses
import json
import math
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, Any, Self, cast

from rich.console import Console
from rich.table import Table

from benchmarks.fuzz_samples import make_samples
from benchmarks.fuzz_worker import open_and_read, prepare

SECONDS = 30.0  # for one input
SLOW = ("foreign",)  # a child process for each
GOOD = ("opened", "one line")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclasses.dataclass(frozen=True)
class Input:
    key: str
    sample: Path
    index: int

    @property
    def name(self) -> str:
        return f"{self.key}/{self.sample.name}:{self.index}"


class Worker:
    """A child process that is started again when it dies or hangs."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, item: Input) -> dict[str, Any]:
        child = self._child or self._start()
        writing, reading = cast("IO[str]", child.stdin), cast("IO[str]", child.stdout)
        request = {"sample": str(item.sample), "index": item.index, "seed": self._seed}
        request["folder"] = str(self._folder / "input")
        hung = threading.Event()

        def stop() -> None:
            hung.set()
            child.kill()

        timer = threading.Timer(SECONDS, stop)
        timer.start()
        try:
            writing.write(json.dumps(request) + "\n")
            writing.flush()
            answer = reading.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            timer.cancel()
        if answer:
            found: dict[str, Any] = json.loads(answer)
            return found
        self._end()
        outcome = "hang" if hung.is_set() else f"crash {child.returncode}"
        return {"outcome": outcome, "detail": "", "seconds": SECONDS, "warned": []}

    def _start(self) -> subprocess.Popen[str]:
        cache = str(self._folder / "cache")
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fuzz_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=Path(__file__).parents[1],
            env=os.environ
            | dict.fromkeys(_THREADS, "1")
            | {"E2MISEG_CACHE_DIR": cache},
        )
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def plan(samples: dict[str, list[Path]], inputs: int, slow: float) -> list[Input]:
    """Spread the inputs over the formats, and in each over its samples."""
    weights = {key: slow if key in SLOW else 1.0 for key in samples}
    total = sum(weights.values())
    planned = []
    for key, paths in samples.items():
        count = math.ceil(inputs * weights[key] / total)
        planned += [
            Input(key, paths[number % len(paths)], number // len(paths))
            for number in range(count)
        ]
    return planned


def run(
    inputs: int,
    *,
    seed: int = 0,
    workers: int = 2,
    slow: float = 0.3,
    only: str = "",
    save: str = "",
) -> list[tuple[Input, dict[str, Any]]]:
    """Try all inputs; those that fail are kept under `save`."""
    found: list[tuple[Input, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        waiting: queue.SimpleQueue[Input] = queue.SimpleQueue()
        for item in plan(make_samples(folder / "samples", only), inputs, slow):
            waiting.put(item)

        def work(own: Path) -> None:
            with Worker(own, seed) as worker:
                while not waiting.empty():
                    try:
                        item = waiting.get_nowait()
                    except queue.Empty:
                        return
                    answer = worker.ask(item)
                    if answer["outcome"] == "hang":  # or the machine stood still
                        answer = worker.ask(item)
                    found.append((item, answer))
                    if save and answer["outcome"] not in GOOD:
                        keep(item, answer, own / "input", Path(save))

        threads = [
            threading.Thread(target=work, args=(folder / f"worker{number}",))
            for number in range(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return found


def keep(item: Input, answer: dict[str, Any], damaged: Path, save: Path) -> None:
    target = save / item.name.replace("/", "-").replace(":", "-")
    shutil.rmtree(target, ignore_errors=True)
    if damaged.is_dir():
        shutil.copytree(damaged, target)
    target.mkdir(parents=True, exist_ok=True)
    (target / "outcome.txt").write_text(
        f"{item.name}\n{answer['outcome']}\n{answer['detail']}\n", encoding="utf-8"
    )


def table(found: list[tuple[Input, dict[str, Any]]], seconds: float) -> Table:
    made = Table(title=f"{len(found)} damaged images in {seconds:.0f} s")
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    for item, answer in found:
        kind = answer["outcome"]
        counts[item.key][kind if kind in GOOD else kind.split()[0]] += 1
    columns = [*GOOD, "not", "traceback", "crash", "hang", "memory", "unsound"]
    for name in ("format", "inputs", *columns):
        made.add_column(name)
    for key, counted in counts.items():
        row = [counted[name] for name in columns]
        made.add_row(key, str(sum(row)), *map(str, row))
    sums = [sum(counted[name] for counted in counts.values()) for name in columns]
    made.add_row("all", str(sum(sums)), *map(str, sums))
    return made


def summary(found: list[tuple[Input, dict[str, Any]]]) -> dict[str, Any]:
    outcomes = collections.Counter(answer["outcome"] for _, answer in found)
    failures = [
        {"input": item.name, "outcome": answer["outcome"], "detail": answer["detail"]}
        for item, answer in found
        if answer["outcome"] not in GOOD
    ]
    return {"inputs": len(found), "outcomes": dict(outcomes), "failures": failures}


def replay(name: str, seed: int) -> dict[str, Any]:
    """Make one input again and open it in this process."""
    path, _, index = name.rpartition(":")
    key, _, sample = path.partition("/")
    with tempfile.TemporaryDirectory() as folder:
        made = make_samples(Path(folder) / "samples", key)[key]
        chosen = next(each for each in made if each.name == sample)
        return open_and_read(prepare(chosen, Path(folder) / "input", seed, int(index)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--slow", type=float, default=0.3, help="share of the formats that need a child"
    )
    parser.add_argument("--only", default="", help="one format")
    parser.add_argument("--save", default="", help="folder for the inputs that fail")
    parser.add_argument("--replay", default="", help="format/sample:index")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.replay:
        answer = replay(asked.replay, asked.seed)
        print(answer["outcome"], answer["detail"], sep="\n")
        return int(answer["outcome"] not in GOOD)
    started = time.monotonic()
    options = {"seed": asked.seed, "workers": asked.workers, "only": asked.only}
    found = run(asked.inputs, slow=asked.slow, save=asked.save, **options)
    told = summary(found)
    if asked.json:
        print(json.dumps(told))
    else:
        console = Console()
        console.print(table(found, time.monotonic() - started))
        for failure in told["failures"][:50]:
            last = failure["detail"].strip().splitlines()[-1:] or [""]
            console.print(failure["input"], failure["outcome"], last[0][:200])
    return int(bool(told["failures"]))


if __name__ == "__main__":
    sys.exit(main())
