"""Error map and ranked edges, beside the network's pass over the same volume.

One thread, about 10^5 voxels, a plain pass in float32. The stores lie in memory: what
is timed is the computing, with decoding and blocks as they are in use.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.prediction import ArrayView, sample
from e2miseg_core import load_model
from e2miseg_core.inference.engine import TilePredictor, stream_probabilities
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.model import Model
from e2miseg_core.progress import run
from e2miseg_core.uncertainty.belief import CaseBelief
from e2miseg_core.uncertainty.calibration import Calibration
from e2miseg_core.uncertainty.error_map import expected_error, to_uint8
from e2miseg_core.uncertainty.log_probabilities import encode_log_probabilities
from e2miseg_core.uncertainty.regions import Region, propose_regions

MODEL = "phantom-lesions"
SHAPE = (40, 54, 48)  # 103680 voxels
BOX, BOXES = (9, 9, 9), 20
REPEATS = 7


def predicted(model: Model, image: NDArray[np.float32]) -> NDArray[np.float32]:
    predictor = TilePredictor(network=model.network, device=torch.device("cpu"))
    view = ArrayView(image)
    grid = TileGrid(shape=view.shape, patch_size=model.card.patch_size, overlap=0.5)
    slabs = []
    job = stream_probabilities(
        predictor,
        view,
        grid,
        model.card.n_classes,
        lambda _, slab: slabs.append(slab.copy()),
    )
    run(job)
    return np.concatenate(slabs, axis=1)


def stored(array: NDArray[Any], chunks: tuple[int, ...]) -> zarr.Array:
    return zarr.create_array({}, data=array, chunks=chunks)


def seconds(task: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median time of a task after one warm-up."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table() -> Table:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measured(load_model(MODEL))
    finally:
        torch.set_num_threads(threads)


def measured(model: Model) -> Table:
    image = sample(model)
    image = np.ascontiguousarray(image[:, : SHAPE[0], -SHAPE[1] :, : SHAPE[2]])
    p = predicted(model, image)
    labels = p.argmax(axis=0)
    calibration = Calibration.from_card(model.card.calibration)
    with_bias = Calibration(temperature=calibration.temperature, bias=(0.2,))
    chunks = (8, 64, 64)
    codes = stored(encode_log_probabilities(p), (1, *chunks))
    values = stored(labels.astype(np.uint8), chunks)

    def boxes() -> list[Region]:
        belief = CaseBelief(
            log_probabilities=codes,
            predicted=values,
            values=(0, 1),
            calibration=with_bias,
        )
        run(belief.scan())
        return run(propose_regions(belief, BOX, belief.total, limit=BOXES, share=0))

    tasks = {
        "error map": lambda: to_uint8(expected_error(p, labels, calibration)),
        "log-probabilities": lambda: encode_log_probabilities(p),
        f"{BOXES} boxes, from the stores": boxes,
    }
    passes = seconds(lambda: predicted(model, image), repeats=2)
    size = " x ".join(str(n) for n in SHAPE)
    rows = Table(title=f"Error map and edges of {size} voxels, one thread, {MODEL}")
    for name in ("what", "ms", "share of the network's pass"):
        rows.add_column(name, justify="left" if name == "what" else "right")
    rows.add_row("network's pass, float32", f"{1e3 * passes:.0f}", "")
    total = 0.0
    for name, task in tasks.items():
        took = seconds(task)
        total += took
        rows.add_row(name, f"{1e3 * took:.1f}", f"{100 * took / passes:.2f} %")
    rows.add_section()
    rows.add_row("all three", f"{1e3 * total:.1f}", f"{100 * total / passes:.2f} %")
    rows.caption = (
        f"{len(boxes())} boxes; {100 * (p.max(axis=0) < 0.9999).mean():.1f} % of the "
        "voxels are in doubt"
    )
    return rows
