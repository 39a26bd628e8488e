"""ImageNet weights of EHANet's encoder, fetched where that is possible.

They are Apple's, under the licence of CVNets; timm says where they lie. Only a
safetensors file is ever asked for, as the other files there are pickles.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from e2miseg_core.errors import ReadError
from e2miseg_core.networks.ehanet.encoder import NAME, Encoder, import_timm
from e2miseg_core.progress import Job, Progress

__all__ = ["fetch_weights", "load_weights"]

FILE = "model.safetensors"  # 22 MB
SECONDS = 300.0  # for all of it; the hub's own limits are shorter while nothing comes
# What the hub's client raises without a connection.
UNREACHABLE = ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError")
LOOK = 0.5  # seconds between two looks at the child

# Looks in the hub's cache first. A process of its own can be ended at any moment.
PROGRAM = """
import sys
from huggingface_hub import hf_hub_download, try_to_load_from_cache
found = try_to_load_from_cache(*sys.argv[1:])
print(found if isinstance(found, str) else hf_hub_download(*sys.argv[1:]))
"""
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_ETAG_TIMEOUT": "5",
    "HF_HUB_DOWNLOAD_TIMEOUT": "10",
}


def fetch_weights(program: str = PROGRAM, seconds: float = SECONDS) -> Job[Path]:
    """Find the weights on this computer, or fetch them.

    Parameters
    ----------
    program : str
        Python code that prints a path, given the repository and the file's name.
    seconds : float
        After which it is given up.

    Returns
    -------
    Path
        Of a safetensors file with the weights of this encoder.

    Raises
    ------
    ReadError
        If they cannot be had, in time, or are not those of this encoder.
    ModelError
        If timm is not installed.
    """
    repository = import_timm().models.get_pretrained_cfg(NAME).hf_hub_id
    child = subprocess.Popen(
        # -P: nothing that lies in the current folder is taken for a package.
        [sys.executable, "-P", "-c", program, repository, FILE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=os.environ | QUIET,
    )
    try:
        said, complaint = yield from _listen(child, seconds)
    finally:
        child.kill()
        child.communicate()
    if child.returncode != 0 or not said.strip():
        raise _unavailable(
            reason=_reason(complaint),
            place=f"{FILE} of {repository} as {_place(repository)}",
        )
    path = Path(said.strip().splitlines()[-1])
    with torch.device("meta"):
        _read(Encoder(frozen=True, norm="batch", whole=False), path)
    return path


def load_weights(encoder: Encoder, path: Path) -> None:
    """Give an encoder the weights that were fetched.

    Raises
    ------
    ReadError
        If the file is damaged or of another network.
    """
    encoder.load_state_dict(_read(encoder, path))


def _read(encoder: Encoder, path: Path) -> dict[str, Tensor]:
    """What of a file this encoder has a place for."""
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unavailable(reason=f"{path} is damaged: {error!s:.120}") from error
    own = encoder.state_dict()
    for name in own:
        if name.endswith("num_batches_tracked"):  # a counter, which may miss
            tensors.setdefault(name, torch.tensor(0))
        if name not in tensors or tensors[name].shape != own[name].shape:
            raise _unavailable(reason=f"{path} is of another network: no {name}")
    return {name: tensors[name] for name in own}


def _listen(child: subprocess.Popen[str], seconds: float) -> Job[tuple[str, str]]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield Progress(done=0, total=0, stage="fetching the encoder's weights")
        try:
            return child.communicate(timeout=LOOK)
        except subprocess.TimeoutExpired:
            continue
    raise _unavailable(reason=f"not done after {seconds:.0f} s")


def _reason(complaint: str) -> str:
    """What the last line of a traceback says, in plain words."""
    last = (complaint.strip().splitlines() or ["nothing was found"])[-1]
    if any(name in last for name in UNREACHABLE):
        return "the hub cannot be reached, and the hub's cache here lacks them"
    sentence = re.sub(r"^(\w+\.)*\w+(Error|Exception): ", "", last).partition(". ")[0]
    return f"{sentence:.200}"


def _place(repository: str) -> Path:
    """Where in its cache the hub's client looks for the file."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = f"models--{repository.replace('/', '--')}"
    return Path(HF_HUB_CACHE) / folder / "snapshots" / "main" / FILE


def _unavailable(*, reason: str, place: str = "its file in the cache") -> ReadError:
    return ReadError(
        found=f"no ImageNet weights for EHANet's encoder ({' '.join(reason.split())})",
        needed=f"a connection to the hub that timm keeps them on, or {place}",
        do="connect, or put the file there, and begin anew; "
        "--network pretrained=false does without them",
    )
