"""Where copies of images are kept, how many, and how much room they take."""

from e2miseg_core.doctor.check import Check
from e2miseg_core.doctor.computer import GIB, disk_check
from e2miseg_core.errors import ConfigError
from e2miseg_core.io.cache.folder import cache_folder, cache_limit
from e2miseg_core.io.cache.keeping import list_entries

__all__ = ["cache_check"]


def cache_check() -> Check:
    """Folder, size, limit and number of the copies in the cache.

    Returns
    -------
    Check
    """
    try:
        limit = cache_limit()
    except ConfigError as error:
        return Check(
            name="Cache", ok=False, found=error.found, do=error.do, needed=False
        )
    place = disk_check("Cache", cache_folder(), needed=False)
    if place.ok is False:
        return place
    entries = list_entries()
    size = sum(entry.nbytes for entry in entries) / GIB
    word = "copy" if len(entries) == 1 else "copies"
    found = (
        f"{len(entries)} {word} of images, {size:.1f} of at most {limit / GIB:g} GiB; "
        f"{place.found}"
    )
    do = f"{place.do}, or run: e2miseg doctor --clear-cache" if place.do else ""
    return Check(name="Cache", ok=place.ok, found=found, do=do, needed=False)
