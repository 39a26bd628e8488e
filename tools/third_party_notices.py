"""Write THIRD_PARTY_NOTICES.md from the metadata of what is installed.

python tools/third_party_notices.py
"""

from importlib.metadata import Distribution
from pathlib import Path

from installed import closure
from packaging.version import Version

TARGET = Path(__file__).parents[1] / "THIRD_PARTY_NOTICES.md"
HEAD = """\
# Third-party notices

e2miseg-napari contains no code of other projects. It uses the packages below, which
pip installs beside it, each under its own licence; the full text comes with each
package. Versions are those of the tested set (`constraints.txt`) on Linux.
Where a package offers a choice of licences with "OR", it is used under the first.

## Model weights

The starter model `hippocampus` was trained on task 4 of the Medical Segmentation
Decathlon (Antonelli et al., Nature Communications 13:4128, 2022), CC BY-SA 4.0; its
weights, a work derived from that data, are given under the same licence. The starter
model `phantom-lesions` was trained on this project's own phantoms. No image data of
others is included. A training of EHANet fetches the ImageNet weights of its encoder,
Apple's MobileViT-S under the licence of CVNets; the models that it gives contain them.

## Packages

| package | version | licence | home |
|---|---|---|---|
"""
LONGEST_NAME = 120  # characters; what is longer is a licence's text, not its name


def licence(found: Distribution) -> str:
    """Name of a package's licence as its authors state it."""
    stated = found.metadata.get("License-Expression") or found.metadata.get("License")
    if stated and stated != "UNKNOWN" and len(stated) <= LONGEST_NAME:
        return " ".join(stated.split())
    classifiers = found.metadata.get_all("Classifier") or []
    names = [c.split(" :: ")[-1] for c in classifiers if c.startswith("License :: ")]
    return ", ".join(names) or "see the package"


def home(found: Distribution) -> str:
    """Address of a package's home or source, "" where it names none."""
    urls = dict(
        (part.strip() for part in entry.split(",", 1))
        for entry in found.metadata.get_all("Project-URL") or []
    )
    labelled = {label.lower(): url for label, url in urls.items()}
    for label in ("homepage", "home", "source", "repository", "github"):
        if label in labelled:
            return labelled[label]
    return found.metadata.get("Home-page") or next(iter(urls.values()), "")


def main() -> None:
    """Write the file."""
    rows = [
        (name, Version(found.version).public, licence(found), home(found))
        for name, found in closure(["gui", "ehanet"]).items()
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    TARGET.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
