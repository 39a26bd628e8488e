"""One finding, and the child processes in which risky things are tried."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

__all__ = ["Check", "Probe", "probe"]

PROBE_SECONDS = 120.0  # a first import of torch from a slow disk takes tens of seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding about this computer.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool or None
        True: works. False: does not. None: works, but not as well as it could, or
        is not installed and not needed.
    found : str
        What was found.
    do : str
        How to mend it; empty where `ok` is true.
    needed : bool
        Whether prediction needs it; the window's parts are not needed for that.
    """

    name: str
    ok: bool | None
    found: str
    do: str = ""
    needed: bool = True

    def __post_init__(self) -> None:
        if bool(self.do) is (self.ok is True):
            msg = f"what is not right, and only that, needs a remedy: {self}"
            raise ValueError(msg)

    def to_json(self) -> dict[str, object]:
        """The fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a child process said.

    Attributes
    ----------
    facts : mapping
        The JSON object that it printed last; empty where it did not get that far.
    complaint : str
        Its standard error, or why it said nothing.
    """

    facts: Mapping[str, object] = field(default_factory=dict)
    complaint: str = ""


def probe(*arguments: str, environment: Mapping[str, str] | None = None) -> Probe:
    """Try something in a child process, since it may abort the process or take long.

    Parameters
    ----------
    *arguments : str
        Arguments of the Python interpreter; the child prints one JSON object.
    environment : mapping, optional
        Variables set on top of this process's.

    Returns
    -------
    Probe
        What the child said. A crash is a finding here, never an error.
    """
    try:
        child = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            check=False,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Probe(complaint=f"no answer within {PROBE_SECONDS:.0f} seconds")
    facts = _last_object(child.stdout)
    complaint = child.stderr.strip()
    if not facts and not complaint:
        complaint = f"ended with code {child.returncode} and said nothing"
    return Probe(facts=facts, complaint=complaint)


def _last_object(text: str) -> dict[str, object]:
    """The last line that is a JSON object; libraries may print before it."""
    for line in reversed(text.splitlines()):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return {}
