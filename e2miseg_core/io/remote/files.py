"""Images at URLs: zarr is read where it is, single files are fetched into the cache."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from e2miseg_core.errors import E2MISegError, ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.axes import faults
from e2miseg_core.io.cache.folder import check_room
from e2miseg_core.io.cache.keeping import find_entry, key_of, making
from e2miseg_core.io.remote.address import (
    in_one_line,
    name_of,
    open_filesystem,
    without_secrets,
)
from e2miseg_core.progress import Progress
from e2miseg_core.volume import Volume

__all__ = ["fetch", "open_remote", "reporting_downloads"]

_PIECE = 8 << 20
_TRIES = 4
_VERSION_KEYS = (
    "ETag",
    "etag",
    "Content-MD5",
    "LastModified",
    "Last-Modified",
    "mtime",
)
_told: ContextVar[Callable[[Progress], None] | None] = ContextVar("told", default=None)


@contextmanager
def reporting_downloads(tell: Callable[[Progress], None]) -> Iterator[None]:
    """Have `tell` called while files are fetched in this block; it may raise Cancelled.

    Parameters
    ----------
    tell : callable
        Gets `Progress` in MiB.
    """
    token = _told.set(tell)
    try:
        yield
    finally:
        _told.reset(token)


def open_remote(address: Address) -> Volume:
    """Open an image at a URL.

    Parameters
    ----------
    address : Address
        Of a zarr store, which is read chunk by chunk, or of a single file of any other
        format, which is fetched once.

    Returns
    -------
    Volume
        Its `source.uri` is the URL, free of passwords and signatures.

    Raises
    ------
    ReadError
        If it cannot be reached or read.
    """
    from e2miseg_core.io.formats import format_of, open_volume

    url = address.place
    if url.startswith("file://"):
        path = url2pathname(urlsplit(url).path)
        return open_volume(Address(path, address.part, address.frame))
    known = format_of(_file_name(url))
    if known is not None and known.remote:
        return known.read(address)
    if known is None and _is_zarr_url(url):
        from e2miseg_core.io.ome.reader import read_zarr

        return read_zarr(address)
    fetched = fetch(url)
    local = Address(str(fetched), address.part)
    try:
        volume = open_volume(local)
    except E2MISegError as error:  # of a name that the user never saw
        shown = without_secrets(url)
        words = {
            key: getattr(error, key).replace(str(fetched), shown)
            for key in ("found", "needed", "do")
        }
        raise type(error)(**words) from error
    if volume.source is None:
        return volume
    return replace(volume, source=replace(volume.source, uri=name_of(address)))


def fetch(url: str) -> Path:
    """Fetch a file into the cache, unless this state of it is there.

    Returns
    -------
    Path
        Under its own name.

    Raises
    ------
    ReadError
        If it cannot be reached, read whole, or stored.
    """
    files, path = open_filesystem(url)
    try:
        info = files.info(path)
    except faults() as error:
        raise in_one_line(url, error) from error
    if info.get("type") == "directory":
        raise ReadError(
            found=f"{without_secrets(url)} is a folder",
            needed="a zarr store, or a single file",
            do="name a file in it",
        )
    key, name = _key(url, info), _file_name(url) or "file"
    while (entry := find_entry(key)) is None:
        with making(key, int(info.get("size") or 0)) as folder:
            if folder is None:  # another process is at it
                time.sleep(0.2)
            else:
                _download(url, files, path, info.get("size"), folder / name)
    return entry / name


def _download(url: str, files: Any, path: str, size: int | None, target: Path) -> None:
    """Write a file; where the connection breaks, go on from there."""
    for attempt in range(_TRIES):
        try:
            if attempt == 0:
                files.get_file(path, str(target), callback=_Watcher(url, size))
            else:
                _go_on(url, files, path, size, target)
            break
        except faults() as error:
            is_last = attempt + 1 == _TRIES or size is None
            if is_last or isinstance(error, (ReadError, FileNotFoundError)):
                raise in_one_line(url, error) from error
            time.sleep(0.2 * 2**attempt)
    found = target.stat().st_size
    if size is not None and found != size:
        raise ReadError(
            found=f"{found} bytes came from {without_secrets(url)}",
            needed=f"the {size} bytes that the server announced",
            do="try again",
        )


def _go_on(url: str, files: Any, path: str, size: int | None, target: Path) -> None:
    """Fetch what is missing, piece by piece."""
    watcher = _Watcher(url, size)
    with target.open("ab") as out, files.open(path, "rb", block_size=_PIECE) as source:
        out.truncate(min(out.tell(), size or 0))
        source.seek(out.tell())
        while piece := source.read(_PIECE):
            out.write(piece)
            watcher.absolute_update(out.tell())


def _Watcher(url: str, size: int | None) -> Any:  # noqa: N802 - a class made late
    """Make fsspec's callback, which tells of progress and looks after the disk."""
    from fsspec.callbacks import Callback

    tell = _told.get()  # of the thread that asks, not of the one that fetches
    shown = without_secrets(url)

    class Watcher(Callback):  # type: ignore[misc]
        def call(self, *_args: Any, **_kwargs: Any) -> None:
            check_room()
            if tell is not None and self.value:
                total = max(size or self.size or self.value, 1)
                tell(
                    Progress(
                        done=self.value >> 20,
                        total=total >> 20,
                        stage=f"fetching {shown}",
                    )
                )

    return Watcher()


def _key(url: str, info: dict[str, Any]) -> str:
    """Name the cache's entry for a URL as it is now, like `cache.entry_key`."""
    version = [str(info.get(key)) for key in (*_VERSION_KEYS, "size")]
    return key_of(f"url\n{url}", f"{version}")


def _file_name(url: str) -> str:
    """Last part of the path, as a name that every file system takes."""
    name = PurePosixPath(unquote(urlsplit(url.split("::")[0]).path)).name
    return "".join("_" if char in '<>:"|?*\\/\0' else char for char in name)[-150:]


def _is_zarr_url(url: str) -> bool:
    """Whether a store stands at a URL whose name does not tell."""
    from e2miseg_core.io.ome.store import open_node

    try:
        open_node(Address(url))
    except ReadError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return False
        raise
    return True
