"""The images that lie in a folder, one a case or a channel."""

from pathlib import Path

from e2miseg_core.io.formats import FORMATS, split_suffix

__all__ = ["list_images"]

# Of a pair of files the second one is found by the first, packed or not.
_HEADERS = {".img": ".hdr", ".brik": ".head", ".rec": ".par"}


def list_images(folder: Path) -> list[Path]:
    """List files by their suffix and folders by their content, sorted, each image once.

    Parameters
    ----------
    folder : Path
        A folder in it without a known suffix counts where it holds DICOM files or
        slices; hidden names do not, nor the "._" companions that archives made by
        another system carry.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    entries = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    names = {path.name.lower() for path in entries}
    found = []
    for path in entries:
        stem, suffix = split_suffix(path)
        first = _HEADERS.get(suffix.lower().removesuffix(".gz"))
        pair = (f"{stem}{first}".lower(), f"{stem}{first}.gz".lower())
        if first is not None and not names.isdisjoint(pair):
            continue
        if suffix or (path.is_dir() and any(known.holds(path) for known in FORMATS)):
            found.append(path)
    return found
