"""Write constraints.txt: the versions installed here, which the tests passed with.

python tools/constraints.py
"""

from pathlib import Path

from installed import closure
from packaging.version import Version

TARGET = Path(__file__).parents[1] / "constraints.txt"
EXTRAS = ("gui", "ehanet", "bench", "test", "dev")
HEAD = """\
# The versions that this project is tested with; made by tools/constraints.py.
# Use: pip install -c constraints.txt ...
"""


def main() -> None:
    """Write the file."""
    pins = [
        f"{name}=={Version(found.version).public}"  # without "+cpu": any build of torch
        for name, found in closure(EXTRAS).items()
    ]
    TARGET.write_text(HEAD + "\n".join(pins) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
