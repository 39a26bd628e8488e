"""A zarr store at a URL: each chunk is fetched when it is read."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from e2miseg_core.io.axes import faults
from e2miseg_core.io.remote.address import http_status, in_one_line, open_filesystem

__all__ = ["UrlStore"]

_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs", ".zmetadata")
_FORBIDDEN = 403
_TRIES = 3


class UrlStore(Store):
    """Read-only, over any file system of fsspec.

    What is missing is absent, as the format has it. Some servers answer 403 for what
    is missing: that counts as absent for metadata, which is looked for under several
    names, but not for chunks, which would come out empty.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True
    supports_partial_writes = False

    def __init__(self, url: str) -> None:
        super().__init__(read_only=True)
        self._url = url
        self._files, self._root = open_filesystem(url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UrlStore) and other._url == self._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __str__(self) -> str:
        return f"store at {self._root}"

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self._url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["url"])  # type: ignore[misc]
        self._is_open = True

    async def get(
        self,
        key: str,
        prototype: BufferPrototype,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return a value or a part of it, None where there is none."""
        start, end = _limits(byte_range)
        try:
            data = await self._ask("cat_file", self._path(key), start=start, end=end)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except faults() as error:
            is_metadata = key.rpartition("/")[2] in _MARKERS
            if is_metadata and http_status(error) == _FORBIDDEN:
                return None
            raise in_one_line(self._url, error) from error
        return prototype.buffer.from_bytes(_cut(data, byte_range))

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return several parts."""
        wanted = [self.get(key, prototype, part) for key, part in key_ranges]
        return list(await asyncio.gather(*wanted))

    async def exists(self, key: str) -> bool:
        """Whether there is a value."""
        try:
            return bool(await self._ask("exists", self._path(key)))
        except faults() as error:
            raise in_one_line(self._url, error) from error

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        raise NotImplementedError(key, value)

    async def delete(self, key: str) -> None:
        """Refuse."""
        raise NotImplementedError(key)

    async def list(self) -> AsyncIterator[str]:
        """Yield nothing: whole stores are too large to be listed."""
        nothing: tuple[str, ...] = ()
        for key in nothing:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield nothing: whole stores are too large to be listed."""
        nothing: tuple[str, ...] = ()
        for key in nothing:
            yield prefix + key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names in a folder; nothing where the server lists none."""
        try:
            entries = await self._ask("ls", self._path(prefix), detail=False)
        except faults():
            return
        for entry in entries:
            yield str(entry).rstrip("/").rpartition("/")[2]

    def _path(self, key: str) -> str:
        path, mark, query = self._root.partition("?")  # of a signed URL
        return path.rstrip("/") + ("/" + key if key else "") + mark + query

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        """Call a method of the file system, again if the connection broke."""
        for attempt in range(_TRIES):
            try:
                return await self._call(method, path, **options)
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                raise
            except faults() as error:
                if attempt + 1 == _TRIES or not _passing(error):
                    raise
            await asyncio.sleep(0.2 * 2**attempt)
        raise AssertionError

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        if self._files.async_impl:  # on its own loop, in another thread
            call: Callable[..., Coroutine[Any, Any, Any]]
            call = getattr(self._files, f"_{method}")
            waiting = asyncio.run_coroutine_threadsafe(
                call(path, **options), self._files.loop
            )
            return await asyncio.wrap_future(waiting)
        return await asyncio.to_thread(getattr(self._files, method), path, **options)


def _passing(error: BaseException) -> bool:
    """Whether an error may be gone at the next try: a broken line, a busy server."""
    status = http_status(error)
    if status is not None:
        return status in (429, 500, 502, 503, 504)
    return isinstance(error, ConnectionError)  # waiting again would take minutes


def _limits(byte_range: ByteRequest | None) -> tuple[int | None, int | None]:
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, byte_range.end
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, None
    if isinstance(byte_range, SuffixByteRequest):
        return -byte_range.suffix, None
    return None, None


def _cut(data: bytes, byte_range: ByteRequest | None) -> bytes:
    """Cut out what was asked for, where a server ignored the range and sent all."""
    if isinstance(byte_range, RangeByteRequest):
        length = byte_range.end - byte_range.start
        return data[byte_range.start : byte_range.end] if len(data) > length else data
    if isinstance(byte_range, SuffixByteRequest):
        return data[-byte_range.suffix :]
    return data
