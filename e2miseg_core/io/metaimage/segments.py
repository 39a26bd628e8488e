"""Labels in a MetaImage: fields of our own, which other programs pass over.

The format knows neither labels nor their names. Its readers keep fields that they do
not know as text beside the image.
"""

import re
from collections.abc import Mapping

from e2miseg_core.volume import Segments

__all__ = ["read_segments", "segment_lines"]

_KIND = "E2MISegKind"
_NAME = re.compile(r"E2MISegName(\d{1,10})")
_COLOR = re.compile(r"E2MISegColor(\d{1,10})")
_MOST_TEXT = 200  # characters of a name


def read_segments(fields: Mapping[str, str]) -> Segments | None:
    """Find labels; None where the header does not say that there are any.

    Parameters
    ----------
    fields : mapping of str to str
        Of the header.
    """
    if fields.get(_KIND) != "labels":
        return None
    names: dict[int, str] = {}
    colors: dict[int, tuple[int, int, int]] = {}
    for key, text in fields.items():
        if match := _NAME.fullmatch(key):
            names[int(match[1])] = text
        elif match := _COLOR.fullmatch(key):
            parts = [int(word) for word in re.findall(r"\b\d{1,3}\b", text)]
            if len(parts) == 3 and max(parts) <= 255:
                colors[int(match[1])] = (parts[0], parts[1], parts[2])
    return Segments(names=names, colors=colors)


def segment_lines(segments: Segments) -> list[str]:
    """Header lines that say that there are labels, name and colour them."""
    names = {value: " ".join(name.split()) for value, name in segments.names.items()}
    return [
        f"{_KIND} = labels",
        *(f"E2MISegName{v} = {n[:_MOST_TEXT]}" for v, n in names.items() if n),
        *(
            f"E2MISegColor{value} = {red} {green} {blue}"
            for value, (red, green, blue) in segments.colors.items()
        ),
    ]
