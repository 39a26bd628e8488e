"""URLs: what may be shown of them, their file systems, and what goes wrong there."""

import socket
from dataclasses import replace
from typing import Any

from e2miseg_core.errors import ReadError
from e2miseg_core.io.address import Address
from e2miseg_core.io.remote.shown import without_secrets

__all__ = [
    "http_status",
    "in_one_line",
    "name_of",
    "open_filesystem",
    "without_secrets",
]

_CONNECT_SECONDS = 20
_SILENT_SECONDS = 60  # without a byte
_PACKAGES = {
    **dict.fromkeys(("http", "https"), "aiohttp"),
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
}
_OURS = ("aiohttp", "s3fs")  # of the extra `remote`


def name_of(address: Address) -> str:
    """Text of an address for messages and `Source.uri`, free of secrets."""
    return str(replace(address, place=without_secrets(address.place)))


def open_filesystem(url: str) -> tuple[Any, str]:
    """Make the file system of fsspec for a URL.

    Returns
    -------
    filesystem : fsspec.AbstractFileSystem
        With limits on how long it waits.
    path : str
        Of the URL in it.

    Raises
    ------
    ReadError
        If the protocol is unknown, or needs a package that is not installed.
    """
    import fsspec

    protocol = url.split("::")[-1].partition("://")[0].lower()
    try:
        files, path = fsspec.core.url_to_fs(url, **_options(protocol, url))
    except ImportError as error:
        package = _PACKAGES.get(protocol, "a package")
        what = '"e2miseg-napari[remote]"' if package in _OURS else package
        raise ReadError(
            found=f"{without_secrets(url)} needs {package}, which is not installed",
            needed=f"a reader of {protocol}:// addresses",
            do=f"install it: pip install {what}",
        ) from error
    except (ValueError, TypeError, OSError) as error:
        raise ReadError(
            found=f"the address {without_secrets(url)}, of an unknown protocol",
            needed="an address such as https://..., s3://... or gs://...",
            do="correct the address, or download the image",
        ) from error
    return files, str(path)


def _options(protocol: str, url: str) -> dict[str, Any]:
    """Limits on waiting, in the words of each protocol's package."""
    if protocol in ("http", "https"):
        import aiohttp

        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS
        )
        # Signatures hold for the address as it was written.
        return {"client_kwargs": {"timeout": limits}, "encoded": "%" in url}
    if protocol in ("s3", "s3a"):
        waits = {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _SILENT_SECONDS}
        return {"config_kwargs": waits, "anon": not _has_aws_credentials()}
    return {}


def _has_aws_credentials() -> bool:
    """Whether botocore finds credentials; public buckets are read without."""
    try:
        from botocore.session import Session  # type: ignore[import-not-found]
    except ImportError:
        return False
    return Session().get_credentials() is not None


def http_status(error: BaseException | None) -> int | None:
    """Status of the server's answer that an error, or its cause, tells of."""
    while error is not None:
        status = getattr(error, "status", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None


def in_one_line(url: str, error: BaseException) -> ReadError:
    """Tell what went wrong, without the library's words: they hold whole URLs."""
    status = http_status(error)
    if isinstance(error, ReadError):
        return error
    if isinstance(error, FileNotFoundError) and status is None and error.__cause__:
        error = error.__cause__  # fsspec calls everything a missing file
    if status in (401, 403) or isinstance(error, PermissionError):
        what, do = "refuses access", "check the address and your rights to it"
    elif isinstance(error, FileNotFoundError) or status in (404, 410):
        what, do = "is not there", "check the address"
    elif status is not None:
        what, do = f"answers with the error {status}", "try again later"
    elif isinstance(error, TimeoutError):
        what, do = "does not answer in time", "check the network and try again"
    elif _is_unreachable(error):
        what, do = "cannot be reached", "check the network and the name of the host"
    else:
        what, do = f"cannot be read ({type(error).__name__})", "check the address"
    return ReadError(
        found=f"{without_secrets(url)} {what}", needed="an image at that address", do=do
    )


def _is_unreachable(error: BaseException | None) -> bool:
    name = type(error).__name__
    return isinstance(error, (ConnectionError, socket.gaierror)) or (
        "Connect" in name or "Disconnected" in name
    )
