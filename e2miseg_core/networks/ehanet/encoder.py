"""EHANet's encoder: MobileViT-S from timm (specification B.1).

S. Mehta and M. Rastegari, "MobileViT", ICLR 2022; code of timm (Apache-2.0).
"""

import importlib
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from e2miseg_core.errors import ModelError

__all__ = ["NAME", "WIDTHS", "Encoder", "import_timm"]

NAME = "mobilevit_s"
WIDTHS = (32, 64, 96, 128, 160)  # at strides 2, 4, 8, 16, 32

# Mean and standard deviation of grey levels in ImageNet's pictures, scaled to 0..1.
GREY_MEAN, GREY_STD = 0.449, 0.226

_DECLARED: list[torch.library.Library] = []  # they last as long as their objects


class Encoder(nn.Module):
    """Features of five sizes of normalised pictures.

    Parameters
    ----------
    frozen : bool
        The weights stay as they are, and its norms do not follow the data.
    norm : {"group", "batch"}
        Pretrained weights go with "batch".
    whole : bool
        Keep the classifier, which nothing uses.

    Notes
    -----
    As published, pictures are divided by 255, without a mean or a deviation, and their
    colours are in the order blue, green, red. Our images are normalised to mean 0 and
    standard deviation 1, so they are brought to the mean and the deviation of the grey
    levels that the encoder was trained on. One channel stands for all three colours;
    three channels are taken in the order of the file.
    """

    def __init__(self, *, frozen: bool, norm: str, whole: bool) -> None:
        super().__init__()
        timm = import_timm()
        settings: dict[str, Any] = {"num_classes": 1000 if whole else 0}
        if norm == "group":
            settings["norm_layer"] = "groupnorm1"
        model = timm.create_model(NAME, pretrained=False, **settings)
        self.frozen = frozen
        self.stem, self.stages = model.stem, model.stages
        if whole:
            self.final_conv, self.head = model.final_conv, model.head
            _freeze(self.final_conv)
            _freeze(self.head)
        if frozen:
            _freeze(self)
            self.eval()

    def train(self, mode: bool = True) -> "Encoder":
        """Follow the network, unless frozen: then statistics and dropout stay off.

        Published code trains on with them (defect 6).
        """
        return super().train(mode and not self.frozen)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features (N, `WIDTHS`, Y/s, X/s) at strides 2, 4, 8, 16, 32."""
        x = image * GREY_STD + GREY_MEAN
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        x = self.stem(x)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def _freeze(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def import_timm() -> ModuleType:
    """Import timm; ModelError where it is not installed."""
    try:
        return _quietly()
    except ModuleNotFoundError as error:
        raise ModelError(
            found=f"EHANet is asked for, and the package {error.name} is not installed",
            needed="timm, which has EHANet's encoder",
            do='install it: pip install "e2miseg-napari[ehanet]"',
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    _declare_operators()
    return _quietly()


def _quietly() -> ModuleType:
    with warnings.catch_warnings():
        # What torchvision's missing compiled parts give rise to: timm uses none.
        warnings.filterwarnings("ignore", module="torchvision")
        return importlib.import_module("timm")


def _declare_operators() -> None:
    """Let torchvision be imported where its compiled part does not fit torch.

    So it is with torch for CPUs only and torchvision from the usual index, which is
    made for GPUs. Its import then stops at operators for boxes that timm never calls.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou) -> Tensor")
    _DECLARED.append(library)
