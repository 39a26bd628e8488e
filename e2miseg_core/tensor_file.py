"""Tensors and a few words of text in one safetensors file, no pickle."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from e2miseg_core.io.atomic import replacing, writing_to

__all__ = ["write_tensors"]


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, do: str
) -> None:
    """Write a safetensors file; what stood there is replaced when all is on the disk.

    Parameters
    ----------
    path : Path
        Its folder is made if need be.
    tensors : mapping of Tensor
        On the CPU.
    metadata : mapping of str
    do : str
        What the user can do where the disk refuses.

    Raises
    ------
    WriteError
        If it cannot be written; what stood at `path` is then as it was.
    """
    with writing_to(path, do=do):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, do=do) as partial:
        partial.touch()
        mode = partial.stat().st_mode  # as for any new file; safetensors' own is 0600
        try:
            save_file(dict(tensors), partial, dict(metadata))
            partial.chmod(mode)
        except SafetensorError as error:  # its name for what the system says
            raise OSError(str(error)) from error
