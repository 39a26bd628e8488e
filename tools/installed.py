"""What is installed here for this project: the closure of its requirements."""

from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "e2miseg-napari"


def closure(extras: Iterable[str]) -> dict[str, Distribution]:
    """Installed distributions that the project needs with some of its extras.

    Parameters
    ----------
    extras : iterable of str
        Extras of this project, such as ``gui``.

    Returns
    -------
    dict of str to Distribution
        By canonical name, sorted, without the project itself. Requirements that are
        not installed (another platform's, or an extra nobody installed) are left out.
    """
    found: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    # The extra "" stands for the plain requirements.
    todo = [(PROJECT, extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        for text in found[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None:
                applies = not extra
            else:
                applies = requirement.marker.evaluate({"extra": extra})
            if applies:
                child = canonicalize_name(requirement.name)
                todo.extend((child, wanted) for wanted in ("", *requirement.extras))
    found.pop(PROJECT, None)
    return dict(sorted(found.items()))
