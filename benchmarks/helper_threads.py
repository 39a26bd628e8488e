"""How much a training step suffers from a thread beside it that has used torch.

    python -m benchmarks.helper_threads [REPEATS]

A step of `small`, with as many threads as processors, in processes of its own: alone,
beside a thread of a plain pool, and beside one of `helper_pool`. The thread only waits.
"""

import json
import sys
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import in_child, machine
from e2miseg_core.devices import autocast, lay_channels_last
from e2miseg_core.helper_threads import helper_pool
from e2miseg_core.losses import LossSettings, objective_of
from e2miseg_core.networks import build_network, preset_config

WARM, STEPS = 4, 20
BESIDE = ("nothing", "a plain pool", "helper_pool")


def seconds(beside: str) -> float:
    """Median of a step."""
    pool: Executor | None = None
    torch.ones(100, 100, 100).mul(2)  # this thread's team comes first, as in training
    if beside != "nothing":
        pool = helper_pool(1, "x") if beside == "helper_pool" else ThreadPoolExecutor(1)
        pool.submit(torch.ones(100, 100, 100).mul, 2).result()  # with a team
    torch.manual_seed(0)
    config = preset_config("small", in_channels=1, n_classes=3)
    network = build_network(config).train()
    lay_channels_last(network)
    optimizer = torch.optim.AdamW(network.parameters())
    image = torch.randn(2, 1, *config.patch_size)
    classes = torch.randint(0, 3, (2, *config.patch_size))
    objective, settings = objective_of(config), LossSettings()
    times = []
    for _ in range(WARM + STEPS):
        began = time.monotonic()
        with autocast(torch.device("cpu"), "bfloat16"):
            outputs = network.forward_training(image)
        optimizer.zero_grad()
        objective(outputs, classes, settings, None).backward()
        optimizer.step()
        times.append(time.monotonic() - began)
    if pool is not None:
        pool.shutdown()
    return median(times[WARM:])


def main() -> None:
    """Print a table."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    console = Console()
    console.print(machine())
    found: dict[str, list[float]] = {beside: [] for beside in BESIDE}
    for _ in range(repeats):
        for beside, times in found.items():
            told = in_child("benchmarks.helper_threads", "--one", beside)
            if "failed" in told:
                sys.exit(f"beside {beside}: {told['failed']}")
            times.append(told["seconds"])
    table = Table("beside a step", "s, median", "from", "to", "of alone")
    alone = median(found["nothing"])
    for beside, times in found.items():
        figures = (median(times), min(times), max(times))
        share = f"{median(times) / alone:.2f}"
        table.add_row(beside, *(f"{figure:.3f}" for figure in figures), share)
    console.print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps({"seconds": seconds(sys.argv[2])}))
    else:
        main()
