"""Streamed prediction against MONAI's sliding window.

Same network, weights, image, tiles, overlap and Gaussian blending. What differs is
that ours streams (finished slabs go out) and may compute in bfloat16.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from rich.table import Table

from e2miseg_core import load_model, open_volume
from e2miseg_core.devices import choose_device, cpu_has_bf16
from e2miseg_core.inference.engine import TilePredictor, stream_probabilities
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.model import Model
from e2miseg_core.preprocess import ModelView, measure_normalization
from e2miseg_core.progress import run
from e2miseg_core.samples import sample_path

MODEL = "phantom-lesions"
OVERLAP = 0.5
STEPS = (2, 1, 1)  # tiles along each axis beyond the first
REPEATS = 3


@dataclass(frozen=True)
class ArrayView:
    """An image in memory, read like a volume."""

    image: NDArray[np.float32]  # (C, Z, Y, X)

    @property
    def shape(self) -> tuple[int, int, int]:
        z, y, x = self.image.shape[1:]
        return z, y, x

    def read(self, box: tuple[tuple[int, int], ...]) -> NDArray[np.float32]:
        z, y, x = (slice(*bounds) for bounds in box)
        return self.image[:, z, y, x]


def sample(model: Model) -> NDArray[np.float32]:
    """The bundled sample, repeated to a size at which both sets of tiles coincide."""
    volume = open_volume(sample_path())
    rules = run(measure_normalization(volume.data, model.card.normalizations))
    view = ModelView(volume, model.card.spacing, rules)
    image = view.read(tuple((0, n) for n in view.shape))
    patch = model.card.patch_size
    wanted = [p + n * (p // 2) for p, n in zip(patch, STEPS, strict=True)]
    for axis, size in enumerate(wanted, start=1):
        repeated = np.concatenate([image] * (size // image.shape[axis] + 1), axis=axis)
        image = repeated.take(range(size), axis=axis)
    return np.ascontiguousarray(image)


def streamed(model: Model, image: NDArray[np.float32], precision: str) -> NDArray:
    device = choose_device()
    predictor = TilePredictor(
        network=model.network.to(device), device=device, precision=precision
    )
    view = ArrayView(image)
    grid = TileGrid(shape=view.shape, patch_size=model.card.patch_size, overlap=OVERLAP)
    labels = np.empty(view.shape, np.uint8)

    def sink(first: int, slab: NDArray[np.float32]) -> None:
        labels[first : first + slab.shape[1]] = slab.argmax(axis=0)

    run(stream_probabilities(predictor, view, grid, model.card.n_classes, sink))
    return labels


def monai(model: Model, image: NDArray[np.float32]) -> NDArray:
    device = choose_device()
    network = model.network.to(device)
    with torch.inference_mode():
        probabilities = sliding_window_inference(
            torch.from_numpy(image)[None].to(device),
            model.card.patch_size,
            sw_batch_size=1,
            predictor=lambda tile: network(tile).softmax(dim=1),
            overlap=OVERLAP,
            mode="gaussian",
            sigma_scale=0.125,
        )
    return probabilities[0].argmax(dim=0).byte().cpu().numpy()


def seconds(task: Callable[[], NDArray]) -> tuple[float, NDArray]:
    """Median time of a task after one warm-up, and its result."""
    result = task()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = task()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def table() -> Table:
    model = load_model(MODEL)
    image = sample(model)
    tasks = {
        "MONAI sliding window, float32": lambda: monai(model, image),
        "streamed, float32": lambda: streamed(model, image, "float32"),
    }
    device = choose_device()
    if device.type == "cuda" or (device.type == "cpu" and cpu_has_bf16()):
        tasks["streamed, bfloat16"] = lambda: streamed(model, image, "bfloat16")

    size = " x ".join(str(n) for n in image.shape[1:])
    rows = Table(title=f"Prediction of {size} voxels on {device}, model {MODEL}")
    for name in ("how", "seconds", "times as fast", "labels equal", "foreground equal"):
        rows.add_column(name, justify="left" if name == "how" else "right")
    base, reference = 0.0, np.empty(0)
    for name, task in tasks.items():
        took, labels = seconds(task)
        if not base:
            base, reference = took, labels
        either = (labels > 0) | (reference > 0)
        same = labels == reference
        rows.add_row(
            name,
            f"{took:.2f}",
            f"{base / took:.2f}",
            f"{100 * same.mean():.3f} %",
            f"{100 * same[either].mean():.3f} %" if either.any() else "none found",
        )
    return rows
