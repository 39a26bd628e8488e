"""What may be shown of URLs: no users, passwords or signatures."""

import re
from urllib.parse import parse_qsl, urlsplit, urlunsplit

__all__ = ["without_secrets"]

# Parameters of signed and otherwise secret addresses.
_SECRET = re.compile(
    r"sig|token|secret|key|credential|passw|auth|expires|policy|^x-amz|^x-goog|^s[eprv]$"
    r"|^se$|session",
    re.IGNORECASE,
)


def without_secrets(url: str) -> str:
    """Return a URL without user, password, signature or fragment, to be shown.

    What is no URL, such as a path, is returned as it is.
    """
    if "://" not in url:
        return url
    links = []
    for link in url.split("::"):  # a chain of fsspec
        try:
            parts = urlsplit(link)
            pairs = parse_qsl(parts.query, keep_blank_values=True)
        except ValueError:
            links.append(link.partition("?")[0].rpartition("@")[2])
            continue
        is_secret = any(_SECRET.search(key) for key, _ in pairs)
        query = "" if is_secret else parts.query
        host = parts.netloc.rpartition("@")[2]
        links.append(urlunsplit((parts.scheme, host, parts.path, query, "")))
    return "::".join(links)
