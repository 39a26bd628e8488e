"""Sliding-window prediction as a stream: finished slabs go out, the rest is forgotten.

Memory is one patch of rows whatever the volume's depth (specification A.6).
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from e2miseg_core.boxes import Box, make_box
from e2miseg_core.devices import autocast
from e2miseg_core.inference.blending import SlabBlender
from e2miseg_core.inference.tiling import TileGrid
from e2miseg_core.progress import Job, Progress

__all__ = ["MIRRORS", "SlabSink", "TilePredictor", "stream_probabilities"]

# Every combination of the spatial axes of (N, C, Z, Y, X), the plain pass first.
MIRRORS = tuple(axes for n in range(4) for axes in itertools.combinations((2, 3, 4), n))

SlabSink = Callable[[int, NDArray[np.float32]], None]


class TileSource(Protocol):
    """What can be read box by box, (C, z, y, x), with zeros outside."""

    def read(self, box: Box) -> NDArray[np.float32]:
        """Read one box."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class TilePredictor:
    """The network as a function from a tile to its class probabilities.

    Attributes
    ----------
    network : nn.Module
        Maps (1, C, Z, Y, X) to logits; on `device`, in evaluation mode.
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    mirrors : sequence of axis tuples
        Probabilities are averaged over the mirrored versions; ((),) is one pass.
    edge_map : bool
        Also give the edge probability, as one channel more after the classes; for
        networks with `has_edges` only.
    """

    network: nn.Module
    device: torch.device
    precision: str = "float32"
    mirrors: Sequence[tuple[int, ...]] = ((),)
    edge_map: bool = False

    def __call__(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n_classes, Z, Y, X) of a tile (C, Z, Y, X), edges after."""
        image = torch.from_numpy(tile)[None].to(self.device)
        if self.device.type == "cpu":
            image = image.contiguous(memory_format=torch.channels_last_3d)
        with torch.inference_mode(), autocast(self.device, self.precision):
            total = self._probabilities(image, self.mirrors[0])
            for axes in self.mirrors[1:]:
                total += self._probabilities(image, axes)
        mean: NDArray[np.float32] = (total / len(self.mirrors)).cpu().numpy()
        return mean

    def _probabilities(self, image: Tensor, axes: tuple[int, ...]) -> Tensor:
        image = image.flip(axes)
        if not self.edge_map:
            return torch.softmax(self.network(image).flip(axes)[0].float(), dim=0)
        logits, edges = self.network.forward_with_edges(image)  # type: ignore[operator]
        classes = torch.softmax(logits.float(), dim=1)
        return torch.cat((classes, edges.float()), dim=1).flip(axes)[0]


def stream_probabilities(
    predict_tile: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    view: TileSource,
    grid: TileGrid,
    n_channels: int,
    sink: SlabSink,
) -> Job[None]:
    """Predict every tile, blend, and hand finished slabs to `sink`.

    Parameters
    ----------
    predict_tile : callable
        Probabilities (n_channels, *patch_size) of a tile (C, *patch_size).
    view : TileSource
        Where tiles are read from, such as a `ModelView`.
    grid : TileGrid
        Over the view's shape.
    n_channels : int
        Classes, and one more if `predict_tile` gives edges.
    sink : callable
        Called as `sink(first_row, probabilities (n_channels, rows, Y, X))` with
        ascending rows of the model's grid, each row once.

    Yields
    ------
    Progress
        After every tile.
    """
    blender = SlabBlender(grid, n_channels)
    layers = grid.layers()
    done = 0
    for number, (_, starts) in enumerate(layers):
        for start in starts:
            tile = view.read(make_box(start, grid.patch_size))
            blender.add(predict_tile(tile), start)
            done += 1
            if start is starts[-1]:
                last = number + 1 == len(layers)
                sink(*blender.finish(grid.shape[0] if last else layers[number + 1][0]))
            yield Progress(done=done, total=grid.n_tiles, stage="predicting")
